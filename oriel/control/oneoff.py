"""Owns one-off dynos: `oriel run`, attached to a client by a rendezvous, or detached.

A one-off runs the head release's code with its config, beside the formation; it is in the record
as any dyno, and is never started again. Must not know what a client speaks.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Connection

from oriel import faults
from oriel.clock import pick_number
from oriel.control import access, attaching, record, running
from oriel.control.world import World
from oriel.ledger import App
from oriel.lexicon import (
    RELEASE_TYPE,
    RESERVED_PROCESS_TYPES,
    Actor,
    ConfigKey,
    DynoName,
    Malformed,
    ProcessType,
)
from oriel.manifold import Dyno, Exit, Once, OneOff, Terminal, Window, Wish, sizes
from oriel.manifold.command import plain
from oriel.rendezvous import Link, Meeting

ATTACH_TIMEOUT_S = 30.0
"""How long a client may take to come (heroku-facts C, R13)."""

TIME_TO_LIVE_MAX_S = 86_400
PER_APP_MAX = 25
PLATFORM_MAX = 100
COMMAND_CHARS_MAX = 32_000
ENVIRONMENT_CHARS_MAX = 32_000
ENVIRONMENT_MAX = 200

TYPE = "run"

_MACHINE_WORDS = RESERVED_PROCESS_TYPES - {TYPE, "scheduler"}


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants to be run."""

    command: str
    attach: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    """Over the app's config; its values are never told."""
    window: Window | None = None
    """The size of the client's terminal; None where the process shall have pipes."""
    piped: bool = False
    """Whether the client's own input is a pipe, as far as it tells."""
    size: str | None = None
    type: str = TYPE
    time_to_live_s: int = TIME_TO_LIVE_MAX_S


@dataclass(frozen=True, slots=True)
class Started:
    """A one-off that was begun, and where its client has to go."""

    app: App
    dyno: Dyno
    meeting: Meeting | None


async def run(world: World, actor: Actor, app: str, ask: Ask) -> Started:
    """Begin a one-off dyno. An attached one waits for its client for ATTACH_TIMEOUT_S."""
    found = await access.app_of(world, actor, app)
    check(ask)
    if ask.type in _MACHINE_WORDS or ask.type == RELEASE_TYPE:
        raise faults.Invalid(f'The type "{ask.type}" names a part of the platform.')
    wish = await world.db.read(lambda conn: running.wish_of(conn, world, found))
    if wish is None or wish.slug is None:
        raise faults.Invalid(
            f"{found.name} has no code to run yet.", hint="Push some: git push oriel main"
        )
    # Before anything is written: without a port, nobody could come.
    meeting = world.meetings().arrange(ATTACH_TIMEOUT_S) if ask.attach else None
    _check_room(world, found)
    once = Once(
        name=_fresh_name(world, found, ask.type),
        command=ask.command,
        size=_size(ask, wish),
        by=actor.email,
        env=ask.env,
        attached=ask.attach,
        until=world.clock.wall() + timedelta(seconds=ask.time_to_live_s),
    )
    await world.db.write(lambda conn: _tell(conn, world, actor, found, once))
    instance = world.conductor.one_offs.begin(wish, once)
    if meeting is not None:
        world.sessions.begin(_attended(world, instance, meeting, ask))
    return Started(found, instance.dyno(), meeting)


def check(ask: Ask) -> None:
    """Refuse what could not be run, whoever asks for it."""
    if not ask.command.strip():
        raise faults.Invalid('"command" is empty.', hint="As in: oriel run bash")
    if len(ask.command) > COMMAND_CHARS_MAX:
        raise faults.Invalid(f"The command is longer than {COMMAND_CHARS_MAX:,} characters.")
    if not 1 <= ask.time_to_live_s <= TIME_TO_LIVE_MAX_S:
        raise faults.Invalid(
            f'"time_to_live" has to be 1 to {TIME_TO_LIVE_MAX_S} seconds: a day at most.'
        )
    if len(ask.env) > ENVIRONMENT_MAX or _length(ask.env) > ENVIRONMENT_CHARS_MAX:
        raise faults.Invalid(
            f"The variables given are more than {ENVIRONMENT_MAX}, or longer than "
            f"{ENVIRONMENT_CHARS_MAX:,} characters.",
            hint="Set those that stay with: oriel config:set",
        )
    try:
        ProcessType(ask.type)
        for name in ask.env:
            ConfigKey(name)
    except Malformed as malformed:
        raise faults.Invalid(str(malformed)) from None


