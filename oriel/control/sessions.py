"""Owns the clients that are attached, as tasks: how many, and that each hears of the end when the
platform is stopped. Must not know what is attached to what.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger("oriel.control.sessions")


class Sessions:
    """All that are under way, those that wait for their client too."""

    def __init__(self) -> None:
        """Nobody is attached."""
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._tasks)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Let one run by itself."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    async def close(self) -> None:
        """End all; each client is told."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            _log.error("a session ended in a mistake of Oriel's own", exc_info=problem)
