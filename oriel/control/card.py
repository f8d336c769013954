"""Owns what is known of one dyno at once: its state, its restarts, what it takes, what it said.

Must not know how any of it is kept or shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from oriel import faults
from oriel.control import access, dynos, said
from oriel.control.said import Line
from oriel.control.world import World
from oriel.ledger import App
from oriel.lexicon import Actor
from oriel.manifold import Dyno, history, sizes, stays
from oriel.manifold.history import Happening
from oriel.manifold.launcher import Usage

LINES = 10
CPU_OVER_S = 0.25
"""Over how long the card's share of a processor is measured."""

RESTARTS_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Load:
    """What a dyno takes of the machine."""

    usage: Usage
    quota_bytes: int | None
    """The memory that its size gives it."""
    cpu: float | None = None
    """Its share of one processor, 1.0 being all of it; None where it was looked at once."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the last instance of a dyno that ended did."""

    at: datetime
    state: str
    release: int
    reason: str


@dataclass(frozen=True, slots=True)
class Card:
    """One dyno, with all that is known of it."""

    dyno: Dyno
    restarts: int
    """Within the last hour."""
    last_exit: Ending | None
    load: Load | None
    lines: tuple[Line, ...] | None
    """The last ten of its log; None when the log cannot be read now."""


async def card(world: World, actor: Actor, app: str, name: str) -> Card:
    """One dyno of an app, by name; where there are two of it, the one of the newer release.

    Raises NotFound with the names that there are.
    """
    found = await access.app_of(world, actor, app)
    shown = await dynos.dynos(world, actor, found.id)
    mine = [each for each in shown if name in (str(each.name), each.instance)]
    if not mine:
        raise no_dyno(found, name, shown)
    dyno = max(mine, key=lambda each: each.release)
    entries = await world.db.read(lambda conn: history.of_name(conn, found.id, str(dyno.name)))
    load = (await loads(world, found.id, str(dyno.name), measured=True)).get(dyno.instance)
    return Card(
        dyno=dyno,
        restarts=stays.restarts(entries, world.clock.wall() - RESTARTS_WITHIN),
        last_exit=last_exit(entries),
        load=load,
        lines=await said.last(world, found.channel, str(dyno.name), LINES),
    )


async def loads(
    world: World, app_id: str, only: str | None = None, *, measured: bool = False
) -> Mapping[str, Load]:
    """What an app's running dynos take, by instance; `measured`: the processor too, which takes
    CPU_OVER_S.
    """
    named = {each.instance: each.size for each in world.conductor.dynos(app_id)}
    began_s = world.clock.monotonic_s()
    before = await world.conductor.usage(app_id, only)
    loads = {
        instance: Load(usage, sizes.of(named[instance]).quota_bytes if instance in named else None)
        for instance, usage in before.items()
    }
    if not measured or not loads:
        return loads
    await world.clock.sleep(CPU_OVER_S)
    after = await world.conductor.usage(app_id, only)
    passed_s = world.clock.monotonic_s() - began_s
    return {
        instance: replace(
            load,
            usage=after.get(instance, load.usage),
            cpu=_share(load.usage, after.get(instance), passed_s),
        )
        for instance, load in loads.items()
    }


def last_exit(entries: list[Happening]) -> Ending | None:
    """How the newest instance that has ended did. Pure; entries oldest first."""
    ended = [each for each in stays.stays(entries) if each.ended]
    if not ended:
        return None
    last = max(ended, key=lambda each: each.ended or each.begun)
    return Ending(last.ended or last.begun, last.state, last.release, last.cause)


def no_dyno(app: App, name: str, shown: tuple[Dyno, ...]) -> faults.NotFound:
    """The answer for a dyno that is not there now."""
    names = ", ".join(dict.fromkeys(str(each.name) for each in shown))
    there = f"it has {names}" if names else "nothing runs on it"
    hint = f"What became of it: oriel why {name} -a {app.name}" if "." in name else ""
    return faults.NotFound(
        f"{app.name} has no dyno {name[:60]}: {there}.", hint=hint, resource="dyno", app=app.name
    )


def _share(before: Usage, after: Usage | None, passed_s: float) -> float | None:
    if after is None or passed_s <= 0:
        return None
    return max(0.0, (after.cpu_s - before.cpu_s) / passed_s)
