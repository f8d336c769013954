"""Owns what the record of dynos says of the past: who was up when, and what became of each.

A question about the past gives the same values as one about now. What an entry means to a reader
is decided in `read`, and nowhere else: an entry may stand for a whole crash loop, whose lives were
counted rather than written (`folded` in its detail). Pure but for its SELECTs; must not know
acts, releases or log lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from oriel.lexicon import DynoName
from oriel.manifold.cause import Cause
from oriel.manifold.dyno import Dyno
from oriel.manifold.machine import ENDED, LEAVING
from oriel.manifold.tables import dyno_events

PAGE_MAX = 1000
NAMES_MAX = 100
DEPTH = 12
"""How many entries of an instance are looked at to know since when it is in its state."""

_LAID_DOWN = ("scaled", "destroyed")
"""Why an end comes after which nobody has that name any more."""

_events = dyno_events.c


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of the record: from `at` on, an instance is in `state`."""

    id: int
    instance: str
    name: DynoName
    release: int
    state: str
    at: datetime
    because: Cause
    command: str
    size: str
    once: bool
    folded: int = 0
    """How many whole lives (a start and a crash each) this entry stands for beside its own."""

    @property
    def cause(self) -> str:
        """Why, in words; empty where there is nothing to say."""
        return self.because.words

    @property
    def has_ended(self) -> bool:
        """Whether no process of it is left from here on."""
        return self.state in ENDED

    @property
    def is_laid_down(self) -> bool:
        """Whether nobody has its name any more when it has ended."""
        return self.because.root.kind in _LAID_DOWN


@dataclass(frozen=True, slots=True)
class Transition:
    """An entry, with what was before it under that name."""

    after: Happening
    before: str
    """The state that it left; empty for the first of its name."""
    lasted_s: float | None
    """How long it had been in that state."""


def read(row: Row[Any]) -> Happening:
    """What an entry says. Whatever its detail lacks is as it was before it was kept."""
    detail = row.detail if isinstance(row.detail, Mapping) else {}
    because = Cause.from_kept(detail.get("cause"), row.cause or "")
    count = because.count or 1
    if because.kind == "crash_loop" and because.first:
        because = because.first
    return Happening(
        id=row.id,
        instance=row.instance,
        name=DynoName(row.type, row.number),
        release=row.release,
        state=row.state,
        at=row.at,
        because=because,
        command=str(detail.get("command", "")),
        size=str(detail.get("size", "standard-1x")),
        once=bool(detail.get("once", False)),
        folded=count - 1,
    )


# --- who was there


def at(conn: Connection, app_id: str, moment: datetime) -> tuple[Dyno, ...]:
    """The dynos of an app as `ps` would have shown them at that moment."""
    told = (
        select(
            _events.instance,
            _events.name,
            func.min(_events.id).label("first"),
            func.max(_events.id).label("last"),
        )
        .where(_events.app_id == app_id, _events.at <= moment)
        .group_by(_events.instance, _events.name)
        .subquery("told")
    )
    newest = (
        select(told.c.name, func.max(told.c.first).label("first"))
        .group_by(told.c.name)
        .subquery("newest")
    )
    # Of each name the instance that was begun last, and any other that was still alive.
    chosen = (
        select(_events.instance, (told.c.first == newest.c.first).label("is_newest"))
        .join(told, _events.id == told.c.last)
        .join(newest, newest.c.name == told.c.name)
        .where((told.c.first == newest.c.first) | _events.state.notin_(ENDED))
    )
    is_newest = {row.instance: bool(row.is_newest) for row in conn.execute(chosen)}
    lives = _lives(conn, is_newest, moment)
    shown = [
        (life[-1], _since(life))
        for instance, life in lives.items()
        if was_shown(life[-1], is_newest=is_newest[instance])
    ]
    dynos = [as_dyno(last, app_id, since) for last, since in shown]
    return tuple(sorted(dynos, key=lambda dyno: (dyno.name, dyno.release, dyno.since)))


def was_shown(last: Happening, *, is_newest: bool) -> bool:
    """Whether `ps` showed an instance of which this was the last entry. Pure.

    One that is no longer the newest of its name is on its way out, unless it serves on while the
    one after it starts.
    """
    if last.once:
        return not last.has_ended
    if not is_newest:
        return last.state in ("up", "idle")
    if last.state == "down":
        return last.because.root.kind == "stopped"
    if last.state in LEAVING:
        return not last.is_laid_down
    return last.state != "complete"


def as_dyno(last: Happening, app_id: str, since: datetime) -> Dyno:
    """A dyno of the past as a value; where it listened is not kept."""
    return Dyno(
        instance=last.instance,
        name=last.name,
        app_id=app_id,
        command=last.command,
        size=last.size,
        state=last.state,
        since=since,
        release=last.release,
        host="",
        port=None,
        reason=last.cause,
        cause=last.because,
    )


