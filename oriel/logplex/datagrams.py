"""Owns the router's lines: a UDP socket with a large buffer, read in bounded turns.

Must not parse more of a frame than names its channel. The socket may be inherited, so that what
came while logplex was away waits in it; what the kernel dropped is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass

from oriel import faults
from oriel.clock import Clock
from oriel.logplex import frame, requests
from oriel.logplex.catch import Catch
from oriel.logplex.limits import Limits
from oriel.logplex.shelf import Shelf

BUFFER_BYTES = 64 * 1024 * 1024
"""At 20 000 requests a second what comes in 5 s: longer than a start of logplex takes."""

_SO_RXQ_OVFL = 40
_SO_RCVBUFFORCE = 33
_COUNTER = struct.Struct("=I")
_KNOWN_MAX = 4096
_NOBODY = b' channel="-" '


@dataclass(slots=True)
class Counts:
    """What became of the datagrams."""

    kept: int = 0
    nobody: int = 0
    """Requests that could not be read, so that no app is known."""
    unknown_channel: int = 0
    malformed: int = 0
    kernel_dropped: int = 0
    """Since the socket was made: by the kernel, because its buffer was full."""
    disk_dropped: int = 0
    """Because the disk was full for longer than memory could hold them."""


def open_socket(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A socket of our own, with as large a buffer as we may have."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        except OSError:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


class Datagrams:
    """The reader of the router's socket."""

    def __init__(
        self, sock: socket.socket, shelf: Shelf, limits: Limits, clock: Clock, catch: Catch
    ) -> None:
        """Takes over `sock` and `catch`."""
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        self.socket = sock
        self.counts = Counts()
        self.channel_of: Callable[[bytes], str | None] = frame.channel_of
        self._catch = catch
        self._shelf = shelf
        self._limits = limits
        self._clock = clock
        self._held: dict[str, list[bytes]] = {}
        self._held_bytes: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._retry_s = limits.retry_first_s
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Store what a killed reader had received, and read from now on."""
        self._store_left()
        self._await()

    def close(self) -> None:
        """Read what is there and stop; the socket stays open for whoever else has it."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self.socket.fileno())
        if self._pause:
            self._pause.cancel()
            self._receive()
        self._receive()
        self.socket.close()
        self._catch.close()

    def status(self) -> dict[str, int]:
        """The counts, and the port."""
        return {"port": self.socket.getsockname()[1], **asdict(self.counts)}

    def _await(self) -> None:
        self._pause = None
        self._loop.add_reader(self.socket.fileno(), self._turn)

    def _turn(self) -> None:
        """Something came: take it, and look again after a pause, which makes many lines one record.

        While it rests nobody is woken: at full speed that costs the router more than to send.
        """
        self._loop.remove_reader(self.socket.fileno())
        self._go_on()

    def _go_on(self) -> None:
        if not self._receive():
            self._await()
            return
        self._pause = self._loop.call_later(self._limits.pause_max_s, self._go_on)

    def _receive(self) -> bool:
        """Store a bounded number of datagrams; whether there were any."""
        count = 0
        take, sock = self._catch.take, self.socket
        while count < self._limits.turn_datagrams:
            try:
                ancillary = take(sock)
            except BlockingIOError:
                break
            except OSError:
                # An ICMP answer to something this socket sent; it sends nothing that matters.
                continue
            if ancillary is None:
                break
            count += 1
            if ancillary:
                self._count_drops(ancillary)
        if count:
            for name, lines in self._sorted(self._catch.lines).items():
                self._keep(name, lines)
            self._catch.clear()
        return count > 0

    def _sorted(self, data: bytes) -> dict[str, list[bytes]]:
        """Lines by channel, as they are to be stored."""
        arrived: dict[str, list[bytes]] = {}
        for line in data.split(b"\n"):
            if not line:
                continue
            name = self.channel_of(line)
            if name is None:
                if _NOBODY in line:
                    self.counts.nobody += 1
                else:
                    self.counts.malformed += 1
                continue
            lines = arrived.get(name)
            if lines is None:
                if len(arrived) >= _KNOWN_MAX or not self._shelf.knows(name):
                    self.counts.unknown_channel += 1
                    continue
                lines = arrived[name] = []
            lines.append(requests.whole(line))
        return arrived

    def _store_left(self) -> None:
        """What was received before a kill: each channel may have got its part, or some of it."""
        for name, lines in self._sorted(self._catch.left).items():
            text = b"".join(lines)
            try:
                channel = self._shelf.channel(name)
                has = channel.active.last_of(channel.source("heroku", "router").id)
            except OSError:
                has = b""
            # A record that a kill cut off ends with a whole line. No two frames are the same.
            if has and text.startswith(has):
                text = text[len(has) :]
            if text:
                self._keep(name, text.splitlines(keepends=True))
        self._catch.clear()

    def _keep(self, name: str, lines: list[bytes]) -> None:
        if name in self._held:
            self._hold(name, lines)
            return
        try:
            self._store(name, lines)
        except OSError:
            self._hold(name, lines)
            self._loop.call_later(self._retry_s, self._retry, name, self._retry_s)

    def _store(self, name: str, lines: list[bytes]) -> None:
        channel = self._shelf.channel(name)
        channel.append_frames(
            channel.source("heroku", "router"), lines, self._clock.wall_ns() // 1000
        )
        self.counts.kept += len(lines)

    def _hold(self, name: str, lines: list[bytes]) -> None:
        """The disk is full: keep them in memory for a while, within a bound."""
        held = self._held.setdefault(name, [])
        for line in lines:
            size = self._held_bytes.get(name, 0) + len(line)
            if size > self._limits.held_frames_bytes:
                self.counts.disk_dropped += 1
                continue
            held.append(line)
            self._held_bytes[name] = size

    def _retry(self, name: str, waited_s: float) -> None:
        lines = self._held.get(name)
        if lines is None or self.socket.fileno() < 0:
            return
        try:
            if self._shelf.knows(name):
                self._store(name, lines)
        except (OSError, faults.Fault):
            wait_s = min(waited_s * 2, self._limits.retry_max_s)
            self._loop.call_later(wait_s, self._retry, name, wait_s)
            return
        self._held.pop(name)
        self._held_bytes.pop(name, None)

    def _count_drops(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(data) >= 4:
                self.counts.kernel_dropped = _COUNTER.unpack(data[:4])[0]
