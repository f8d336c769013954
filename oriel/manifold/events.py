"""Owns the record of what ran: each state of each instance, appended, and the log lines that
render it, in one transaction. The only statements on `dyno_events`: INSERT and SELECT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from oriel.manifold import loops
from oriel.manifold.cause import Cause
from oriel.manifold.dyno import Check
from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.machine import ENDED, Life, Say, State
from oriel.manifold.tables import dyno_events
from oriel.store import outbox

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
    .where(_events.state.in_(("crashed", "down", "idle")))
    .order_by(_events.id)
)
_awaited = select(outbox.outbox.c.drain).where(outbox.outbox.c.drain != "").distinct()


@dataclass(frozen=True, slots=True)
class Notes:
    """What is kept of an instance so that the next start of control goes on with it."""

    check: Check = Check()
    crashes: int = 0
    """In a row, of its name: before it, and with its own once it has crashed."""
    rising: bool = False
    """It was begun beside those that served, to be switched to."""


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
    """In words."""
    because: Cause
    """As data. One of the kind `crash_loop` stands for as many crashes as it counts."""
    command: str
    size: str
    channel: str
    once: bool
    attached: bool
    notes: Notes = Notes()
    quiet: bool = False
    """It is no entry yet, but a try that is only counted, should it crash."""
    began: tuple[datetime, Cause] | None = None
    """Of such a one, since when and why."""

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
    conn: Connection,
    spec: LaunchSpec,
    life: Life,
    says: Sequence[Say],
    now: datetime,
    notes: Notes = Notes(),
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
            "cause": life.cause.words,
            "detail": detail(spec, life.cause, notes),
        },
    )
    say(conn, spec, says, now)


def detail(spec: LaunchSpec, cause: Cause, notes: Notes) -> dict[str, Any]:
    """What an entry says besides its columns."""
    return {
        "command": spec.command,
        "size": spec.size,
        "channel": spec.channel,
        "once": spec.once,
        "attached": spec.attached,
        "cause": cause.kept(),
        "crashes": notes.crashes,
        "rising": notes.rising,
        "check": asdict(notes.check),
    }


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
    tries = [_try(row) for row in loops.all(conn) if row.is_running]
    return [_entry(row) for row in conn.execute(_living)] + tries


def resting(conn: Connection) -> list[Entry]:
    """Of each name whose newest entry says that it crashed, is idle or was stopped by hand, that
    entry; of one in a crash loop its newest try.
    """
    tries = {(row.app_id, row.name): _try(row) for row in loops.all(conn) if not row.is_running}
    entries = [_entry(row) for row in conn.execute(_resting)]
    return [
        tries.pop((each.app_id, each.name), each)
        for each in entries
        if each.state != "down" or each.because.root.kind == "stopped"
    ]


def awaiting_drain(conn: Connection) -> frozenset[str]:
    """The instances with a line that still waits for their output to be read to its end."""
    return frozenset(conn.execute(_awaited).scalars())


def _entry(row: Row[Any]) -> Entry:
    return _read(row, row.state, row.at, row.cause)


def _try(row: Row[Any]) -> Entry:
    """A try in a crash loop, as if it were an entry."""
    if row.is_running:
        begun = _read(row, "starting", row.began_at, "")
        begun = replace(begun, quiet=True, began=(begun.at, begun.because))
        if up_at := row.detail.get("up_at"):
            at = datetime.fromisoformat(up_at)
            return replace(begun, state="up", at=at, because=Cause("ready"))
        return begun
    because = Cause.from_kept(row.detail["last"]["cause"])
    rests = _read(row, "crashed", row.last_at or row.began_at, because.words)
    return replace(rests, because=because, quiet=True)


def _read(row: Row[Any], state: State, at: datetime, words: str) -> Entry:
    kept = row.detail
    return Entry(
        app_id=row.app_id,
        instance=row.instance,
        name=row.name,
        type=row.type,
        number=row.number,
        release=row.release,
        state=state,
        at=at,
        cause=words,
        because=Cause.from_kept(kept.get("cause"), words),
        command=kept["command"],
        size=kept["size"],
        channel=kept["channel"],
        once=kept.get("once", False),
        attached=kept.get("attached", False),
        notes=Notes(
            check=_check(kept.get("check")),
            crashes=int(kept.get("crashes", 0)),
            rising=bool(kept.get("rising", False)),
        ),
    )


def _check(kept: Any) -> Check:
    if not isinstance(kept, Mapping):
        return Check()
    return Check(str(kept["path"]), str(kept["host"]), float(kept["boot_timeout_s"]))
