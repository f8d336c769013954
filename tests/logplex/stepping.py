"""A logplex whose clock is stepped backwards, again and again: what `test_kills` starts."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from pathlib import Path

from oriel.clock import SystemClock
from oriel.logplex.process import serve


class Stepping(SystemClock):
    """Runs like the machine's, and jumps back by up to an hour, or forth, every few readings."""

    def __init__(self) -> None:
        self._chance = random.Random(time.time_ns())
        self._off_ns = 0

    def wall_ns(self) -> int:
        if self._chance.random() < 0.05:
            self._off_ns = self._chance.randrange(-3_600_000_000_000, 1_000_000_000)
        return time.time_ns() + self._off_ns


async def main() -> None:
    task = asyncio.create_task(serve(Path(sys.argv[1]), None, clock=Stepping()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
