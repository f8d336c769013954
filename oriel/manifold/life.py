"""Owns one instance from its beginning to its end: events in, machine, record, orders out.

A thin shell around `machine`: one task an instance takes its events in turn, so that its states
are recorded in the order in which they came to be. A state is recorded before its orders are
carried out, so what a kill interrupts is known; of one that was ready (`spares`) its directory says
that it was begun. What takes its time (a launch, the router) is waited for beside it, so that a
stop is on record at once. Must not know what follows an end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime

from oriel.faults import Fault
from oriel.manifold import backoff, command, loops, machine, sizes
from oriel.manifold.around import Around
from oriel.manifold.boot import Boot
from oriel.manifold.cause import Cause
from oriel.manifold.dyno import EXIT_TIMEOUT_S, Dyno
from oriel.manifold.events import Notes
from oriel.manifold.launcher import Launched, LaunchSpec, Usage
from oriel.manifold.machine import BEGUN, ENDED, LEAVING, Event, Life, Order
from oriel.manifold.parting import Parting
from oriel.manifold.recorder import Recorder, Steady
from oriel.sandbox.confinement import LOST, Exit

ALIVE_S = 0.5
"""How long a dyno that is no web must live to be up."""

LAUNCH_GRACE_S = 5.0
"""How long a launch under way is waited for when control stops."""

_log = logging.getLogger("oriel.manifold.life")


class Instance:
    """One instance and its task."""

    def __init__(
        self,
        spec: LaunchSpec,
        around: Around,
        life: Life,
        notes: Notes,
        *,
        since: datetime | None = None,
        at: Launched | None = None,
        quiet: bool | None = None,
        began: tuple[datetime, Cause] | None = None,
        is_begun: bool = False,
        follows: Instance | None = None,
    ) -> None:
        """`since`, `at` and `began` are given for one that an earlier process began. One that
        `is_begun` was ready and runs already; it goes on record behind the one that it `follows`.
        """
        self.spec = spec
        self.life = life
        self.since = since or around.clock.wall()
        self.at = at or Launched("", None)
        self.exit: Exit | None = None
        self.ended = asyncio.Event()
        self.launched_s: float | None = None
        """When its program was started, by the monotonic clock; None before."""
        self.follows = follows
        self._is_begun = is_begun
        self._around = around
        self._launcher = around.launcher
        self._clock = around.clock
        if began is None and life.state == "starting":
            began = (self.since, life.cause)
        is_quiet = loops.is_quiet(notes.crashes) and not spec.once if quiet is None else quiet
        self._recorder = Recorder(spec, around.db, around.clock, notes, quiet=is_quiet, began=began)
        self._events: asyncio.Queue[Event | Steady] = asyncio.Queue()
        self._timers: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._aftermath: asyncio.Task[None] | None = None
        self._launching: asyncio.Future[None] | None = None
        self._gate: asyncio.Event | None = None
        self._over, self._no_place = self.has_ended, ""
        self._stops = self._stops_taken = 0
        self._parting = Parting()
        self._began_s = around.clock.monotonic_s() - self._elapsed_s()

    @property
    def notes(self) -> Notes:
        """What is kept of it for the next start of control."""
        return self._recorder.notes

    @property
    def has_ended(self) -> bool:
        """Whether no process of it is left."""
        return self.life.state in ENDED

    @property
    def is_leaving(self) -> bool:
        """Whether it is ending, or has ended, to be gone."""
        return self.life.state in LEAVING or self.life.state == "down"

    @property
    def is_busy(self) -> bool:
        """Whether something about it is still to be recorded."""
        return any(task and not task.done() for task in (self._task, self._aftermath))

    @property
    def has_taken_stop(self) -> bool:
        """Whether each stop that was asked is on record, or came too late."""
        return self._stops_taken == self._stops or (self.has_ended and not self.is_busy)

    @property
    def was_stopped_by_hand(self) -> bool:
        """Whether a user asked for its end."""
        return self.is_leaving and self.life.cause.root.kind == "stopped"

    @property
    def lived_s(self) -> float:
        """How long ago it was begun."""
        return self._clock.monotonic_s() - self._began_s

    def wait(self) -> None:
        """It is to be begun when it is its turn. It can be stopped until then."""
        self._run()

    def begin(self, cause: Cause, gate: asyncio.Event | None = None) -> None:
        """Start it; its launch waits for `gate`."""
        self._gate = gate
        if self._task is None:
            self._run()
        elif self.has_ended or not self._events.empty():
            return  # It was stopped while it waited.
        self._began_s = self._clock.monotonic_s()  # Not since it waits.
        if not self._is_begun:
            try:
                self.at = self._launcher.place(self.spec)
            except Fault as fault:
                self._no_place = fault.message
        self.tell(machine.Begun(self._shown(), cause))

    def resume(self) -> None:
        """Go on with one that was adopted, running: what was ordered may not have been done."""
        self._run()
        self.launched_s = self._began_s
        if self.life.state in LEAVING:
            self._spawn(self._terminate(EXIT_TIMEOUT_S - self._elapsed_s()))
        elif self.life.doomed:
            self._spawn(self._launcher.kill(self.spec.instance))
        elif self.life.state == "starting":
            self._wait_ready(self._elapsed_s())
        elif self._recorder.is_quiet:
            self._later(loops.STEADY_S - self._elapsed_s(), Steady())

    def settle(self, exit_: Exit) -> None:
        """Record the end of one that was adopted, ended."""
        self._run()
        self.on_exit(exit_)

    def tell(self, event: Event | Steady) -> None:
        """Something happened to it."""
        self._events.put_nowait(event)

    def on_exit(self, exit_: Exit) -> None:
        """Its launcher says that it has ended."""
        self.exit = exit_
        self.tell(machine.Ended(exit_))

    def on_memory(self, usage: Usage) -> None:
        """Its launcher says that it is over its quota."""
        quota = sizes.of(self.spec.size).quota_bytes
        vastly = usage.memory_bytes >= sizes.of(self.spec.size).hard_bytes
        self.tell(machine.OverQuota(usage.memory_bytes, quota, vastly))

    def stop(self, fate: machine.Fate, cause: Cause, *, patiently: bool = False) -> None:
        """It should end; one that has crashed already is laid down where nothing shall follow.

        `patiently`: others serve in its place, and it waits until the router knows them.
        """
        self._parting.patiently = patiently
        self._stops += 1
        self.tell(machine.StopAsked(fate, cause))
        if self._over and (self._aftermath is None or self._aftermath.done()):
            self._aftermath = asyncio.create_task(self._take_rest())
            self._aftermath.add_done_callback(lambda _: self._around.changed(self))

    def hurry(self) -> None:
        """Another waits for its name: it gets SIGTERM though requests may be under way."""
        self._parting.hurried.set()

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
            cause=self.life.cause,
        )

    def _run(self) -> None:
        self._task = asyncio.create_task(self._live())

    def _shown(self) -> str:
        port = {} if self.at.port is None else {"PORT": str(self.at.port)}
        return command.shown(self.spec.command, {**self.spec.env, **port})

    def _elapsed_s(self) -> float:
        """How long it is in its state, by the wall clock, which may have been set meanwhile."""
        return max(0.0, (self._clock.wall() - self.since).total_seconds())

    async def _live(self) -> None:
        if self.follows and not self.follows.has_ended:
            await self.follows.ended.wait()
        while not self.has_ended:
            await self._take(await self._events.get())
        for timer in self._timers:
            timer.cancel()
        await self._take_rest()
        self._over, self.follows = True, None
        self.ended.set()
        self._around.finished(self)

    async def _take_rest(self) -> None:
        """What was asked before its end was known: one that was to go for good is laid down."""
        while not self._events.empty():
            await self._take(self._events.get_nowait())

    async def _take(self, event: Event | Steady) -> None:
        if isinstance(event, Steady):
            if not await self._recorder.tell(self.life, self.since):
                self._later(loops.STEADY_S, event)
            return
        life, orders = machine.step(self.life, event)
        await self._record(life, orders)
        self._stops_taken += isinstance(event, machine.StopAsked)
        for order in orders:
            try:
                self._carry_out(order)
            except Exception:
                # It is not left alone for that: a time-out or the next order will do.
                _log.exception("%s of %s went wrong", type(order).__name__, self.spec.instance)

    async def _record(self, life: Life, orders: tuple[Order, ...]) -> None:
        changed = (life.state, life.cause) != (self.life.state, self.life.cause)
        if life.state == "crashed" != self.life.state:
            crashes = backoff.crashes_after(self.notes.crashes, self.lived_s)
            self._recorder.notes = replace(self.notes, crashes=crashes)
        says = [order for order in orders if isinstance(order, machine.Say)]
        now = self.since
        # What was never begun leaves no trace, but for a stop that is to outlast us.
        if life.stopped_in != "new" or life.cause.kind == "stopped":
            now = await self._recorder.record(self.life, life, says)
        if life.state != self.life.state:
            self.since = now
            if life.state == "up" and self._recorder.is_quiet:
                self._later(loops.STEADY_S, Steady())
        self.life = life
        if changed:
            self._around.changed(self)

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, machine.Launch):
            self._spawn(self._launch())
        elif isinstance(order, machine.Terminate):
            self._spawn(self._terminate(EXIT_TIMEOUT_S))
        elif isinstance(order, machine.Kill):
            self._spawn(self._kill())

    async def _kill(self) -> None:
        await self._has_launched()
        await self._launcher.kill(self.spec.instance)

    async def _terminate(self, exit_timeout_s: float) -> None:
        """SIGTERM, once it runs and nobody sends it requests any more."""
        await self._has_launched()
        await self._parting.leave(self._around, self.spec, self.life)
        if self.life.state in LEAVING:
            self._later(exit_timeout_s, machine.ExitTimedOut(EXIT_TIMEOUT_S))
            await self._ask_to_end()

    async def _ask_to_end(self) -> None:
        await self._launcher.terminate(self.spec.instance)

    async def _has_launched(self) -> None:
        if self._launching:
            await asyncio.wait({self._launching})

    async def _launch(self) -> None:
        if self._is_begun:
            self._after_launch()
            return
        if self._gate:
            await self._gate.wait()
        if self.life.state in LEAVING:
            self.tell(machine.Ended(LOST))  # It was stopped while it waited.
            return
        if self._no_place:
            self.tell(machine.NotLaunched(self._no_place))
            return
        self._launching = asyncio.ensure_future(self._start())
        try:
            # Not cancelled with us: a dyno that was begun would be killed half-way.
            await asyncio.shield(self._launching)
        except Fault as fault:
            self.tell(machine.NotLaunched(fault.message))
        except Exception:
            _log.exception("the launch of %s went wrong", self.spec.instance)
            self.tell(machine.NotLaunched("a mistake of Oriel's own; its log says which"))
        else:
            self._after_launch()

    async def _start(self) -> None:
        await self._launcher.start(self.spec, self.at)

    def _after_launch(self) -> None:
        self.launched_s = self._clock.monotonic_s()
        if self.life.state in BEGUN:
            self._wait_ready(0.0)

    def _wait_ready(self, elapsed_s: float) -> None:
        check = self.notes.check
        if not self.life.is_web or self.at.port is None:
            # A one-off is up as soon as it runs: it may be over in less than a moment.
            self._later(0.0 if self.life.once else ALIVE_S - elapsed_s, machine.Ready())
            return
        # At least a moment: it may have become ready while nobody looked.
        left_s = max(1.0, check.boot_timeout_s - elapsed_s)
        self._later(left_s, machine.BootTimedOut(check.boot_timeout_s, check.path))
        boot = Boot(
            *(self.spec.instance, self.at, self.at.port, check),
            goes_on=lambda: self.life.state == "starting",
        )
        self._spawn(boot.hint(self._around.launcher, self._clock, self.tell, elapsed_s))
        self._spawn(boot.probe(self._launcher, self._around.reaches, self._clock, self.tell))

    def _later(self, after_s: float, event: Event | Steady) -> None:
        async def wait() -> None:
            await self._clock.sleep(max(0.0, after_s))
            self.tell(event)

        self._spawn(wait())

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._timers.add(task)
        task.add_done_callback(self._spawned)

    def _spawned(self, task: asyncio.Task[None]) -> None:
        self._timers.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            # It is not left alone for that: a time-out or the next order will do.
            _log.error("something of %s went wrong", self.spec.instance, exc_info=problem)
