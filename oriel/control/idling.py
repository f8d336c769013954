"""Owns after how long without a request an app's web dynos go idle; by itself none do.

Which are looked at and how they wake is the sleeper's (`sleeper`).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, record
from oriel.control.world import World
from oriel.ledger import App, settings
from oriel.lexicon import Actor

AFTER_MIN_S = 60
AFTER_MAX_S = 30 * 86400


@dataclass(frozen=True, slots=True)
class AppIdling:
    """An app's idling as it counts now."""

    app: str
    after_s: int | None
    """None: it does not go idle."""
    asleep: bool
    """Whether web dynos of it are idle now."""


async def idling(world: World, actor: Actor, app: str) -> AppIdling:
    """The app's idling."""

    def work(conn: Connection) -> tuple[App, int | None]:
        found = access.find(conn, actor, app)
        return found, settings.idling(conn, found.id)

    return _idling(world, *await world.db.read(work))


async def set_idling(world: World, actor: Actor, app: str, after_s: int) -> AppIdling:
    """Let the app's web dynos go idle after so long without a request. Twice is once."""
    if not AFTER_MIN_S <= after_s <= AFTER_MAX_S:
        raise faults.Invalid(
            f"An app cannot go idle after {after_s} s: use 1 minute to {AFTER_MAX_S // 86400} days."
        )

    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        if not world.router.can_wake:
            raise faults.Unavailable(
                "No request could wake the app: HAProxy on this machine is built without Lua.",
                hint="oriel doctor",
            )
        if settings.idling(conn, found.id) != after_s:
            settings.set_idling(conn, found.id, after_s, world.clock.wall())
            line = f"Set idling after {after_s} s"
            record.act(conn, world, actor, found, "ps:idle", {"after_s": after_s}, [line])
        return found

    found = await world.db.write(work)
    world.idling_changed()
    return _idling(world, found, after_s)


async def unset_idling(world: World, actor: Actor, app: str) -> AppIdling:
    """The app does not go idle, and is woken if it is. Twice is once."""

    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        if settings.idling(conn, found.id) is not None:
            settings.unset_idling(conn, found.id)
            record.act(conn, world, actor, found, "ps:idle", {"after_s": None}, ["Unset idling"])
        return found

    found = await world.db.write(work)
    world.idling_changed()
    await world.conductor.unidle(found.id)
    return _idling(world, found, None)


def _idling(world: World, app: App, after_s: int | None) -> AppIdling:
    shown = world.conductor.dynos(app.id)
    return AppIdling(app.name, after_s, any(dyno.state == "idle" for dyno in shown))
