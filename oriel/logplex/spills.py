"""Owns the FIFOs that control reads because they could not be read here: leaving them alone, and
telling what was lost when they come back (`overflow`).

Must not know how a FIFO is read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from oriel import faults
from oriel.clock import Clock
from oriel.logplex import frame, overflow
from oriel.logplex.channel import Channel
from oriel.logplex.fifo import Inlet
from oriel.logplex.limits import Limits
from oriel.logplex.lookback import carry_at_end
from oriel.logplex.overflow import Lost, Note

BACK_WAIT_S = 10.0
_PROBE = "probe"
_PROBE_BYTES = 64 * 1024


class Spills:
    """The FIFOs that are away."""

    def __init__(
        self,
        dynos: Path,
        limits: Limits,
        clock: Clock,
        *,
        is_here: Callable[[Inlet], bool],
        go_on: Callable[[Inlet], None],
    ) -> None:
        """`is_here`: whether an inlet is still open; `go_on` is told when it may be read again."""
        self._dynos = dynos
        self._limits = limits
        self._clock = clock
        self._is_here = is_here
        self._go_on = go_on
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Wait for none of them any more."""
        for task in self._tasks:
            task.cancel()

    def has_note(self, inlet: Inlet) -> bool:
        """Whether there is a note beside a FIFO."""
        return not inlet.late and os.path.exists(self._dynos / inlet.instance / overflow.NAME)

    def heed(self, inlet: Inlet) -> bool:
        """Whether a FIFO is to be left alone. `go_on` is told of it when it is not any more."""
        if inlet.away or not self.has_note(inlet):
            return inlet.away
        inlet.away = True
        task = asyncio.get_running_loop().create_task(self._take_over(inlet))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def back(self, inlet: Inlet) -> None:
        """Wait, for a bounded time, until control has let go of a FIFO."""
        self.heed(inlet)
        until_s = self._clock.monotonic_s() + BACK_WAIT_S
        while inlet.away and self._is_here(inlet):
            if self._clock.monotonic_s() > until_s:
                raise faults.Unavailable("The dyno's output is being thrown away by control.")
            await self._clock.sleep(self._limits.overflow_look_s / 4)

    async def _take_over(self, inlet: Inlet) -> None:
        """Wait until control has let go of a FIFO, tell what it threw away, and read on."""
        path = self._dynos / inlet.instance / overflow.NAME
        while self._is_here(inlet):
            note = Note.lock(path, make=False)
            if note is None and path.exists():
                await self._clock.sleep(self._limits.overflow_look_s)
                continue
            try:
                lost = note.read() if note else None
                if lost and lost.bytes:
                    await self._tell_lost(inlet, lost)
                path.unlink(missing_ok=True)
            except OSError:
                # The disk is full again. Control sees that too, and may go on where it was.
                await self._clock.sleep(self._limits.retry_first_s)
                continue
            finally:
                if note:
                    note.let_go()
            break
        inlet.away = False
        self._go_on(inlet)

    async def _tell_lost(self, inlet: Inlet, lost: Lost) -> None:
        carry = await carry_at_end(inlet.channel, inlet.source.id, _yield)
        now_us = self._clock.wall_ns() // 1000
        if carry.unfinished:
            # Its end was thrown away: the next line must not become it.
            inlet.channel.close_line(inlet.source, now_us)
        inlet.channel.say(
            f"Error L12: {lost.messages} messages dropped since {frame.stamp(lost.since_us)}. "
            f"({inlet.source.ps}, {lost.bytes} bytes: its output could not be taken.)",
            now_us,
        )
        inlet.skips = lost.in_line


def probe(channel: Channel) -> None:
    """Whether the disk would take something, without touching a FIFO. Raises OSError."""
    path = channel.directory / _PROBE
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # As far out as the segment is: there may be a limit on a file's size.
        os.pwrite(fd, bytes(_PROBE_BYTES), channel.active.size)
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)


async def _yield() -> None:
    await asyncio.sleep(0)
