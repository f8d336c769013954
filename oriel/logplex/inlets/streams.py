"""Owns connections that bring syslog: TCP, TLS and local streams. One machine for all three.

Must not know frames or channels. Bounded: so many connections, each with at most one frame that is
not whole; one that says nothing is closed; while the disk is full, nothing more is read. Syslog
has no answers: what was under way when a connection breaks is the sender's to send again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence

from oriel.clock import Clock
from oriel.logplex.inlets.bounds import Bounds, Counts
from oriel.logplex.inlets.framing import Run, Splitter
from oriel.logplex.inlets.sorting import NotTaken, Sender, Sorter
from oriel.logplex.tokens import Token

_SWEEP_S = 1.0
_BACKLOG = 128
_WAIT_MAX_S = 1.0
_ACCEPT_TURN = 32
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))


class Held:
    """How many bytes wait in memory for a full disk, over all ways in."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, size: int) -> bool:
        """Whether there is room for `size` more; then it is taken."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """They wait no more."""
        self._left += size


class Streams:
    """One listening socket, and its connections."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        sorter: Sorter,
        held: Held,
        bounds: Bounds,
        clock: Clock,
        bound: Token | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Takes over `sock`, which is bound to its address."""
        sock.setblocking(False)
        self.socket = sock
        self.counts = Counts()
        self.sorter, self.held, self.bounds, self.clock = sorter, held, bounds, clock
        self.bound = bound
        self.buffer = memoryview(bytearray(bounds.chunk_bytes))
        """Shared: what is read is taken from it before the next read. A view, because asyncio's
        TLS writes into slices of it."""
        self._tls = tls
        self._lines: set[Line] = set()
        self._shaking: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._sweeper: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Answer from now on."""
        self.socket.listen(_BACKLOG)
        self._loop.add_reader(self.socket.fileno(), self._accept)
        self._sweep()

    async def close(self) -> None:
        """Take in what has arrived, and hang up."""
        self._loop.remove_reader(self.socket.fileno())
        self.socket.close()
        if self._sweeper:
            self._sweeper.cancel()
        for task in self._shaking:
            task.cancel()
        await asyncio.gather(*self._shaking, return_exceptions=True)
        for line in self._lines:
            line.resume()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for line in list(self._lines):
            line.finish()

    def joined(self, line: Line) -> None:
        """A connection is up."""
        self._lines.add(line)

    def left(self, line: Line) -> None:
        """A connection is gone."""
        self._lines.discard(line)

    def _accept(self) -> None:
        for _ in range(_ACCEPT_TURN):
            try:
                sock, _ = self.socket.accept()
            except BlockingIOError:
                return
            except OSError:
                # It went away again, or we are out of descriptors: the next turn tries again,
                # and the listening socket must not spin the loop meanwhile.
                self._loop.remove_reader(self.socket.fileno())
                self._loop.call_later(self.bounds.retry_first_s, self._accept_again)
                return
            if len(self._lines) + len(self._shaking) >= self.bounds.connections:
                self.counts.refused += 1
                sock.close()
                continue
            self.counts.connections += 1
            task = self._loop.create_task(self._welcome(sock))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    def _accept_again(self) -> None:
        if self.socket.fileno() >= 0:
            self._loop.add_reader(self.socket.fileno(), self._accept)

    async def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        try:
            await self._loop.connect_accepted_socket(
                lambda: Line(self),
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=self.bounds.handshake_s if self._tls else None,
            )
        except (OSError, TimeoutError):
            # No TLS, or not in time: ssl's errors are OSErrors.
            self.counts.silent += 1
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    def _sweep(self) -> None:
        now_s = self.clock.monotonic_s()
        for line in list(self._lines):
            limit_s = self.bounds.idle_s if line.spoke else self.bounds.silent_s
            if now_s - line.last_s > limit_s:
                self.counts.silent += 1
                line.finish()
        step_s = min(_SWEEP_S, self.bounds.silent_s / 2)
        self._sweeper = self._loop.call_later(step_s, self._sweep)


class Line(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, door: Streams) -> None:
        self._door = door
        self._splitter = Splitter(door.bounds)
        self._sender = Sender(door.bound)
        self._transport: asyncio.Transport | None = None
        self._waiting: list[Run] = []
        self._waiting_bytes = 0
        self._ended = False
        self._retry_s = door.bounds.retry_first_s
        self.spoke = False
        self.last_s = door.clock.monotonic_s()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is up."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio promises
        self._transport = transport
        self._door.joined(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._door.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        self.last_s = self._door.clock.monotonic_s()
        wait_s = self._take(self._splitter.feed(bytes(self._door.buffer[:nbytes])))
        if nbytes * 2 < len(self._door.buffer):
            # Many small writes become one record.
            wait_s = max(wait_s, self._door.bounds.pause_s)
        if self._splitter.stuck:
            self.finish()
        elif not self._waiting and wait_s:
            self._pause()
            self._door._loop.call_later(min(wait_s, _WAIT_MAX_S), self.resume)

    def eof_received(self) -> bool:
        """The other side says no more."""
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is down."""
        self._end()
        self._door.left(self)

    def finish(self) -> None:
        """Hang up from this side."""
        self._end()
        if self._transport:
            self._transport.abort()

    def resume(self) -> None:
        """Read on, unless the disk is full."""
        if self._transport and not self._waiting and not self._transport.is_closing():
            self._transport.resume_reading()

    def _pause(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.pause_reading()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._take(self._splitter.end())

    def _take(self, runs: Sequence[Run]) -> float:
        """Bring them to the channels; gives how long to wait before the next read."""
        counts, splitter = self._door.counts, self._splitter
        counts.cut_bytes += splitter.cut_bytes
        splitter.cut_bytes = 0
        if not runs:
            return 0.0
        self.spoke = True
        if self._waiting:
            self._hold([*self._waiting, *runs])
            return 0.0
        try:
            return self._door.sorter.store(runs, self._sender, counts)
        except NotTaken as problem:
            self._hold(problem.runs)
            self._door._loop.call_later(self._retry_s, self._retry)
            return 0.0

    def _hold(self, runs: list[Run]) -> None:
        """The disk is full: these wait, nothing more is read, and the sender is held up."""
        held = self._door.held
        held.give_back(self._waiting_bytes)
        size = sum(len(each.lines) for each in runs)
        if held.take(size):
            self._waiting, self._waiting_bytes = runs, size
            self._pause()
            return
        self._waiting, self._waiting_bytes = [], 0
        self._door.counts.dropped += sum(each.count for each in runs)
        if self._transport:
            self._transport.abort()

    def _retry(self) -> None:
        runs, self._waiting = self._waiting, []
        self._door.held.give_back(self._waiting_bytes)
        self._waiting_bytes = 0
        if not runs:
            return
        try:
            self._door.sorter.store(runs, self._sender, self._door.counts)
        except NotTaken as problem:
            self._retry_s = min(self._retry_s * 2, self._door.bounds.retry_max_s)
            self._hold(problem.runs)
            if self._waiting:
                self._door._loop.call_later(self._retry_s, self._retry)
            return
        self._retry_s = self._door.bounds.retry_first_s
        with contextlib.suppress(RuntimeError):
            self.resume()
