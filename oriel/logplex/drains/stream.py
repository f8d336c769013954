"""Owns sending syslog over TCP and TLS: nobody answers, so what the kernel got rid of counts.

Must not know channels or files.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import termios
from collections.abc import Callable

from oriel import faults
from oriel.clock import Clock, jittered
from oriel.egress import Dialer, Line
from oriel.egress.dial import Unreachable
from oriel.logplex.drains.address import Target
from oriel.logplex.drains.machine import Failed, Outcome, Taken
from oriel.logplex.drains.outlet import NOTHING_OPEN, Closed, Times, dial, failure
from oriel.logplex.drains.reader import Batch

_WRITE_BUFFER_BYTES = 256 * 1024
LIVED_S = 0.5
"""A connection that carried something for so long was a good one."""
_ALL = 1 << 62


class StreamOutlet:
    """Syslog over TCP or TLS. There are no answers: what the kernel got rid of counts."""

    immediate = False

    def __init__(
        self,
        target: Target,
        dialer: Dialer,
        clock: Clock,
        times: Times,
        broke: Callable[[], None],
    ) -> None:
        """Connects when there is something to send."""
        self._target = target
        self._dialer = dialer
        self._clock = clock
        self._times = times
        self._broke = broke
        self._line: Line | None = None
        self._listening: asyncio.Task[None] | None = None
        self._sent = 0
        self._began_s = self._until_s = 0.0
        self._ended = ""

    async def send(self, batch: Batch) -> Outcome:
        """Hand the batch to the kernel; waits while the receiver takes nothing."""
        try:
            line = self._line or await self._open()
            line.writer.write(batch.body)
            self._sent += batch.size
            await self._drained(line)
        except faults.Fault as error:
            self._drop()
            return failure(error)
        except OSError as error:
            return self._drop(f"the connection broke: {error.strerror or 'closed'}")
        return self._drop(self._ended) if self._ended else Taken("sent", sure=False)

    def sure(self) -> int:
        """All but what waits in our buffers: what is left has been acknowledged by TCP."""
        if not self._line:
            return 0
        return max(0, self._sent - self._waiting(self._line))

    @property
    def broken(self) -> bool:
        """Whether the receiver hung up."""
        return bool(self._ended)

    @property
    def old(self) -> bool:
        """Whether it has carried lines for hours."""
        return self._line is not None and self._clock.monotonic_s() >= self._until_s

    async def close(self) -> Closed:
        """Say that there is no more, and see whether the receiver reads to the end of it."""
        line, listening = self._line, self._listening
        if line is None or listening is None:
            return NOTHING_OPEN
        if self._ended:
            return Closed(self._drop(self._ended), self._sent == 0)
        self._line = None
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            if line.writer.can_write_eof():
                line.writer.write_eof()
                # Its end without an error: it has read everything, or it would be a reset.
                await asyncio.wait_for(asyncio.shield(listening), self._times.bye_s)
        self._line = line
        read_all = self._ended == _HUNG_UP
        return Closed(self._drop(self._ended), read_all or self._sent == 0)

    async def _open(self) -> Line:
        line = await dial(self._target, self._dialer, self._times)
        line.writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._line, self._sent, self._ended = line, 0, ""
        self._began_s = self._clock.monotonic_s()
        self._until_s = self._began_s + jittered(self._times.age_s, 0.05)
        self._listening = asyncio.create_task(self._listen(line))
        return line

    async def _drained(self, line: Line) -> None:
        """Wait for the write buffer, as long as it gets smaller at all."""
        left = self._waiting(line)
        while True:
            try:
                async with asyncio.timeout(self._times.stall_s):
                    await line.writer.drain()
                return
            except TimeoutError:
                now = self._waiting(line)
                if now >= left:
                    said = f"nothing was taken for {self._times.stall_s:g} s"
                    raise Unreachable(said) from None
                left = now

    async def _listen(self, line: Line) -> None:
        """A syslog receiver says nothing; its end is all that there is to hear."""
        try:
            while await line.reader.read(4096):
                pass
            self._ended = _HUNG_UP
        except OSError as error:
            self._ended = f"the connection broke: {error.strerror or 'closed'}"
        if self._line is line:
            self._broke()

    def _drop(self, said: str = "") -> Failed:
        lived = self.sure() > 0 and self._clock.monotonic_s() - self._began_s >= LIVED_S
        if self._listening:
            self._listening.cancel()
        if self._line:
            self._line.close()
        self._line = self._listening = None
        self._ended = ""
        return Failed(said, lived=lived)

    @staticmethod
    def _waiting(line: Line) -> int:
        transport = line.writer.transport
        own = transport.get_extra_info("socket")
        queued = 0
        if own is None:
            # TLS that has ended: what it still had is nobody's.
            return _ALL
        with contextlib.suppress(OSError, ValueError):
            raw = fcntl.ioctl(own.fileno(), termios.TIOCOUTQ, bytes(4))
            queued = struct.unpack("i", raw)[0]
        return int(transport.get_write_buffer_size()) + queued


_HUNG_UP = "the receiver closed the connection"
