"""Owns one instance from its beginning to its end: events in, machine, record, orders out.

A thin shell around `machine`: one task an instance takes its events in turn, so that its states
are recorded in the order in which they came to be. A state is recorded before its orders are
carried out, so what a kill interrupts is known. Must not know what follows an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from oriel.clock import Clock
from oriel.faults import Fault
from oriel.manifold import command, events, machine
from oriel.manifold.dyno import EXIT_TIMEOUT_S, Dyno
from oriel.manifold.launcher import Launched, Launcher, LaunchSpec, Terminal, Window
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

LAUNCH_GRACE_S = 5.0
"""How long a launch under way is waited for when control stops."""

HANG_UPS = 3
HANG_UP_PAUSE_S = 5.0
"""How often, and how far apart, SIGHUP is sent when a client has gone (heroku-facts C, R16)."""

Reaches = Callable[[str, int], Awaitable[bool]]

_log = logging.getLogger("oriel.manifold.life")


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
        reaches: Reaches = accepts,
    ) -> None:
        """`changed` is told each new state, `finished` the end, once, when it is recorded.

        `before_stop` is awaited, with the app's id, before SIGTERM, but not for long. `since` and
        `at` are given for one that an earlier process began.
        """
        self.spec = spec
        self.life = life or Life(is_web=spec.type == "web", once=spec.once)
        self.since = since or clock.wall()
        self.at = at or Launched("", None)
        self.exit: Exit | None = None
        self.ended = asyncio.Event()
        self.terminal: Terminal | None = None
        """An attached one's streams, once it runs."""
        self.launched = asyncio.Event()
        """Whether its start has come to something: it runs, or has ended."""
        self._window: Window | None = None
        self._launcher = launcher
        self._db = db
        self._clock = clock
        self._boot_timeout_s = boot_timeout_s
        self._changed = changed
        self._finished = finished
        self._before_stop = before_stop
        self._reaches = reaches
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._timers: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._aftermath: asyncio.Task[None] | None = None
        self._launching: asyncio.Future[Terminal | None] | None = None
        self._over = self.has_ended
        self._no_place = ""
        self._began_s = clock.monotonic_s() - self._elapsed_s()

    @property
    def has_ended(self) -> bool:
        """Whether no process of it is left."""
        return self.life.state in ENDED

    @property
    def is_leaving(self) -> bool:
        """Whether it is stopping, or has stopped, to be gone."""
        return self.life.state in ("stopping", "down")

    @property
    def is_busy(self) -> bool:
        """Whether something about it is still to be recorded."""
        return any(task and not task.done() for task in (self._task, self._aftermath))

    @property
    def has_taken_stop(self) -> bool:
        """Whether a stop that was asked is on record, or came too late."""
        return self.life.fate is not None or (self.has_ended and not self.is_busy)

    @property
    def was_stopped_by_hand(self) -> bool:
        """Whether a user asked for its end."""
        return self.is_leaving and self.life.reason.startswith(events.STOPPED)

    @property
    def lived_s(self) -> float:
        """How long ago it was begun."""
        return self._clock.monotonic_s() - self._began_s

    def begin(self) -> None:
        """Start it."""
        self._run()
        try:
            self.at = self._launcher.place(self.spec)
        except Fault as fault:
            self._no_place = fault.message
        self.tell(machine.Begun(self._shown()))
        self._limit_life()

    def resume(self) -> None:
        """Go on with one that was adopted, running: what was ordered may not have been done."""
        self._run()
        if self.life.doomed:
            self._spawn(self._launcher.kill(self.spec.instance))
        elif self.life.state == "starting":
            self._wait_ready(self._elapsed_s())
        elif self.life.state == "stopping":
            self._later(EXIT_TIMEOUT_S - self._elapsed_s(), machine.ExitTimedOut(EXIT_TIMEOUT_S))
            self._spawn(self._launcher.terminate(self.spec.instance))
        self._limit_life()

    async def attach(self, window: Window | None) -> Terminal | None:
        """Its client has come, with a window of that size or (None) none: run it. Its streams, or
        None when it has ended instead.
        """
        self._window = window
        self.tell(machine.Attached(self._shown()))
        await self.launched.wait()
        return self.terminal

    async def hang_up(self, why: str) -> None:
        """Its client has gone: tell it, and comes back when it has ended of that, or was killed."""
        for _ in range(HANG_UPS):
            self.tell(machine.HungUp(why))
            if await self._ends_within(HANG_UP_PAUSE_S):
                return
        self.tell(machine.NotDetached())
        await self.ended.wait()

    def give_up_waiting(self, after_s: float) -> None:
        """Its client did not come."""
        self.tell(machine.AttachTimedOut(after_s))

    async def send(self, what: signal.Signals) -> None:
        """A signal to all of its processes."""
        await self._launcher.send(self.spec.instance, what)

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
        """It should end; one that has crashed already is laid down where nothing shall follow."""
        self.tell(machine.StopAsked(fate, reason))
        if self._over and (self._aftermath is None or self._aftermath.done()):
            self._aftermath = asyncio.create_task(self._take_rest())
            self._aftermath.add_done_callback(lambda _: self._changed(self))

    async def leave(self) -> None:
        """Leave it alone: control stops, and the dyno goes on. A launch under way is finished."""
        tasks = [task for task in (self._task, self._aftermath, *self._timers) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._launching and not self._launching.done():
            await asyncio.wait({self._launching}, timeout=LAUNCH_GRACE_S)
            self._launching.add_done_callback(lambda each: each.cancelled() or each.exception())

    def dyno(self) -> Dyno:
        """What a user sees of it."""
        return Dyno(
            instance=self.spec.instance,
            name=self.spec.name,
            app_id=self.spec.app_id,
            command=command.plain(self.spec.command),
            size=self.spec.size,
            state="starting" if self.life.state == "new" else self.life.state,
            since=self.since,
            release=self.spec.release,
            host=self.at.host,
            port=self.at.port,
            reason=self.life.reason,
        )

    def _limit_life(self) -> None:
        """A one-off has a time to live."""
        if self.spec.until_s is not None:
            left_s = self.spec.until_s - self._clock.wall().timestamp()
            self._later(left_s, machine.StopAsked("down", "its time to live was over"))

    async def _ends_within(self, duration_s: float) -> bool:
        ended = asyncio.ensure_future(self.ended.wait())
        alarm = asyncio.ensure_future(self._clock.sleep(duration_s))
        try:
            await asyncio.wait({ended, alarm}, return_when=asyncio.FIRST_COMPLETED)
            return ended.done()
        finally:
            ended.cancel()
            alarm.cancel()

    def _run(self) -> None:
        self._task = asyncio.create_task(self._live())

    def _shown(self) -> str:
        port = {} if self.at.port is None else {"PORT": str(self.at.port)}
        return command.shown(self.spec.command, {**self.spec.env, **port})

    def _elapsed_s(self) -> float:
        """How long it is in its state, by the wall clock, which may have been set meanwhile."""
        return max(0.0, (self._clock.wall() - self.since).total_seconds())

    async def _live(self) -> None:
        while not self.has_ended:
            await self._take(await self._events.get())
        for timer in self._timers:
            timer.cancel()
        await self._take_rest()
        self._over = True
        self.ended.set()
        self.launched.set()
        self._finished(self)

    async def _take_rest(self) -> None:
        """What was asked before its end was known: one that was to go for good is laid down."""
        while not self._events.empty():
            await self._take(self._events.get_nowait())

    async def _take(self, event: Event) -> None:
        life, orders = machine.step(self.life, event)
        await self._record(life, orders)
        for order in orders:
            try:
                await self._carry_out(order)
            except Exception:
                # It is not left alone for that: a time-out or the next order will do.
                _log.exception("%s of %s went wrong", type(order).__name__, self.spec.instance)

    async def _record(self, life: Life, orders: tuple[Order, ...]) -> None:
        says = [order for order in orders if isinstance(order, machine.Say)]
        # A new reason is an entry too: a dyno that is stopping anyway, and now by hand.
        changed = (life.state, life.reason) != (self.life.state, self.life.reason)
        now = self._clock.wall()
        tries = 0

        def work(conn: Connection) -> None:
            if not changed:
                events.say(conn, self.spec, says, now)
            elif tries == 0 or not events.has(conn, self.spec, life, now):
                events.record(conn, self.spec, life, says, now)

        while changed or says:
            try:
                await self._db.write(work)
                break
            except Fault as fault:
                # A full disk must not lose a state: it is recorded when there is room again.
                _log.warning("the state of %s waits to be recorded: %s", self.spec.name, fault)
                tries += 1
                await self._clock.sleep(RECORD_RETRY_S)
            except Exception:
                # A mistake of our own: the dyno is still looked after, without its record.
                _log.exception("%s of %s cannot be recorded", life.state, self.spec.instance)
                break
        if life.state != self.life.state:
            self.since = now
        self.life = life
        if changed:
            self._changed(self)

    async def _carry_out(self, order: Order) -> None:
        instance = self.spec.instance
        if isinstance(order, machine.Launch):
            await self._launch()
        elif isinstance(order, machine.Terminate):
            await self._be_left()
            self._later(EXIT_TIMEOUT_S, machine.ExitTimedOut(EXIT_TIMEOUT_S))
            await self._launcher.terminate(instance)
            if self.spec.attached:
                # A shell at a prompt ignores SIGTERM.
                await self._launcher.send(instance, signal.SIGHUP)
        elif isinstance(order, machine.Await):
            self.tell(machine.Ready())
        elif isinstance(order, machine.HangUp):
            await self._launcher.send(instance, signal.SIGHUP)
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
        self._launching = asyncio.ensure_future(self._start())
        try:
            # Not cancelled with us: a dyno that was begun would be killed half-way.
            self.terminal = await asyncio.shield(self._launching)
        except Fault as fault:
            self.tell(machine.NotLaunched(fault.message))
        except Exception:
            self.tell(machine.NotLaunched("a mistake of Oriel's own; its log says which"))
            raise
        else:
            self.launched.set()
            if not self.spec.attached:
                self._wait_ready(0.0)

    async def _start(self) -> Terminal | None:
        if self.spec.attached:
            return await self._launcher.attach(self.spec, self.at, self._window)
        await self._launcher.start(self.spec, self.at)
        return None

    def _wait_ready(self, elapsed_s: float) -> None:
        if not self.life.is_web or self.at.port is None:
            # A one-off is up as soon as it runs: it may be over in less than a moment.
            self._later(0.0 if self.life.once else ALIVE_S - elapsed_s, machine.Ready())
            return
        # At least a moment: it may have become ready while nobody looked.
        left_s = max(1.0, self._boot_timeout_s - elapsed_s)
        self._later(left_s, machine.BootTimedOut(self._boot_timeout_s))
        self._spawn(self._probe(self.at.host, self.at.port))

    async def _probe(self, host: str, port: int) -> None:
        """Try the port until it accepts. The kernel tells nobody when one begins to listen."""
        pause_s = PROBE_FIRST_S
        while self.life.state == "starting":
            if await self._reaches(host, port):
                self.tell(machine.Ready())
                return
            await self._clock.sleep(pause_s)
            pause_s = min(PROBE_MAX_S, pause_s * PROBE_GROWTH)

    def _later(self, after_s: float, event: Event) -> None:
        async def wait() -> None:
            await self._clock.sleep(max(0.0, after_s))
            self.tell(event)

        self._spawn(wait())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._timers.add(task)
        task.add_done_callback(self._timers.discard)
