"""Owns the record of what ran: each state of each instance, appended, and the log lines that
render it, in one transaction. The only statements on `dyno_events`: INSERT and SELECT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.machine import Life, Say, State
from oriel.manifold.tables import dyno_events
from oriel.store import outbox

_ENDED = ("crashed", "complete", "down")

_insert = insert(dyno_events)
_newest_ids = select(func.max(dyno_events.c.id)).group_by(dyno_events.c.instance)
_living = (
    select(dyno_events)
    .where(dyno_events.c.id.in_(_newest_ids))
    .where(dyno_events.c.state.notin_(_ENDED))
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the record."""

    app_id: str
    instance: str
    name: str
    type: str
    number: int
    release: int
    state: State
    at: datetime
    cause: str
    command: str
    size: str
    channel: str


def record(
    conn: Connection, spec: LaunchSpec, life: Life, says: Sequence[Say], now: datetime
) -> None:
    """Append that `spec` is now as `life` says, and post its lines."""
    conn.execute(
        _insert,
        {
            "app_id": spec.app_id,
            "instance": spec.instance,
            "name": str(spec.name),
            "type": spec.type,
            "number": spec.number,
            "release": spec.release,
            "state": life.state,
            "at": now,
            "cause": life.reason,
            "detail": {"command": spec.command, "size": spec.size, "channel": spec.channel},
        },
    )
    say(conn, spec, says, now)


def say(conn: Connection, spec: LaunchSpec, says: Sequence[Say], now: datetime) -> None:
    """Post lines about an instance, the last one behind what it said itself."""
    for each in says:
        line = outbox.Line(
            channel=spec.channel,
            source="heroku",
            ps=str(spec.name),
            text=each.text,
            release=spec.release,
            drain=spec.instance if each.last else "",
            data={"instance": spec.instance},
        )
        outbox.post(conn, line, now)


def newest(conn: Connection, instance: str) -> Entry | None:
    """What was last recorded of an instance."""
    statement = (
        select(dyno_events)
        .where(dyno_events.c.instance == instance)
        .order_by(dyno_events.c.id.desc())
        .limit(1)
    )
    row = conn.execute(statement).one_or_none()
    return _entry(row) if row else None


def newest_of(conn: Connection, app_id: str, name: str) -> Entry | None:
    """What was last recorded of an app's dyno, whichever instance it was."""
    statement = (
        select(dyno_events)
        .where(dyno_events.c.app_id == app_id, dyno_events.c.name == name)
        .order_by(dyno_events.c.id.desc())
        .limit(1)
    )
    row = conn.execute(statement).one_or_none()
    return _entry(row) if row else None


def living(conn: Connection) -> list[Entry]:
    """Every instance whose last entry is not an end: after a kill, some of these have ended, or
    never began.
    """
    return [_entry(row) for row in conn.execute(_living)]


def awaits_drain(conn: Connection, instance: str) -> bool:
    """Whether a line still waits for the instance's output to be read to its end."""
    waiting = outbox.waiting(conn, 100_000)
    return any(posted.line.drain == instance for posted in waiting)


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        app_id=row.app_id,
        instance=row.instance,
        name=row.name,
        type=row.type,
        number=row.number,
        release=row.release,
        state=row.state,
        at=row.at,
        cause=row.cause,
        command=row.detail["command"],
        size=row.detail["size"],
        channel=row.detail["channel"],
    )
