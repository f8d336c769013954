"""Owns which outlet a URL has; and syslog over UDP. Must not know channels or files."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from oriel import faults
from oriel.clock import Clock, jittered
from oriel.egress import Dialer
from oriel.logplex.drains.address import Target
from oriel.logplex.drains.machine import Failed, Outcome, Taken
from oriel.logplex.drains.outlet import NOTHING_OPEN, Closed, Outlet, Times, failure
from oriel.logplex.drains.post import HttpOutlet
from oriel.logplex.drains.reader import Batch
from oriel.logplex.drains.stream import StreamOutlet

_DATAGRAM_BYTES_MAX = 65_000
_DATAGRAMS_AT_ONCE = 32


def outlet_for(
    target: Target,
    token: str,
    dialer: Dialer,
    clock: Clock,
    times: Times,
    broke: Callable[[], None],
) -> Outlet:
    """The outlet of a URL. `broke` is called when a connection ends by itself."""
    if target.is_http:
        return HttpOutlet(target, token, dialer, clock, times)
    if target.scheme == "syslog+udp":
        return UdpOutlet(target, dialer, clock, times)
    return StreamOutlet(target, dialer, clock, times, broke)


class UdpOutlet:
    """Syslog over UDP: what was sent is all that is known."""

    immediate = True
    believed = False
    broken = False

    def __init__(self, target: Target, dialer: Dialer, clock: Clock, times: Times) -> None:
        """Opened when there is something to send."""
        self._target = target
        self._dialer = dialer
        self._clock = clock
        self._times = times
        self._socket: socket.socket | None = None
        self._until_s = 0.0

    @property
    def old(self) -> bool:
        """Whether its name should be looked up anew."""
        return self._socket is not None and self._clock.monotonic_s() >= self._until_s

    async def send(self, batch: Batch) -> Outcome:
        """Each frame a datagram."""
        loop = asyncio.get_running_loop()
        try:
            if self._socket is None:
                self._socket = await self._dialer.udp(self._target.host, self._target.port)
                self._until_s = self._clock.monotonic_s() + jittered(self._times.age_s, 0.05)
            for number, frame in enumerate(batch.frames, 1):
                await loop.sock_sendall(self._socket, frame[:_DATAGRAM_BYTES_MAX])
                if number % _DATAGRAMS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        except faults.Fault as error:
            await self.close()
            return failure(error)
        except OSError as error:
            await self.close()
            return Failed(f"the datagram came back: {error.strerror or 'refused'}")
        return Taken("sent; UDP gives no answer")

    def acknowledged(self) -> int:
        """Nothing is ever known."""
        return 0

    async def close(self, within_s: float = 0.0) -> Closed:
        """Close the socket."""
        if self._socket:
            self._socket.close()
            self._socket = None
        return NOTHING_OPEN
