"""Owns what users ask about the past of dynos: who was up when, and what became of each.

Must not know how the record is kept; `manifold.history` folds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, when
from oriel.control.world import World
from oriel.ledger import App, acts
from oriel.lexicon import Actor, DynoName, Malformed, ProcessType
from oriel.manifold import Dyno, history
from oriel.manifold.history import Transition

PAGE_MAX = history.PAGE_MAX


@dataclass(frozen=True, slots=True)
class Past:
    """An app's dynos as they were."""

    at: datetime
    dynos: tuple[Dyno, ...]


async def at(world: World, actor: Actor, app: str, text: str) -> Past:
    """The dynos of an app at a moment: a time, an age (`2h`), a release (when it was made).

    Raises Invalid for what is no time, or one that is still to come.
    """
    now = world.clock.wall()

    def work(conn: Connection) -> Past:
        found = access.find(conn, actor, app)
        moment = when.end_of(conn, found, text, now)
        if when.begin_of(conn, found, text, now) > now:
            raise faults.Invalid(
                f"{text[:60]} is still to come.",
                hint="oriel ps shows what is now; for a time of another day, give the day too.",
                app=found.name,
            )
        dynos = history.at(conn, found.id, moment)
        return Past(min(moment, now), _wanted(conn, found, dynos, moment))

    return await world.db.read(work)


async def transitions(
    world: World,
    actor: Actor,
    app: str,
    *,
    only: str | None = None,
    since: str = "",
    until: str = "",
    before: int | None = None,
    limit: int = 50,
) -> list[Transition]:
    """What became of an app's dynos, those of a type, or one; newest first, at most `limit`.

    `before` is the id of an entry to go on from. Raises NotFound for a name that no dyno ever had.
    """
    if not 1 <= limit <= PAGE_MAX:
        raise faults.Invalid(f"Number {limit} is not allowed: use 1 to {PAGE_MAX}.")
    now = world.clock.wall()

    def work(conn: Connection) -> list[Transition]:
        found = access.find(conn, actor, app)
        told = history.page(
            conn,
            found.id,
            only=only,
            since=when.begin_of(conn, found, since, now) if since else None,
            until=when.end_of(conn, found, until, now) if until else None,
            before=before,
            limit=limit,
        )
        if only and not told:
            check_known(conn, found, only)
        return told

    return await world.db.read(work)


def check_known(conn: Connection, app: App, only: str) -> None:
    """Refuse a dyno or type that never was, with the names that there are."""
    names = history.names(conn, app.id)
    if only in {text for name in names for text in (str(name), name.type)}:
        return
    _check_form(only)
    raise no_such(app, only, names)


def no_such(app: App, only: str, names: list[DynoName]) -> faults.NotFound:
    """The answer for a dyno that an app never had."""
    shown = [str(name) for name in sorted(names)]
    more = len(shown) - _SHOWN_MAX
    listed = ", ".join(shown[:_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
    there = f"there is, or was, {listed}" if listed else "nothing ever ran on it"
    return faults.NotFound(
        f"{app.name} never had a dyno {only}: {there}.",
        hint=f"See what runs with: oriel ps -a {app.name}",
        resource="dyno",
        app=app.name,
    )


_SHOWN_MAX = 12


def _check_form(only: str) -> None:
    try:
        _ = DynoName.parse(only) if "." in only else ProcessType(only)
    except Malformed as problem:
        raise faults.Invalid(str(problem)) from None


def _wanted(
    conn: Connection, app: App, dynos: tuple[Dyno, ...], moment: datetime
) -> tuple[Dyno, ...]:
    """Without those that were stopped by hand and then scaled away: of that there is no entry,
    for nothing of them was left that could change.
    """
    if not any(dyno.state == "down" for dyno in dynos):
        return dynos
    scalings = [each for each in acts.with_verbs(conn, app.id, ["ps:scale"]) if each.at <= moment]
    if not scalings:
        return dynos
    formation = scalings[-1].detail.get("formation", {})
    return tuple(
        dyno
        for dyno in dynos
        if dyno.state != "down" or dyno.name.number <= formation.get(dyno.name.type, 10**6)
    )
