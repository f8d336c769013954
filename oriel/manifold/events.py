"""Owns the record of what ran: each state of each instance, appended, and the log lines that
render it, in one transaction. The only statements on `dyno_events`: INSERT and SELECT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, or_, select

from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.machine import ENDED, Life, Say, State
from oriel.manifold.tables import dyno_events
from oriel.store import outbox

STOPPED = "stopped by "
"""How the cause of a stop by hand begins: such a dyno stays down over a restart of control."""

_events = dyno_events.c
_insert = insert(dyno_events)
_spans = (
    select(func.min(_events.id).label("first"), func.max(_events.id).label("last"))
    .group_by(_events.instance)
    .subquery()
)
_living = (
    select(dyno_events)
    .join(_spans, _events.id == _spans.c.last)
    .where(_events.state.notin_(ENDED))
    .order_by(_spans.c.first)
)
_newest_of_names = select(func.max(_events.id)).group_by(_events.app_id, _events.name)
_resting = (
    select(dyno_events)
    .where(_events.id.in_(_newest_of_names))
    .where(
        or_(
            _events.state == "crashed",
            and_(_events.state == "down", _events.cause.startswith(STOPPED, autoescape=True)),
        )
    )
    .order_by(_events.id)
)
_awaited = select(outbox.outbox.c.drain).where(outbox.outbox.c.drain != "").distinct()


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
    once: bool
    attached: bool

    def spec(self) -> LaunchSpec:
        """What is known of the instance without its directory; enough for its lines."""
        return LaunchSpec(
            instance=self.instance,
            app_id=self.app_id,
            app="",
            channel=self.channel,
            type=self.type,
            number=self.number,
            release=self.release,
            uid=0,
            command=self.command,
            size=self.size,
            slug=Path("/"),
            env={},
            once=self.once,
            attached=self.attached,
        )


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
            "detail": {
                "command": spec.command,
                "size": spec.size,
                "channel": spec.channel,
                "once": spec.once,
                "attached": spec.attached,
            },
        },
    )
    say(conn, spec, says, now)


def has(conn: Connection, spec: LaunchSpec, life: Life, now: datetime) -> bool:
    """Whether that is recorded: a commit may succeed although its answer was lost."""
    last = newest(conn, spec.instance)
    return last is not None and (last.state, last.at) == (life.state, now)


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


def living(conn: Connection) -> list[Entry]:
    """Every instance whose last entry is not an end, in the order in which they were begun: after
    a kill, some of these have ended, or were never launched.
    """
    return [_entry(row) for row in conn.execute(_living)]


def resting(conn: Connection) -> list[Entry]:
    """Of each name whose newest entry says that it crashed or was stopped by hand, that entry."""
    return [_entry(row) for row in conn.execute(_resting)]


def awaiting_drain(conn: Connection) -> frozenset[str]:
    """The instances with a line that still waits for their output to be read to its end."""
    return frozenset(conn.execute(_awaited).scalars())


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
        once=row.detail.get("once", False),
        attached=row.detail.get("attached", False),
    )
