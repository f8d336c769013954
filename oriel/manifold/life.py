"""Owns one instance from its beginning to its end: events in, machine, record, orders out.

A thin shell around `machine`: one task an instance takes its events in turn, so that its states
are recorded in the order in which they came to be. Must not know what follows an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Any

from oriel.clock import Clock
from oriel.faults import Fault
from oriel.manifold import command, events, machine
from oriel.manifold.dyno import EXIT_TIMEOUT_S, Dyno
from oriel.manifold.launcher import Launched, Launcher, LaunchSpec
from oriel.manifold.machine import ENDED, Event, Life, Order
from oriel.sandbox.confinement import Exit
from oriel.store.database import Database

ALIVE_S = 0.5
"""How long a dyno that is no web must live to be up."""

PROBE_FIRST_S = 0.01
PROBE_MAX_S = 0.25
PROBE_GROWTH = 1.25
RECORD_RETRY_S = 1.0

LEAVE_TIMEOUT_S = 0.5
"""How long a web dyno's SIGTERM waits until no new request is sent to it."""

_log = logging.getLogger("oriel.manifold.life")


class Instance:
    """One instance and its task."""

    def __init__(
        self,
        spec: LaunchSpec,
        *,
        launcher: Launcher,
        db: Database,
        clock: Clock,
        boot_timeout_s: float,
        changed: Callable[[Instance], None],
        finished: Callable[[Instance], None],
        before_stop: Callable[[str], Awaitable[None]],
        life: Life | None = None,
        since: datetime | None = None,
        at: Launched | None = None,
    ) -> None:
        """`changed` is told each new state, `finished` the end, once, when it is recorded.

        `before_stop` is awaited, with the app's id, before SIGTERM, but not for long. `since` and
        `at` are given for one that was adopted.
        """
        self.spec = spec
        self.life = life or Life(is_web=spec.type == "web", once=spec.once)
        self.since = since or clock.wall()
        self.at = at or Launched("", None)
        self.began_s = clock.monotonic_s()
        self.exit: Exit | None = None
        self.ended = asyncio.Event()
        self._launcher = launcher
        self._db = db
        self._clock = clock
        self._boot_timeout_s = boot_timeout_s
        self._changed = changed
        self._finished = finished
        self._before_stop = before_stop
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._timers: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._no_place = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left to wait for."""
        return self.life.state in ENDED

    @property
    def is_leaving(self) -> bool:
        """Whether it is stopping, or has stopped, to be gone."""
        return self.life.state in ("stopping", "down")

    def begin(self) -> None:
        """Start it."""
        self._run()
        try:
            self.at = self._launcher.place(self.spec)
        except Fault as fault:
            self._no_place = fault.message
        self.tell(machine.Begun(self._shown()))

    def resume(self) -> None:
        """Go on with one that was adopted, running."""
        self._run()
        if self.life.state == "starting":
            self._wait_ready()
        elif self.life.state == "stopping":
            self._later(EXIT_TIMEOUT_S, machine.ExitTimedOut(EXIT_TIMEOUT_S))

    def settle(self, exit_: Exit) -> None:
        """Record the end of one that was adopted, ended."""
        self._run()
        self.on_exit(exit_)

    def tell(self, event: Event) -> None:
        """Something happened to it."""
        self._events.put_nowait(event)

    def on_exit(self, exit_: Exit) -> None:
        """Its launcher says that it has ended."""
        self.exit = exit_
        self.tell(machine.Ended(exit_))

    def stop(self, fate: machine.Fate, reason: str) -> None:
        """It should end."""
        self.tell(machine.StopAsked(fate, reason))

    async def lay_down(self, reason: str) -> None:
        """Record that one that has crashed is wanted no more."""
        if self.life.state != "crashed":
            return
        says = (machine.Say("State changed from crashed to down"),)
        await self._record(replace(self.life, state="down", fate="down", reason=reason), says)

    def detach(self) -> None:
        """Leave it alone: control stops, and the dyno goes on."""
        for task in (*self._timers, *([self._task] if self._task else [])):
            task.cancel()

    def dyno(self) -> Dyno:
        """What a user sees of it."""
        return Dyno(
            instance=self.spec.instance,
            name=self.spec.name,
            app_id=self.spec.app_id,
            command=self.spec.command,
            size=self.spec.size,
            state="starting" if self.life.state == "new" else self.life.state,
            since=self.since,
            release=self.spec.release,
            host=self.at.host,
            port=self.at.port,
            reason=self.life.reason,
        )

    def _run(self) -> None:
        self._task = asyncio.create_task(self._live())

    def _shown(self) -> str:
        port = {} if self.at.port is None else {"PORT": str(self.at.port)}
        return command.shown(self.spec.command, {**self.spec.env, **port})

    async def _live(self) -> None:
        while not self.has_ended:
            event = await self._events.get()
            life, orders = machine.step(self.life, event)
            await self._record(life, orders)
            for order in orders:
                await self._carry_out(order)
        for timer in self._timers:
            timer.cancel()
        self.ended.set()
        self._finished(self)

    async def _record(self, life: Life, orders: tuple[Order, ...]) -> None:
        says = [order for order in orders if isinstance(order, machine.Say)]
        changed = life.state != self.life.state
        if not (changed or says):
            self.life = life
            return
        now = self._clock.wall()

        def work(conn: Any) -> None:
            if changed:
                events.record(conn, self.spec, life, says, now)
            else:
                events.say(conn, self.spec, says, now)

        while True:
            try:
                await self._db.write(work)
                break
            except Fault as fault:
                # A full disk must not lose a state: it is recorded when there is room again.
                _log.warning("the state of %s waits to be recorded: %s", self.spec.name, fault)
                await self._clock.sleep(RECORD_RETRY_S)
        self.life = life
        if changed:
            self.since = now
            self._changed(self)

    async def _carry_out(self, order: Order) -> None:
        instance = self.spec.instance
        if isinstance(order, machine.Launch):
            await self._launch()
        elif isinstance(order, machine.Terminate):
            await self._be_left()
            self._later(EXIT_TIMEOUT_S, machine.ExitTimedOut(EXIT_TIMEOUT_S))
            await self._launcher.terminate(instance)
        elif isinstance(order, machine.Kill):
            await self._launcher.kill(instance)

    async def _be_left(self) -> None:
        """Give whoever sends this dyno requests a moment to stop doing so."""
        if self.life.is_web:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await self._before_stop(self.spec.app_id)

    async def _launch(self) -> None:
        if self._no_place:
            self.tell(machine.NotLaunched(self._no_place))
            return
        try:
            await self._launcher.start(self.spec, self.at)
        except Fault as fault:
            self.tell(machine.NotLaunched(fault.message))
            return
        self._wait_ready()

    def _wait_ready(self) -> None:
        if not self.life.is_web or self.at.port is None:
            self._later(ALIVE_S, machine.Ready())
            return
        self._later(self._boot_timeout_s, machine.BootTimedOut(self._boot_timeout_s))
        self._spawn(self._probe(self.at.host, self.at.port))

    async def _probe(self, host: str, port: int) -> None:
        """Try the port until it accepts. The kernel tells nobody when one begins to listen."""
        pause_s = PROBE_FIRST_S
        while self.life.state == "starting":
            if await accepts(host, port):
                self.tell(machine.Ready())
                return
            await self._clock.sleep(pause_s)
            pause_s = min(PROBE_MAX_S, pause_s * PROBE_GROWTH)

    def _later(self, after_s: float, event: Event) -> None:
        async def wait() -> None:
            await self._clock.sleep(after_s)
            self.tell(event)

        self._spawn(wait())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._timers.add(task)
        task.add_done_callback(self._timers.discard)


async def accepts(host: str, port: int) -> bool:
    """Whether something accepts a connection there, now."""
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