def _lives(
    conn: Connection, instances: Iterable[str], moment: datetime
) -> dict[str, list[Happening]]:
    """The newest entries of each instance up to a moment, oldest first."""
    wanted = list(instances)
    lives: dict[str, list[Happening]] = {}
    for start in range(0, len(wanted), PAGE_MAX):
        place = func.row_number().over(partition_by=_events.instance, order_by=_events.id.desc())
        part = wanted[start : start + PAGE_MAX]
        numbered = (
            select(dyno_events, place.label("place"))
            .where(_events.instance.in_(part), _events.at <= moment)
            .subquery()
        )
        rows = conn.execute(
            select(numbered).where(numbered.c.place <= DEPTH).order_by(numbered.c.id)
        )
        for row in rows:
            lives.setdefault(row.instance, []).append(read(row))
    return lives


def _since(life: Sequence[Happening]) -> datetime:
    """Since when it is in its last state: an entry may only give it another reason."""
    since = life[-1].at
    for each in reversed(life):
        if each.state != life[-1].state:
            break
        since = each.at
    return since


# --- what became of each


def page(
    conn: Connection,
    app_id: str,
    *,
    only: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Transition]:
    """The newest transitions of an app, a type (`web`) or a dyno (`web.1`), newest first.

    `since` and `until` take their own moment in; `before` is the id of an entry to go on from.
    """
    statement = _of(app_id, only).order_by(_events.id.desc()).limit(min(limit, PAGE_MAX))
    if since is not None:
        statement = statement.where(_events.at >= since)
    if until is not None:
        statement = statement.where(_events.at <= until)
    if before is not None:
        statement = statement.where(_events.id < before)
    window = [read(row) for row in conn.execute(statement)][::-1]
    return transitions(_earlier(conn, app_id, window), window)[::-1]


def of_name(conn: Connection, app_id: str, name: str, limit: int = PAGE_MAX) -> list[Happening]:
    """The newest entries of a dyno, oldest first."""
    statement = _of(app_id, name).order_by(_events.id.desc()).limit(limit)
    return [read(row) for row in conn.execute(statement)][::-1]


def names(conn: Connection, app_id: str) -> list[DynoName]:
    """The names that dynos of an app ever had, those that moved last first; not all of them."""
    statement = (
        select(_events.type, _events.number, func.max(_events.id).label("last"))
        .where(_events.app_id == app_id)
        .group_by(_events.type, _events.number)
        .order_by(func.max(_events.id).desc())
        .limit(NAMES_MAX)
    )
    return [DynoName(row.type, row.number) for row in conn.execute(statement)]


def last_up(conn: Connection, app_id: str, type: str, before: int) -> int | None:
    """The newest release, older than `before`, on which a dyno of that type came up."""
    statement = select(func.max(_events.release)).where(
        _events.app_id == app_id,
        _events.type == type,
        _events.state == "up",
        _events.release < before,
    )
    found = conn.execute(statement).scalar_one_or_none()
    return int(found) if found is not None else None


def transitions(earlier: Iterable[Happening], window: Sequence[Happening]) -> list[Transition]:
    """Each entry of `window` with what was before it; both oldest first. Pure.

    An instance's first entry follows whatever the instance before it, of its name, was in then.
    """
    lives: dict[str, Happening] = {}
    seats: dict[DynoName, Happening] = {}
    entered: dict[str, datetime] = {}
    told: list[Transition] = []

    def take(each: Happening) -> None:
        was = lives.get(each.instance)
        if was is None or was.state != each.state:
            entered[each.instance] = each.at
        lives[each.instance] = seats[each.name] = each

    for each in earlier:
        take(each)
    for each in window:
        was = lives.get(each.instance) or seats.get(each.name)
        lasted_s = None
        if was is not None:
            lasted_s = max(0.0, (each.at - entered[was.instance]).total_seconds())
        told.append(Transition(each, was.state if was else "", lasted_s))
        take(each)
    return told


def _of(app_id: str, only: str | None) -> Select[Any]:
    statement = select(dyno_events).where(_events.app_id == app_id)
    if only is None:
        return statement
    column = _events.name if "." in only else _events.type
    return statement.where(column == only)


def _earlier(conn: Connection, app_id: str, window: Sequence[Happening]) -> list[Happening]:
    """The entries before a window that its first ones follow."""
    if not window:
        return []
    before = (_events.app_id == app_id) & (_events.id < window[0].id)
    instances = {each.instance for each in window}
    last_of_names = (
        select(func.max(_events.id))
        .where(before, _events.name.in_({str(each.name) for each in window}))
        .group_by(_events.name)
    )
    last_of_lives = (
        select(func.max(_events.id))
        .where(before, _events.instance.in_(instances))
        .group_by(_events.instance)
    )
    rows = conn.execute(
        select(dyno_events)
        .where(_events.id.in_(last_of_names) | _events.id.in_(last_of_lives))
        .order_by(_events.id)
    )
    return [read(row) for row in rows]
