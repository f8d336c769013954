"""Owns sending syslog over TCP and TLS: nobody answers, so what was read is found out otherwise.

Must not know channels or files.
"""

from __future__ import annotations

from collections.abc import Callable

from oriel import faults
from oriel.clock import Clock, jittered
from oriel.egress import Dialer, OneWay
from oriel.logplex.drains.address import Target
from oriel.logplex.drains.machine import Failed, Outcome, Taken
from oriel.logplex.drains.outlet import NOTHING_OPEN, Closed, Times, failure
from oriel.logplex.drains.reader import Batch

LIVED_S = 0.5
"""A connection that carried something for so long was a good one."""
UNANSWERED_MAX = 3
"""A receiver that so often in a row did not end when we did never will: it is believed instead."""


class StreamOutlet:
    """Syslog over TCP or TLS.

    Its machine's acknowledgement is no answer: its process may never read it. That is shown when
    we end the connection, and it then ends too, without a reset.
    """

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
        self._line: OneWay | None = None
        self._began_s = self._until_s = 0.0
        self._unanswered = 0

    async def send(self, batch: Batch) -> Outcome:
        """Hand the batch to the kernel; waits while the receiver takes nothing."""
        try:
            line = self._line or await self._open()
            await line.send(batch.body, self._times.stall_s)
        except faults.Fault as error:
            self._drop()
            return failure(error)
        except OSError as error:
            said = self._line.ended if self._line else ""
            return self._drop(said or str(error.strerror or error))
        return self._drop(line.ended) if line.ended else Taken("sent", sure=False)

    def acknowledged(self) -> int:
        """All but what the receiver's machine has not acknowledged."""
        return max(0, self._line.sent - self._line.waiting()) if self._line else 0

    @property
    def believed(self) -> bool:
        """Whether this receiver never shows what it has read."""
        return self._unanswered >= UNANSWERED_MAX

    @property
    def broken(self) -> bool:
        """Whether the receiver hung up."""
        return self._line is not None and bool(self._line.ended)

    @property
    def old(self) -> bool:
        """Whether it has carried lines for hours."""
        return self._line is not None and self._clock.monotonic_s() >= self._until_s

    async def close(self, within_s: float = 0.0) -> Closed:
        """Say that there is no more, and see whether the receiver reads to the end of it."""
        line = self._line
        if line is None:
            return NOTHING_OPEN
        try:
            if not line.ended and within_s:
                if await line.goodbye(within_s):
                    self._unanswered = 0
                elif not line.ended:
                    self._unanswered += 1
        finally:
            read = line.sent if line.read_all else 0
            failed = self._drop(line.ended or f"it did not read to the end in {within_s:g} s")
        return Closed(failed, read)

    async def _open(self) -> OneWay:
        target, times = self._target, self._times
        line = await self._dialer.one_way(
            target.host,
            target.port,
            tls=target.is_tls,
            verify=not target.insecure,
            timeout_s=times.connect_s,
            stall_s=times.stall_s,
        )
        line.on_end = self._broke
        self._line = line
        self._began_s = self._clock.monotonic_s()
        self._until_s = self._began_s + jittered(times.age_s, 0.05)
        return line

    def _drop(self, said: str = "") -> Failed:
        line, self._line = self._line, None
        if line is None:
            return Failed(said)
        lived_s = self._clock.monotonic_s() - self._began_s
        lived = line.sent > line.waiting() and lived_s >= LIVED_S
        line.on_end = _nothing
        line.close()
        return Failed(said, lived=lived)


def _nothing() -> None:
    """It was us."""
