"""Owns datagrams that bring syslog: UDP and local ones. Each is one frame.

Must not know frames or channels. Read in bounded turns from a socket with a large buffer; what the
kernel or a full disk drops is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from oriel.logplex.inlets.bounds import Bounds, Counts
from oriel.logplex.inlets.framing import Run, Runs
from oriel.logplex.inlets.sorting import NotTaken, Sender, Sorter
from oriel.logplex.inlets.streams import Held
from oriel.logplex.tokens import Token

_SO_RXQ_OVFL = 40
_COUNTER = struct.Struct("=I")


class Packets:
    """One socket."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        sorter: Sorter,
        held: Held,
        bounds: Bounds,
        bound: Token | None = None,
    ) -> None:
        """Takes over `sock`, which is bound to its address."""
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        self.socket = sock
        self.counts = Counts()
        self._sorter, self._held, self._bounds = sorter, held, bounds
        self._bound = bound
        self._waiting: list[Run] = []
        self._waiting_bytes = 0
        self._retry_s = bounds.retry_first_s
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Read from now on."""
        self._loop.add_reader(self.socket.fileno(), self._turn)

    async def close(self) -> None:
        """Take in what has arrived, and stop."""
        if self._loop.remove_reader(self.socket.fileno()):
            self._read()
        self.socket.close()

    def _turn(self) -> None:
        if self._read():
            self._loop.remove_reader(self.socket.fileno())
            self._loop.call_later(self._bounds.pause_s, self._again)

    def _again(self) -> None:
        if self.socket.fileno() >= 0:
            self._loop.add_reader(self.socket.fileno(), self._turn)

    def _read(self) -> int:
        runs = Runs()
        read = 0
        for _ in range(self._bounds.turn_packets):
            try:
                data, ancillary, _, _ = self.socket.recvmsg(self._bounds.frame_bytes, 64)
            except BlockingIOError:
                break
            except OSError:
                # An ICMP answer to something this socket sent; it sends nothing that matters.
                continue
            read += 1
            if ancillary:
                self._count_drops(ancillary)
            runs.add_packet(data)
        self._take(runs.taken())
        return read

    def _take(self, runs: list[Run]) -> None:
        if not runs:
            return
        if self._waiting:
            self._hold(runs)
            return
        try:
            # A datagram has no others of its connection: what is malformed is nobody's.
            self._sorter.store(runs, Sender(self._bound, several=True), self.counts)
        except NotTaken as problem:
            self._hold(problem.runs)
            self._loop.call_later(self._retry_s, self._retry)

    def _hold(self, runs: list[Run]) -> None:
        """The disk is full: they wait in memory, within a bound that all share."""
        for run in runs:
            if self._held.take(len(run.lines)):
                self._waiting.append(run)
                self._waiting_bytes += len(run.lines)
            else:
                self.counts.dropped += run.count

    def _retry(self) -> None:
        if self.socket.fileno() < 0:
            return
        runs, self._waiting = self._waiting, []
        self._held.give_back(self._waiting_bytes)
        self._waiting_bytes = 0
        try:
            self._sorter.store(runs, Sender(self._bound, several=True), self.counts)
        except NotTaken as problem:
            self._hold(problem.runs)
            self._retry_s = min(self._retry_s * 2, self._bounds.retry_max_s)
            self._loop.call_later(self._retry_s, self._retry)
            return
        self._retry_s = self._bounds.retry_first_s

    def _count_drops(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(data) >= 4:
                self.counts.kernel_dropped = _COUNTER.unpack(data[:4])[0]
