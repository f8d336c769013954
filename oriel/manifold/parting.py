"""Owns what a web dyno waits for between its stop and SIGTERM: that no new request is sent to it,
and that those under way are answered. Neither for ever. Must not know who sends them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from oriel.lexicon import DynoName
from oriel.manifold.around import Around
from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.machine import Life

LEAVE_TIMEOUT_S = 0.5
"""How long SIGTERM waits until no new request is sent to it."""

SWITCH_TIMEOUT_S = 60.0
"""The same where others serve already, and nobody waits for its end."""

DRAIN_TIMEOUT_S = 10.0
"""How long SIGTERM then waits for the requests under way. An app that ends at once would cut them;
one that does not has its exit time-out besides (decision 47).
"""


class Parting:
    """How one dyno is taken leave of."""

    def __init__(self) -> None:
        """Nobody waits in its place, and nobody hurries it."""
        self.patiently = False
        """Others serve in its place, and it waits until the router knows them."""
        self.hurried = asyncio.Event()
        """Another waits for its name."""

    async def leave(self, around: Around, spec: LaunchSpec, life: Life) -> None:
        """Give whoever sends it requests a moment to stop doing so, and to be answered."""
        if not life.is_web:
            return
        serves = life.stopped_in == "up" and life.cause.kind != "destroyed"
        await self.wait(around.before_stop, spec.app_id)
        if serves:
            await self.drain(around.drained, spec)

    async def wait(self, before_stop: Callable[[str], Awaitable[None]], app_id: str) -> None:
        """Give whoever sends it requests a moment to stop doing so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SWITCH_TIMEOUT_S if self.patiently else LEAVE_TIMEOUT_S):
                await before_stop(app_id)

    async def drain(
        self, drained: Callable[[str, DynoName, str], Awaitable[None]], spec: LaunchSpec
    ) -> None:
        """Give the requests under way a moment to be answered."""
        answered = asyncio.ensure_future(drained(spec.app_id, spec.name, spec.instance))
        hurried = asyncio.ensure_future(self.hurried.wait())
        both = {answered, hurried}
        try:
            await asyncio.wait(both, timeout=DRAIN_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
