"""Owns what is done to running dynos: users look, wait for a change, restart, stop; the router lets
them idle and wakes them. None of it changes a release.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, record
from oriel.control.world import World
from oriel.ledger import App, releases
from oriel.lexicon import Actor
from oriel.manifold import Dyno

WATCH_MAX_S = 20.0
"""How long a request may wait for a change; clients give up on a silent answer after 30 s."""

SETTLE_S = 0.05
"""Changes that come within this time of each other are one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An app's dynos at a moment, and what should run."""

    tag: str
    """Differs when anything here does, but for `at`; the same over a restart of the platform."""
    at: datetime
    dynos: tuple[Dyno, ...]
    release: int | None
    """The head: what should run."""
    newest: int | None
    """The newest release of all, which may be pending or have failed."""
    newest_status: str


async def watch(world: World, actor: Actor, app: str, after: str, wait_s: float) -> Snapshot:
    """The app's dynos as soon as they are not what `after` (a tag) says; else, when `wait_s` is
    over, as they still are.

    Raises Unavailable where too many wait already.
    """
    found = await access.app_of(world, actor, app)
    deadline_s = world.clock.monotonic_s() + min(max(0.0, wait_s), WATCH_MAX_S)
    with world.conductor.watchers.watching(found.id) as watching:
        while True:
            seen = await snapshot(world, actor, found.id)
            left_s = deadline_s - world.clock.monotonic_s()
            if seen.tag != after or left_s <= 0:
                return seen
            await watching.changed(left_s)
            await world.clock.sleep(SETTLE_S)


async def snapshot(world: World, actor: Actor, app: str) -> Snapshot:
    """The app's dynos now, and what should run."""

    def work(conn: Connection) -> tuple[App, int | None, int | None, str]:
        found = access.find(conn, actor, app)
        head, newest = releases.head(conn, found.id), releases.newest(conn, found.id, 1)
        return (
            found,
            head.version if head else None,
            newest[0].version if newest else None,
            newest[0].status if newest else "",
        )

    found, release, newest, status = await world.db.read(work)
    shown = tuple(_with_loss(world, each) for each in world.conductor.dynos(found.id))
    told = repr((release, newest, status, shown)).encode()
    tag = hashlib.sha256(told).hexdigest()[:32]
    return Snapshot(tag, world.clock.wall(), shown, release, newest, status)


async def dynos(world: World, actor: Actor, app: str) -> tuple[Dyno, ...]:
    """Every dyno of the app, by type and number."""
    return shown(world, await access.app_of(world, actor, app))


def shown(world: World, app: App) -> tuple[Dyno, ...]:
    """The same of an app that its caller was let to."""
    return tuple(_with_loss(world, each) for each in world.conductor.dynos(app.id))


def _with_loss(world: World, dyno: Dyno) -> Dyno:
    """The dyno, with what was lost of its output among the reasons."""
    lost = world.overflow.reason(dyno.instance) if world.overflow else ""
    return replace(dyno, reason="; ".join(filter(None, (dyno.reason, lost)))) if lost else dyno


async def restart(world: World, actor: Actor, app: str, only: str | None) -> tuple[str, ...]:
    """Restart all dynos, those of a type (`web`), or one (`web.1`). Returns which they were."""
    found, names = await _told(world, actor, app, "ps:restart", "Restart", only)
    await world.conductor.restart(found.id, only, actor)
    return names


async def stop(world: World, actor: Actor, app: str, only: str) -> tuple[str, ...]:
    """Stop the dynos of a type, or one; they stay down until a restart or release. Which ones."""
    found, names = await _told(world, actor, app, "ps:stop", "Stop", only)
    await world.conductor.stop(found.id, only, actor)
    return names


def web_of(world: World, app_id: str) -> list[Dyno]:
    """The app's web dynos."""
    return list(world.conductor.dynos(app_id, "web"))


def is_asleep(world: World, app_id: str) -> bool:
    """Whether web dynos of the app are idle, or on their way there."""
    return any(map(sleeps, web_of(world, app_id)))


def sleeps(dyno: Dyno) -> bool:
    """Whether a request would have to wake it."""
    goes = dyno.state == "stopping" and dyno.cause is not None and dyno.cause.root.kind == "idled"
    return goes or dyno.state == "idle"


async def idle(world: World, app_id: str) -> int:
    """Let the app's web dynos that are up end until a request comes; how many."""
    return await world.conductor.idle(app_id)


async def unidle(world: World, app_id: str) -> int:
    """Begin them again, because a request came; how many. They serve once they are up."""
    return await world.conductor.unidle(app_id)


async def _told(
    world: World, actor: Actor, app: str, verb: str, word: str, only: str | None
) -> tuple[App, tuple[str, ...]]:
    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        line = f"{word} {only}" if only else f"{word} all dynos"
        record.act(conn, world, actor, found, verb, {"only": only}, [line])
        return found

    found = await access.app_of(world, actor, app)
    names = _some(world, found, only)
    return await world.db.write(work), names


def _some(world: World, app: App, only: str | None) -> tuple[str, ...]:
    shown = world.conductor.dynos(app.id)
    found = [dyno for dyno in shown if only in (None, dyno.name.type, str(dyno.name))]
    if only and not found:
        names = ", ".join(dict.fromkeys(str(dyno.name) for dyno in shown))
        there = f"it has {names}" if names else "nothing runs on it"
        raise faults.NotFound(
            f"{app.name} has no dyno {only[:60]}: {there}.",
            hint=f"See what runs with: oriel ps -a {app.name}",
            resource="dyno",
            app=app.name,
        )
    return tuple(dict.fromkeys(str(dyno.name) for dyno in found))
