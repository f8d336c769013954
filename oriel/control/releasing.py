"""Owns how every release is made: under the app's gate, from its head at that moment, with its
act and its log lines in one transaction, its release command run, and then the dynos changed.

Must not know what a release is for. A kill after any line here is finished or undone by
`recovery`: before the transaction nothing has happened; after it, the ledger says what to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from oriel import faults
from oriel.control import record, running
from oriel.control.world import World
from oriel.ledger import App, Draft, Release, State, drafts, releases, settings
from oriel.lexicon import RELEASE_TYPE, Actor, DynoName
from oriel.logplex.client import Query
from oriel.manifold import Dyno, Exit, Once, Wish

RELEASE_COMMAND_TIMEOUT_S = 3600.0
"""How long a release command may take (heroku-facts D3: release phase)."""

LAST_WORDS_S = 5.0
"""How long a push waits for the last words of its release command."""

ANSWER_WITHIN_S = 20.0
"""How long a request waits for a release command before it is answered with a pending release;
the official command line gives up on a silent server after 60 s (contract 1.3)."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A release to be: what the ledger gets, and how the deed is told."""

    verb: str
    draft: Draft
    detail: Mapping[str, Any]
    also: Callable[[Connection, Release], None] | None = None
    """What else belongs into the same transaction."""


@dataclass(frozen=True, slots=True)
class Made:
    """A release that was made, and the head before it."""

    release: Release
    previous: int | None
    preboots: bool = False
    """Whether its web dynos have to come up before the ones of the head go."""
    supersedes: int | None = None
    """The pending release whose place it took: what that was to be is in it."""


Say = Callable[[str], Awaitable[None]]


async def make(
    world: World,
    actor: Actor,
    app: App,
    plan: Callable[[Connection], Intent | None],
    say: Say | None = None,
    *,
    patience_s: float | None = ANSWER_WITHIN_S,
) -> Made | None:
    """Append the release that `plan` draws up from the head, and bring it to run.

    `plan` runs inside the transaction; None from it means that nothing would change. Raises
    ReleasePending when another change does not end in time. With `patience_s`, a release whose
    command takes longer is given back pending. What was begun is finished even when the caller is
    cancelled: once a release is appended, it is done, unless a newer one supersedes it while its
    web dynos come up.
    """
    appended: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as gate:
        await gate.enter_async_context(world.gates.change(app.id, app.name))
        # The task, not the caller, holds the gate from here on.
        held = gate.pop_all()
        work = _finish(world, actor, app, plan, say, appended, held)
        task = asyncio.create_task(_holding(held, work))
    world.background.add(task)
    task.add_done_callback(world.background.discard)
    if patience_s is not None:
        await asyncio.wait({task}, timeout=patience_s)
        either: set[asyncio.Future[Any]] = {task, appended}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return appended.result()
    return await _whole(task)


