"""Owns what is done to running dynos: users look, restart, stop; the router lets them idle and
wakes them. None of it changes a release.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, record
from oriel.control.world import World
from oriel.ledger import App
from oriel.lexicon import Actor
from oriel.manifold import Dyno


async def dynos(world: World, actor: Actor, app: str) -> tuple[Dyno, ...]:
    """Every dyno of the app, by type and number."""
    found = await access.app_of(world, actor, app)
    return tuple(_with_loss(world, each) for each in world.conductor.dynos(found.id))


def _with_loss(world: World, dyno: Dyno) -> Dyno:
    """The dyno, with what was lost of its output among the reasons."""
    lost = world.overflow.reason(dyno.instance) if world.overflow else ""
    return replace(dyno, reason="; ".join(filter(None, (dyno.reason, lost)))) if lost else dyno


async def restart(world: World, actor: Actor, app: str, only: str | None) -> int:
    """Restart all dynos, those of a type (`web`), or one (`web.1`). Returns how many."""
    found = await _told(world, actor, app, "ps:restart", "Restart", only)
    return await world.conductor.restart(found.id, only, actor)


async def stop(world: World, actor: Actor, app: str, only: str) -> int:
    """Stop the dynos of a type, or one; they stay down until a restart or release."""
    found = await _told(world, actor, app, "ps:stop", "Stop", only)
    return await world.conductor.stop(found.id, only, actor)


async def idle(world: World, app: App) -> int:
    """Let the app's web dynos that are up end until a request comes; how many."""
    return await world.conductor.idle(app.id)


async def unidle(world: World, app: App) -> int:
    """Begin them again, because a request came; how many. They serve once they are up."""
    return await world.conductor.unidle(app.id)


async def _told(
    world: World, actor: Actor, app: str, verb: str, word: str, only: str | None
) -> App:
    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        line = f"{word} {only}" if only else f"{word} all dynos"
        record.act(conn, world, actor, found, verb, {"only": only}, [line])
        return found

    found = await access.app_of(world, actor, app)
    _check_some(world, found, only)
    return await world.db.write(work)


def _check_some(world: World, app: App, only: str | None) -> None:
    found = [
        dyno
        for dyno in world.conductor.dynos(app.id)
        if only in (None, dyno.name.type, str(dyno.name))
    ]
    if only and not found:
        raise faults.NotFound(
            f"{app.name} has no dyno {only}.",
            hint=f"See what runs with: oriel ps -a {app.name}",
            resource="dyno",
            app=app.name,
        )
