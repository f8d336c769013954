"""Owns how long an instance's turn to boot lasts: it is begun when `turns` says so, and boots until
it has come up, ended, fallen quiet, or taken long enough.

"Up" says nothing of a worker: it has only lived for a moment. So while others wait, the launcher is
asked whether those that boot do anything; one that sleeps leaves its turn to the next, and a
program that has next to nothing to do holds nobody up. While nobody waits, nobody is asked. Must
not know why an instance is begun, beyond whether a person waits for it.
"""

from __future__ import annotations

import asyncio
import logging

from oriel.clock import Clock
from oriel.manifold.cause import Cause, Kind
from oriel.manifold.launcher import Launcher
from oriel.manifold.life import Instance
from oriel.manifold.machine import ENDED, LEAVING
from oriel.manifold.turns import ASKED, Ask, Turns

TURN_MAX_S = 10.0
"""How long a turn lasts at most, from its launch: what takes longer goes on beside the next."""

QUIET_AFTER_S = 0.05
"""How old it must be for its sleep to say something."""

LOOK_EVERY_S = 0.05

UNASKED: frozenset[Kind] = frozenset({"recovered", "retried"})
"""Why one is begun that no person waits for."""

_log = logging.getLogger("oriel.manifold.booting")


class Booting:
    """The instances that boot or wait for it."""

    def __init__(self, launcher: Launcher, clock: Clock) -> None:
        """As many at once as the launcher thinks well."""
        self._launcher = launcher
        self._clock = clock
        self._turns = Turns(launcher.boots_max)
        self._known: dict[str, tuple[Instance, Cause]] = {}
        self._gates: dict[str, asyncio.Event] = {}
        """Of those that are begun already, what their launch waits for."""
        self._looks: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether one more that nobody asked for is too many: of those that are up it is not known
        whether they still boot, and so they do not count.
        """
        starting = sum(it.life.state in ("new", "starting") for it, _ in self._known.values())
        return self._turns.is_waited_for or starting >= self._launcher.boots_max

    def begin(self, instance: Instance, cause: Cause) -> None:
        """Start it, now or when it is its turn."""
        ask = Ask(instance.spec.instance, instance.spec.app_id, cause.kind not in UNASKED)
        self._known[ask.who] = (instance, cause)
        if self._turns.ask(ask):
            instance.begin(cause)
            return
        if ask.asked:
            # A person sees it begun at once, and many are one write; it is launched in its turn.
            gate = self._gates[ask.who] = asyncio.Event()
            instance.begin(cause, gate)
        else:
            instance.wait()
        if self._looks is None:
            self._looks = asyncio.create_task(self._look())

    def hold(self, instance: Instance) -> None:
        """One that an earlier process began is still at it."""
        spec = instance.spec
        self._known[spec.instance] = (instance, instance.life.cause)
        self._turns.hold(Ask(spec.instance, spec.app_id, asked=False))

    def queue_s(self, count: int) -> float:
        """How long the last of so many waits at most, where a person asked for them alone."""
        return TURN_MAX_S * (max(0, count - 1) // (ASKED * self._launcher.boots_max))

    def told(self, instance: Instance) -> None:
        """Its state is another."""
        state = instance.life.state
        if state in LEAVING and (gate := self._gates.pop(instance.spec.instance, None)):
            gate.set()  # What is to end waits for nothing.
        if state in ENDED or (state == "up" and instance.life.is_web):
            self._end(instance.spec.instance)

    async def close(self) -> None:
        """Nobody's turn comes any more."""
        self._known.clear()
        if self._looks:
            self._looks.cancel()
            await asyncio.gather(self._looks, return_exceptions=True)

    def _end(self, who: str) -> None:
        self._known.pop(who, None)
        self._gates.pop(who, None)
        for each in self._turns.end(who):
            if gate := self._gates.pop(each, None):
                gate.set()
            elif known := self._known.get(each):
                instance, cause = known
                instance.begin(cause)

    async def _look(self) -> None:
        while self._turns.is_waited_for:
            for who in self._turns.held:
                try:
                    if await self._is_over(who):
                        self._end(who)
                except Exception:
                    _log.exception("whether %s still boots could not be seen", who)
                    self._end(who)
            await self._clock.sleep(LOOK_EVERY_S)
        self._looks = None

    async def _is_over(self, who: str) -> bool:
        known = self._known.get(who)
        if known is None:
            return True
        launched_s = known[0].launched_s
        if launched_s is None:
            return False
        for_s = self._clock.monotonic_s() - launched_s
        if for_s < QUIET_AFTER_S:
            return False
        return for_s >= TURN_MAX_S or not await self._launcher.is_busy(who)