async def _whole(task: asyncio.Task[Made | None]) -> Made | None:
    """The outcome, however often the caller is cancelled meanwhile."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


async def _holding(gate: AsyncExitStack, work: Coroutine[Any, Any, Made | None]) -> Made | None:
    async with gate:
        return await work


async def _finish(
    world: World,
    actor: Actor,
    app: App,
    plan: Callable[[Connection], Intent | None],
    say: Say | None,
    appended: asyncio.Future[Made],
    gate: AsyncExitStack,
) -> Made | None:
    serves = any(_serves(dyno) for dyno in world.conductor.dynos(app.id))
    made = await world.db.write(lambda conn: _append(conn, world, actor, app, plan, serves))
    if made is None:
        return None
    appended.set_result(made)
    if made.supersedes is not None:
        world.conductor.call_off(app.id, made.supersedes)
    if made.release.status == "pending":
        world.conductor.watchers.tell(app.id)
        settled = await _prove(world, actor, app, made, say, gate)
        made = Made(settled, made.previous)
        world.conductor.watchers.tell(app.id)
    if made.release.status == "succeeded":
        await running.apply(world, app.id, actor)
    return made


async def _prove(
    world: World, actor: Actor, app: App, made: Made, say: Say | None, gate: AsyncExitStack
) -> Release:
    """What a pending release waits for: its release command, then its web dynos (preboot)."""
    release = made.release
    wish = await world.db.read(lambda conn: running.wish_of(conn, world, app, release))
    if wish is None:
        raise faults.Broken(f"Release {_v(release)} of {app.name} has nothing to run.")
    if RELEASE_TYPE in release.process_types:
        why = await _run_command(world, app, release, wish, say)
        if why:
            line = f"Release {_v(release)} command failed by {actor.email}"
            return await _settle(world, app, release, why, line)
    if made.preboots:
        with contextlib.suppress(faults.Fault):
            if say is not None:
                await say(f"-----> Booting web of {_v(release)} beside v{made.previous}...\n")
        # Others may change the app meanwhile; a newer release supersedes this one.
        await gate.aclose()
        why = await world.conductor.preboot(wish, by=actor)
        release = await _re_enter(world, app, release, gate)
        if release.status != "pending":
            world.conductor.call_off(app.id, release.version)
            return release
        if why:
            line = f"Preboot of {_v(release)} failed by {actor.email}"
            return await _settle(world, app, release, f"preboot failed: {why}", line)
    try:
        return await _settle(world, app, release)
    except BaseException:
        # Nothing that the ledger does not know of may take over.
        world.conductor.call_off(app.id, release.version)
        raise


async def _re_enter(world: World, app: App, release: Release, gate: AsyncExitStack) -> Release:
    """Hold the gate again, unless the release has been superseded; what it is by now."""
    while True:
        with contextlib.suppress(faults.ReleasePending):
            now = await world.db.read(lambda conn: releases.by_id(conn, app.id, release.id))
            if now.status != "pending":
                return now
            await gate.enter_async_context(world.gates.change(app.id, app.name))
            return await world.db.read(lambda conn: releases.by_id(conn, app.id, release.id))


async def give_up(world: World, actor: Actor, app: App) -> bool:
    """End a pending release of which only its web dynos are waited for; False if there is none."""

    def work(conn: Connection) -> Release | None:
        beside = releases.pending(conn, app.id)
        if beside is not None:
            _supersede(conn, world, actor, app, beside, "a newer push")
        return beside

    if world.gates.is_closed(app.id):
        return False
    async with world.gates.change(app.id, app.name):
        beside = await world.db.write(work)
    if beside is not None:
        world.conductor.call_off(app.id, beside.version)
    return beside is not None


def _append(
    conn: Connection,
    world: World,
    actor: Actor,
    app: App,
    plan: Callable[[Connection], Intent | None],
    serves: bool,
) -> Made | None:
    # Nobody holds the gate, so it is one whose web dynos come up.
    beside = releases.pending(conn, app.id)
    intent = plan(conn)
    if intent is None:
        return None
    if beside is not None:
        _supersede(conn, world, actor, app, beside, f"v{beside.version + 1}")
    draft = intent.draft
    head = releases.head(conn, app.id)
    act_id = record.act(conn, world, actor, app, intent.verb, intent.detail, [draft.description])
    commands = RELEASE_TYPE in _process_types(draft)
    preboots = serves and _preboots(conn, app, draft, head)
    status = "pending" if commands or preboots else "succeeded"
    release = releases.append(
        conn, world.vault, app, draft, actor, act_id, world.clock.wall(), status
    )
    if intent.also:
        intent.also(conn, release)
    record.release_created(conn, world, actor, app, release)
    if commands:
        record.say(
            conn, world, app, "api", f"Running release {_v(release)} commands by {actor.email}"
        )
    supersedes = beside.version if beside else None
    return Made(release, head.version if head else None, preboots, supersedes)


def _supersede(
    conn: Connection, world: World, actor: Actor, app: App, beside: Release, by: str
) -> None:
    line = f"Preboot of {_v(beside)} superseded by {by} by {actor.email}"
    record.say(conn, world, app, "api", line, release=beside.version)
    why = f"superseded by {by} before its web dynos were up"
    releases.settle(conn, beside, "failed", why, world.clock.wall(), vault=world.vault)


def _preboots(conn: Connection, app: App, draft: Draft, head: Release | None) -> bool:
    """Whether old and new web dynos are to run side by side for a while."""
    wanted = settings.has_feature(conn, app.id, settings.PREBOOT)
    if not wanted or head is None or head.slug_id is None:
        return False
    scale = settings.quantities(conn, app.id).get("web")
    has_web = "web" in head.process_types and "web" in _process_types(draft)
    return has_web and scale is not None and scale.quantity > 0


def _serves(dyno: Dyno) -> bool:
    return dyno.name.type == "web" and dyno.state == "up" and dyno.serving


async def _run_command(
    world: World, app: App, release: Release, wish: Wish, say: Say | None
) -> str:
    """Run the release command; says why it failed, or nothing."""
    command = release.process_types[RELEASE_TYPE]
    name = DynoName(RELEASE_TYPE, release.version)
    try:
        async with _telling(world, app, name, say):
            once = Once(name, command)
            ended = await world.conductor.one_offs.run(
                wish, once, timeout_s=RELEASE_COMMAND_TIMEOUT_S
            )
    except faults.Fault as fault:
        return fault.message
    return "" if ended.code == 0 else _why(ended)


@asynccontextmanager
async def _telling(world: World, app: App, name: DynoName, say: Say | None) -> AsyncIterator[None]:
    """Tell `say` what the dyno says, until it has ended and all of it was told."""
    if say is None:
        yield
        return
    telling = asyncio.create_task(_tell(world, app, name, say))
    try:
        yield
        # What it said last is on its way through its FIFO; it must not hold anything up.
        await asyncio.wait({telling}, timeout=LAST_WORDS_S)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(world: World, app: App, name: DynoName, say: Say) -> None:
    await say("-----> Running release command...\n")
    query = Query(lines=100_000, tail=True, after=None, sources=(), ps=(str(name),), format="json")
    async for batch in world.logplex.read(app.channel, query):
        for line in map(json.loads, batch.text.splitlines()):
            if line["source"] == "app":
                await say(f"       {line['text']}\n")
            elif line["text"].startswith("Process exited"):
                return


async def _settle(
    world: World, app: App, release: Release, why: str = "", line: str = ""
) -> Release:
    """It succeeded, or failed for that reason, which `line` tells in the channel."""

    def work(conn: Connection) -> Release:
        now = world.clock.wall()
        if not why:
            return releases.settle(conn, release, "succeeded", "", now, vault=world.vault)
        record.say(conn, world, app, "api", line, release=release.version)
        return releases.settle(conn, release, "failed", why, now, vault=world.vault)

    return await world.db.write(work)


def head_state(conn: Connection, world: World, app: App) -> State:
    """What a new release begins from: what the app's head makes run, or will if its web dynos
    come up; nothing before its first release.
    """
    head = releases.pending(conn, app.id) or releases.head(conn, app.id)
    return releases.state(conn, world.vault, app, head) if head else drafts.NOTHING


def _process_types(draft: Draft) -> Mapping[str, str]:
    if draft.process_types is not None:
        return draft.process_types
    return draft.slug.process_types if draft.slug else {}


def _why(ended: Exit) -> str:
    if ended.code is not None:
        return f"release command exited with status {ended.code}"
    return "release command was killed"


def _v(release: Release) -> str:
    return f"v{release.version}"
