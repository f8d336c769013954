"""Owns the lines that records owe to the log channels, posted in the change's own transaction.

Control's shipper carries them to logplex, which keeps each id, so that a kill in between neither
loses nor doubles one. Must not know logplex or what a line is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import JSON, Column, Connection, Integer, Table, Text, delete, insert, select

from oriel.store.metadata import Moment, Serial, metadata

outbox = Table(
    "outbox",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("channel", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("ps", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("release", Integer, nullable=False),
    Column("drain", Text, nullable=False),
    Column("data", JSON, nullable=False),
    # Delivered lines are deleted, and logplex skips an id it has seen: none may come again.
    sqlite_autoincrement=True,
)

POSTED = "oriel.outbox.posted"
"""The mark in `Connection.info` by which the database knows that a transaction posted a line."""

_line_insert = insert(outbox)
_lines_waiting = select(outbox).order_by(outbox.c.id)

# NUL cannot be stored in PostgreSQL, a lone surrogate in neither database; that must not fail the
# transaction whose line this is. A line break would be a second line, in somebody else's name.
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_BREAK = re.compile("\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line for a channel, from the platform."""

    channel: str
    source: str
    """`heroku` or `app`."""
    ps: str
    text: str
    severity: int = 6
    release: int = 0
    drain: str = ""
    """The instance that logplex must have drained before this line may be appended."""
    data: Mapping[str, str] = field(default_factory=dict)
    """What goes into the frame's STRUCTURED-DATA."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A line on its way, with the id that logplex remembers."""

    id: int
    at: datetime
    line: Line


def post(conn: Connection, line: Line, now: datetime) -> int:
    """Put a line in the outbox of this transaction; gives its id. Ids ascend and never return."""
    result = conn.execute(
        _line_insert,
        {
            "at": now,
            "channel": line.channel,
            "source": line.source,
            "ps": line.ps,
            "text": _fit(line.text),
            "severity": line.severity,
            "release": line.release,
            "drain": line.drain,
            "data": {_fit(key): _fit(value) for key, value in line.data.items()},
        },
    )
    conn.info[POSTED] = True
    key = result.inserted_primary_key
    assert key is not None  # noqa: S101 - one row, one key
    return int(key[0])


def waiting(conn: Connection, limit: int = 500) -> list[Posted]:
    """The lines not yet delivered, oldest first, at most `limit`."""
    rows = conn.execute(_lines_waiting.limit(limit))
    return [
        Posted(
            id=row.id,
            at=row.at,
            line=Line(
                channel=row.channel,
                source=row.source,
                ps=row.ps,
                text=row.text,
                severity=row.severity,
                release=row.release,
                drain=row.drain,
                data=row.data,
            ),
        )
        for row in rows
    ]


def delivered(conn: Connection, up_to_id: int) -> None:
    """Forget every line up to and including this id."""
    conn.execute(delete(outbox).where(outbox.c.id <= up_to_id))


def _fit(text: str) -> str:
    return _BREAK.sub(" ", _UNFIT.sub("\ufffd", text))


def last_id(conn: Connection) -> int:
    """The highest id that this database ever gave a line."""
    if conn.dialect.name == "sqlite":
        row = conn.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").first()
        return int(row[0]) if row else 0
    row = conn.exec_driver_sql(
        "SELECT last_value, is_called FROM " + _sequence(conn)  # noqa: S608 - the database's name
    ).one()
    return int(row[0]) if row[1] else int(row[0]) - 1


def raise_above(conn: Connection, number: int, since: datetime) -> int:
    """Give only ids above `number` from now on, and such to the lines posted since then.

    For a database that was restored from an older backup: logplex has kept higher ids than its
    own, and would take new lines for old ones. Returns how many lines got another id.
    """
    if last_id(conn) >= number:
        return 0
    if conn.dialect.name == "sqlite":
        done = conn.exec_driver_sql(
            "UPDATE sqlite_sequence SET seq = ? WHERE name = 'outbox'", (number,)
        )
        if not done.rowcount:
            conn.exec_driver_sql(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)", (number,)
            )
    else:
        conn.exec_driver_sql("SELECT setval(%s, %s)", (_sequence(conn), number))
    new = conn.execute(_lines_waiting.where(outbox.c.at >= since)).mappings().all()
    for row in new:
        conn.execute(delete(outbox).where(outbox.c.id == row["id"]))
        conn.execute(insert(outbox), {key: row[key] for key in row if key != "id"})
    return len(new)


def _sequence(conn: Connection) -> str:
    return str(conn.exec_driver_sql("SELECT pg_get_serial_sequence('outbox', 'id')").scalar_one())