def _length(env: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in env.items())


def _check_room(world: World, app: App) -> None:
    if world.conductor.one_offs.count(app.id) >= PER_APP_MAX:
        raise faults.TooMany(
            f"{app.name} has {PER_APP_MAX} one-off dynos already, and may have no more.",
            hint=f"See them with: oriel ps -a {app.name}. Stop one: oriel ps:stop run.N",
            app=app.name,
        )
    if world.conductor.one_offs.count() >= PLATFORM_MAX:
        raise faults.TooMany(
            f"This platform runs {PLATFORM_MAX} one-off dynos already, and runs no more at once.",
            hint="Try again when some have ended.",
            app=app.name,
        )


def _fresh_name(world: World, app: App, type_: str) -> DynoName:
    used = {dyno.name for dyno in world.conductor.dynos(app.id)}
    while (name := DynoName(type_, pick_number(1000, 9999))) in used:
        pass
    return name


def _size(ask: Ask, wish: Wish) -> str:
    """The size asked for, or that of the type, or the usual one."""
    if ask.size is None:
        process = wish.processes.get(ask.type)
        return process.size if process else sizes.DEFAULT.name
    size = ask.size.lower()
    if size not in sizes.SIZES:
        raise faults.Invalid(
            f"There is no dyno size {ask.size[:40]!r}.", hint=f"There are {', '.join(sizes.SIZES)}."
        )
    return size


def _tell(conn: Connection, world: World, actor: Actor, app: App, once: Once) -> None:
    shown = told(once.command)
    detail = {
        "command": shown,
        "dyno": str(once.name),
        "size": once.size,
        "attached": once.attached,
        "env": sorted(once.env),
    }
    record.act(conn, world, actor, app, "run", detail, [f"Starting process with command `{shown}`"])


def told(command: str) -> str:
    """A command as it is told in the channel: on one line, without what steers a terminal."""
    return re.sub(r"[^ -~\u00a0-\U0010ffff]+", " ", plain(command))


async def _attended(world: World, instance: OneOff, meeting: Meeting, ask: Ask) -> None:
    """From the wait for its client to its end."""
    link = await world.meetings().meet(meeting, ATTACH_TIMEOUT_S)
    if link is None:
        instance.give_up_waiting(ATTACH_TIMEOUT_S)
        return
    expect(link, ask)
    terminal = await instance.attach(ask.window)
    if terminal is None:
        await link.finish(None, f"it {instance.life.reason}")
        return
    await attaching.attend(link, _OneOff(world, instance, terminal), world.clock)


def expect(link: Link, ask: Ask) -> None:
    """Tell a link what it has to know of what was asked for."""
    status = ask.command != plain(ask.command)
    link.expect(terminal=ask.window is not None, status=status, piped=ask.piped)


class _OneOff:
    """A one-off dyno, as it is attached to."""

    def __init__(self, world: World, instance: OneOff, terminal: Terminal) -> None:
        self.terminal = terminal
        self._world = world
        self._instance = instance

    async def wait(self) -> Exit:
        await self._instance.ended.wait()
        return self._instance.exit or Exit(None, lost=True)

    async def send(self, what: signal.Signals) -> None:
        await self._instance.send(what)

    async def hang_up(self, why: str) -> None:
        await asyncio.shield(asyncio.ensure_future(self._instance.hang_up(why)))

    def why(self) -> str:
        life, exit_ = self._instance.life, self._instance.exit
        return life.reason if life.fate or exit_ is None or exit_.code is None else ""
