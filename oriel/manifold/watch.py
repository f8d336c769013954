"""Owns who waits for an app's dynos to change: woken, not polling, and only so many at once.

Must not know what changed, nor what is shown of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from oriel import faults

WATCHERS_MAX = 200
"""Of all apps together: each holds a connection of the API's open."""


class Watch:
    """One who waits. What happens between two waits is not missed."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._told = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._told.set()

    async def changed(self, timeout_s: float) -> bool:
        """Whether something changed since the last time; waits for it so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._told.wait()
        was_told = self._told.is_set()
        self._told.clear()
        return was_told


class Watchers:
    """Everybody who waits, by app."""

    def __init__(self, most: int = WATCHERS_MAX) -> None:
        """Nobody yet; never more than `most`."""
        self._most = most
        self._watches: dict[str, set[Watch]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._watches.values()))

    def tell(self, app_id: str) -> None:
        """An app's dynos, or what should run of it, may not be what they were."""
        for watch in self._watches.get(app_id, ()):
            watch.tell()

    @contextmanager
    def watching(self, app_id: str) -> Iterator[Watch]:
        """Watch an app from here on; Unavailable where too many do."""
        if len(self) >= self._most:
            raise faults.Unavailable(
                f"{self._most} watch already.", hint="End another oriel ps --watch, or try later."
            )
        watch = Watch()
        mine = self._watches.setdefault(app_id, set())
        mine.add(watch)
        try:
            yield watch
        finally:
            mine.discard(watch)
            if not mine:
                self._watches.pop(app_id, None)
