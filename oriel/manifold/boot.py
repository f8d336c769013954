"""Owns how a web dyno is found to be up, and how it is told when it listens where nobody looks.

Must not know what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oriel.clock import Clock
from oriel.manifold.dyno import Check
from oriel.manifold.launcher import Launcher
from oriel.manifold.machine import Event, Misbound, Ready
from oriel.manifold.probe import Reaches

PROBE_FIRST_S = 0.01
PROBE_MAX_S = 0.25
PROBE_GROWTH = 1.25

ANY_HOST = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound

Tell = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Boot:
    """One web dyno's way from its launch to its first answer."""

    instance: str
    host: str
    port: int
    check: Check
    goes_on: Callable[[], bool]
    """Whether it is still starting."""

    async def probe(self, reaches: Reaches, clock: Clock, tell: Tell) -> None:
        """Try until it is reached. The kernel tells nobody when a process begins to listen."""
        pause_s = PROBE_FIRST_S
        while self.goes_on():
            if await reaches(self.host, self.port, self.check):
                tell(Ready())
                return
            await clock.sleep(pause_s)
            pause_s = min(PROBE_MAX_S, pause_s * PROBE_GROWTH)

    async def hint(self, launcher: Launcher, clock: Clock, tell: Tell, elapsed_s: float) -> None:
        """Once, when half of its time has passed: does it listen somewhere else?"""
        await clock.sleep(max(0.0, self.check.boot_timeout_s / 2 - elapsed_s))
        if not self.goes_on():
            return
        found = await launcher.listening(self.instance)
        if any(each.port == self.port and each.host in {self.host, *ANY_HOST} for each in found):
            return
        # The right port on the wrong host says more than another port.
        for each in sorted(found, key=lambda each: each.port != self.port)[:1]:
            tell(Misbound(self.port, each.port, each.host))
