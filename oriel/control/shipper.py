"""Owns the way from the outbox to logplex: each line once, in order, whoever is killed when.

A line is taken from the outbox only after logplex has kept it; logplex skips ids that it has. A
line that must follow a dyno's last words waits until logplex has drained the dyno. Must not know
what the lines say.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from oriel import faults
from oriel.clock import Clock
from oriel.logplex.client import Logplex
from oriel.store import outbox
from oriel.store.database import Database

BATCH_LINES = 500
RETRY_FIRST_S = 0.05
RETRY_MAX_S = 1.0

_log = logging.getLogger("oriel.control.shipper")


class Shipper:
    """One task that carries the outbox to logplex whenever there is something in it."""

    def __init__(
        self,
        db: Database,
        logplex: Logplex,
        clock: Clock,
        drained: Callable[[str], Awaitable[None]],
    ) -> None:
        """`drained` is told each instance whose FIFO logplex has emptied for good."""
        self._db = db
        self._logplex = logplex
        self._clock = clock
        self._drained = drained
        self._filled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._agreed = False
        self._began = clock.wall()

    def start(self) -> None:
        """Begin with what a kill may have left over, and go on."""
        loop = asyncio.get_running_loop()
        # A commit tells of new lines from the writer's thread.
        self._db.on_outbox = lambda: loop.call_soon_threadsafe(self._filled.set)
        self._filled.set()
        self._task = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Stop; what is left is shipped after the next start."""
        self._db.on_outbox = None
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        wait_s = RETRY_FIRST_S
        while True:
            await self._filled.wait()
            self._filled.clear()
            try:
                if not self._agreed:
                    await self._agree()
                while await self._ship_some():
                    pass
                wait_s = RETRY_FIRST_S
            except (faults.Fault, OSError) as fault:
                _log.warning("lines wait in the outbox: %s", fault)
                await self._clock.sleep(wait_s)
                wait_s = min(RETRY_MAX_S, wait_s * 2)
                self._filled.set()

    async def _agree(self) -> None:
        """Once: ids that logplex has kept are never given to another line.

        They would be where the database was restored from an older backup (decision 18).
        """
        kept = int((await self._logplex.status()).get("last_id", 0))
        if await self._db.read(outbox.last_id) < kept:
            again = await self._db.write(lambda conn: outbox.raise_above(conn, kept, self._began))
            _log.warning(
                "the database is older than the logs: ids of lines go on above %d; %d lines that "
                "waited got new ones",
                kept,
                again,
            )
        self._agreed = True

    async def _ship_some(self) -> bool:
        posted = await self._db.read(lambda conn: outbox.waiting(conn, BATCH_LINES))
        for _, group in itertools.groupby(posted, key=_together):
            await self._ship(list(group))
        return bool(posted)

    async def _ship(self, lines: Sequence[outbox.Posted]) -> None:
        first, last = lines[0], lines[-1]
        if first.line.drain:
            await self._drain(first.line.drain)
        await self._logplex.append(first.line.channel, [_frame(each) for each in lines])
        await self._db.write(lambda conn: outbox.delivered(conn, last.id))
        if first.line.drain:
            await self._drained(first.line.drain)

    async def _drain(self, instance: str) -> None:
        """Have logplex read what an ended dyno still said."""
        try:
            await self._logplex.drain(instance)
        except faults.Unavailable:
            raise
        except faults.Fault as fault:
            # Nothing of it can be read any more; what comes behind it must not wait for ever.
            _log.error("the last words of %s cannot be read: %s", instance, fault)


def _together(posted: outbox.Posted) -> tuple[str, str]:
    return posted.line.channel, posted.line.drain


def _frame(posted: outbox.Posted) -> dict[str, Any]:
    line = posted.line
    return {
        "id": posted.id,
        "source": line.source,
        "ps": line.ps,
        "text": line.text,
        "severity": line.severity,
        "release": line.release,
        "data": dict(line.data),
    }
