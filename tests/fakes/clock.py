"""A clock that stands still until a test moves it; who sleeps wakes when its time has come."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

SEED = datetime(2011, 6, 19, 8, 35, tzinfo=UTC)


class SteppedClock:
    """Time as a test tells it. Passes for `oriel.clock.Clock`."""

    def __init__(self, at: datetime = SEED) -> None:
        """It is `at`, and stays so."""
        self._at = at
        self._passed = timedelta()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def wall(self) -> datetime:
        return self._at + self._passed

    def wall_ns(self) -> int:
        return int(self.wall().timestamp() * 1e9)

    def monotonic_s(self) -> float:
        return self._passed.total_seconds()

    async def sleep(self, duration_s: float) -> None:
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.monotonic_s() + duration_s, next(self._order), woken))
        await woken

    @property
    def next_s(self) -> float | None:
        """How long until the next sleeper wakes; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self.monotonic_s() if self._sleepers else None

    async def advance(
        self, by_s: float, settle: Callable[[], Awaitable[None]], grain_s: float = 0.0
    ) -> None:
        """Let time pass, from sleeper to sleeper; `settle` waits for what each one causes. Those
        within `grain_s` of each other wake together, which is quicker.
        """
        end = self._passed + timedelta(seconds=by_s)
        await settle()
        while (wait_s := self.next_s) is not None:
            due = self._passed + timedelta(seconds=wait_s + grain_s)
            if self._passed + timedelta(seconds=wait_s) > end:
                break
            self._passed = max(self._passed, min(due, end))
            heapq.heappop(self._sleepers)[2].set_result(None)
            while self._sleepers and self._sleepers[0][0] <= self.monotonic_s() and grain_s:
                woken = heapq.heappop(self._sleepers)[2]
                if not woken.done():
                    woken.set_result(None)
            await settle()
        self._passed = end
