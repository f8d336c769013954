"""Owns `ps:exec`: one more process inside a running dyno, with a client attached to it.

It is no dyno of its own: it shares its dyno's namespaces, limits and end. Who did it, and what was
run, is in the acts and in the channel. Must not know what a client speaks.
"""

from __future__ import annotations

import signal

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, attaching, oneoff, record, running
from oriel.control.oneoff import ATTACH_TIMEOUT_S, Ask, Started
from oriel.control.world import World
from oriel.ledger import App, releases
from oriel.lexicon import Actor
from oriel.manifold import Dyno, Exit, Once, Terminal, Visit, Wish
from oriel.rendezvous import Link, Meeting

VISITS_MAX = 50
"""How many of these, and of attached one-offs, there may be at once."""


async def enter(world: World, actor: Actor, app: str, dyno: str, ask: Ask) -> Started:
    """Arrange that a client meets a new process inside a dyno."""
    found = await access.app_of(world, actor, app)
    oneoff.check(ask)
    chosen = _running(world, found, dyno)
    if len(world.sessions) >= VISITS_MAX:
        raise faults.TooMany(
            f"{VISITS_MAX} clients are attached to this platform already, and no more may be.",
            hint="Try again when some have gone.",
        )
    meeting = world.meetings().arrange(ATTACH_TIMEOUT_S)
    shown = oneoff.told(ask.command)

    def work(conn: Connection) -> Wish | None:
        release = releases.get(conn, found.id, chosen.release)
        detail = {"dyno": str(chosen.name), "command": shown, "env": sorted(ask.env)}
        line = f"Starting process in {chosen.name} with command `{shown}`"
        record.act(conn, world, actor, found, "ps:exec", detail, [line])
        return running.wish_of(conn, world, found, release)

    wish = await world.db.write(work)
    if wish is None:
        raise faults.NotFound(f"{found.name} has no code to run yet.", app=found.name)
    world.sessions.begin(_attended(world, found, chosen, wish, meeting, ask))
    return Started(found, chosen, meeting)


def _running(world: World, app: App, named: str) -> Dyno:
    for dyno in world.conductor.dynos(app.id):
        if named not in (str(dyno.name), dyno.instance, dyno.id):
            continue
        if dyno.state in ("up", "starting"):
            return dyno
        raise faults.Conflict(
            f"{dyno.name} is {dyno.state}: only a dyno that runs can be entered.",
            hint=f"See why with: oriel ps -x -a {app.name}. Or: oriel run bash -a {app.name}",
            app=app.name,
        )
    raise faults.NotFound(
        f"{app.name} has no dyno {named}.",
        hint=f"See what runs with: oriel ps -a {app.name}",
        resource="dyno",
        app=app.name,
    )


async def _attended(
    world: World, app: App, dyno: Dyno, wish: Wish, meeting: Meeting, ask: Ask
) -> None:
    link = await world.meetings().meet(meeting, ATTACH_TIMEOUT_S)
    if link is None:
        return
    once = Once(dyno.name, ask.command, env=ask.env)
    oneoff.expect(link, ask)
    ended = await _together(world, dyno, wish, once, link, ask)
    how = f" with status {ended.code}" if ended and ended.code is not None else ""
    text = f"Process started in {dyno.name} exited{how}"
    await world.db.write(
        lambda conn: record.say(conn, world, app, str(dyno.name), text, release=dyno.release)
    )


async def _together(
    world: World, dyno: Dyno, wish: Wish, once: Once, link: Link, ask: Ask
) -> Exit | None:
    try:
        visit = await world.conductor.one_offs.enter(dyno.instance, wish, once, ask.window)
    except faults.Fault as fault:
        await link.finish(None, fault.message)
        return None
    process = _Visited(visit)
    try:
        return await attaching.attend(link, process, world.clock)
    finally:
        visit.close()


class _Visited:
    """A process inside a dyno, as it is attached to."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    @property
    def terminal(self) -> Terminal:
        return self._visit.terminal

    async def wait(self) -> Exit:
        return await self._visit.wait()

    async def send(self, what: signal.Signals) -> None:
        await self._visit.send(what)

    async def hang_up(self, why: str) -> None:
        self._visit.close()

    def why(self) -> str:
        return ""
