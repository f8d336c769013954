"""Owns one instance that runs once: its time to live, and the client that it may be attached to.

An attached one is up, and nothing of it runs, until its client has come; its streams are then the
client's. Must not know what a client speaks, or who wanted it.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from typing import Any

from oriel.manifold import machine
from oriel.manifold.cause import Cause
from oriel.manifold.dyno import Dyno
from oriel.manifold.launcher import Terminal, Window
from oriel.manifold.life import Instance
from oriel.manifold.machine import Order

HANG_UPS = 3
HANG_UP_PAUSE_S = 5.0
"""How often, and how far apart, SIGHUP is sent when a client has gone (heroku-facts C, R16)."""


class OneOff(Instance):
    """One that is never started again."""

    def __init__(self, *given: Any, **more: Any) -> None:
        """As every instance."""
        super().__init__(*given, **more)
        self.terminal: Terminal | None = None
        """An attached one's streams, once it runs."""
        self._window: Window | None = None
        self._settled = asyncio.Event()
        """Its start has come to something: it runs, or has ended."""

    def begin(self, cause: Cause, gate: asyncio.Event | None = None) -> None:
        """Start it, or let it wait for its client."""
        super().begin(cause, gate)
        self._limit_life()

    def resume(self) -> None:
        """Go on with one that was adopted, running."""
        super().resume()
        self._limit_life()

    async def attach(self, window: Window | None) -> Terminal | None:
        """Its client has come, with a window of that size or (None) none: run it. Its streams, or
        None when it has ended instead.
        """
        self._window = window
        self.tell(machine.Attached(self._shown()))
        await self._settled.wait()
        return self.terminal

    def give_up_waiting(self, after_s: float) -> None:
        """Its client did not come."""
        self.tell(machine.AttachTimedOut(after_s))

    async def hang_up(self, why: str) -> None:
        """Its client has gone: tell it, and comes back when it has ended of that, or was killed."""
        for _ in range(HANG_UPS):
            self.tell(machine.HungUp(why))
            if await self.ends_within(HANG_UP_PAUSE_S):
                return
        self.tell(machine.NotDetached())
        await self.ended.wait()

    async def ends_within(self, duration_s: float) -> bool:
        """Whether it ends in that time."""
        ended = asyncio.ensure_future(self.ended.wait())
        alarm = asyncio.ensure_future(self._clock.sleep(duration_s))
        try:
            await asyncio.wait({ended, alarm}, return_when=asyncio.FIRST_COMPLETED)
            return ended.done()
        finally:
            ended.cancel()
            alarm.cancel()

    async def send(self, what: signal.Signals) -> None:
        """A signal to all of its processes."""
        await self._launcher.send(self.spec.instance, what)

    def dyno(self) -> Dyno:
        """What a user sees of it; whatever its type, it takes no requests."""
        return replace(super().dyno(), serving=False)

    def _limit_life(self) -> None:
        if self.spec.until_s is not None:
            left_s = self.spec.until_s - self._clock.wall().timestamp()
            self._later(left_s, machine.StopAsked("down", Cause("expired")))

    async def _live(self) -> None:
        await super()._live()
        self._settled.set()

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, machine.Await):
            self.tell(machine.Ready())
        elif isinstance(order, machine.HangUp):
            self._spawn(self._hang_up())
        else:
            super()._carry_out(order)

    async def _hang_up(self) -> None:
        await self._has_launched()
        await self._launcher.send(self.spec.instance, signal.SIGHUP)

    async def _start(self) -> None:
        if self.spec.attached:
            self.terminal = await self._launcher.attach(self.spec, self.at, self._window)
        else:
            await super()._start()

    def _after_launch(self) -> None:
        self._settled.set()
        if not self.spec.attached:
            super()._after_launch()

    async def _ask_to_end(self) -> None:
        await super()._ask_to_end()
        if self.spec.attached:
            # A shell at a prompt ignores SIGTERM.
            await self._launcher.send(self.spec.instance, signal.SIGHUP)
