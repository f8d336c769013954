"""Owns the router's lines: a UDP socket with a large buffer, read in bounded turns.

Must not parse more of a frame than names its channel. The socket may be inherited, so that what
came while logplex was away waits in it; what the kernel dropped is counted, and told (L12) to the
channels that had lines of late: whose the dropped ones were nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from oriel.clock import Clock
from oriel.logplex import frame, requests
from oriel.logplex.catch import Catch
from oriel.logplex.holding import Holding, told
from oriel.logplex.limits import Limits
from oriel.logplex.losses import Losses
from oriel.logplex.shelf import Shelf

BUFFER_BYTES = 64 * 1024 * 1024
"""At 20 000 requests a second what comes in 5 s: longer than a start of logplex takes."""

_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_DROPS = struct.Struct("=32xI")
"""Behind eight others, of `SO_MEMINFO` (linux/sock_diag.h)."""
_DROPS_MASK = 0xFFFFFFFF
_QUIET_US = 100_000
RECENT_S = 60.0
"""A channel that had a line within this is told what the kernel dropped."""
_KNOWN_MAX = 4096
_NOBODY = b' channel="-" '


_log = logging.getLogger("oriel.logplex")


@dataclass(slots=True)
class Counts:
    """What became of the datagrams."""

    kept: int = 0
    heads_bad: int = 0
    """Requests whose head could not be read, so that no app is known."""
    heads_slow: int = 0
    """Whose head did not come in time."""
    heads_cut: int = 0
    """Whose client left before the end of the head."""
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
        self,
        sock: socket.socket,
        shelf: Shelf,
        limits: Limits,
        clock: Clock,
        catch: Catch,
        losses: Losses,
    ) -> None:
        """Takes over `sock`, `catch` and `losses`."""
        sock.setblocking(False)
        self.socket = sock
        self.channel_of: Callable[[bytes], str | None] = frame.channel_of
        self._catch = catch
        self._losses = losses
        self._shelf = shelf
        self._limits = limits
        self._clock = clock
        self._holding = Holding(
            shelf, limits, clock, losses, kept=self._count_kept, dropped=self._count_dropped
        )
        self._recent: dict[str, float] = {}
        self._inode = os.fstat(sock.fileno()).st_ino
        inode, drops, quiet_us = losses.told_of
        same = inode == self._inode
        self._told = drops if same else 0
        self._quiet_us = quiet_us if same else clock.wall_ns() // 1000
        """Until then nothing was dropped that was not told."""
        self.counts = Counts(kernel_dropped=self._told)
        self._telling: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
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
        if self._telling:
            self._telling.cancel()
            self._tell_drops()
        if self._unread:
            self._unread.cancel()
        self._holding.close()
        self.socket.close()
        self._catch.close()
        self._losses.close()

    def status(self) -> dict[str, int]:
        """The counts, how many lines wait for the disk, and the port."""
        self._look_at_drops()
        port, waiting = self.socket.getsockname()[1], self._holding.lines
        return {"port": port, "waiting": waiting, **asdict(self.counts)}

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
                if not take(sock):
                    break
            except BlockingIOError:
                break
            except OSError:
                # An ICMP answer to something this socket sent; it sends nothing that matters.
                continue
            count += 1
        if count:
            if len(self._recent) > _KNOWN_MAX:
                self._recent.clear()
            for name, lines in self._sorted(self._catch.lines).items():
                self._recent[name] = self._loop.time()
                self._holding.store(name, lines)
            self._catch.clear()
        self._look_at_drops()
        return count > 0

    def _sorted(self, data: bytes) -> dict[str, list[bytes]]:
        """Lines by channel, as they are to be stored."""
        arrived: dict[str, list[bytes]] = {}
        for line in data.split(b"\n"):
            if not line:
                continue
            name = self.channel_of(line)
            if name is None:
                self._count_unread(line)
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
        left = self._sorted(self._catch.left)
        self._holding.go_on(left)
        for name, lines in left.items():
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
                self._holding.store(name, text.splitlines(keepends=True))
        self._catch.clear()

    def _count_unread(self, line: bytes) -> None:
        """A request that is no app's: by who ended it (`requests` has the states)."""
        counts = self.counts
        if _NOBODY not in line:
            counts.malformed += 1
            return
        if self._unread is None and not self._closed:
            self._unread = self._loop.call_later(
                self._limits.unread_told_s, self._tell_unread, replace(counts)
            )
        if b' ts="c' in line:
            counts.heads_slow += 1
        elif b' ts="C' in line:
            counts.heads_cut += 1
        else:
            counts.heads_bad += 1

    def _tell_unread(self, before: Counts) -> None:
        """In the platform's own log, and not often: any client can cause it."""
        self._unread = None
        now = self.counts
        _log.warning(
            "since %s requests could not be read: %d bad heads, %d too slow, %d broken off",
            frame.stamp(self._clock.wall_ns() // 1000 - round(self._limits.unread_told_s * 1e6)),
            now.heads_bad - before.heads_bad,
            now.heads_slow - before.heads_slow,
            now.heads_cut - before.heads_cut,
        )

    def _count_kept(self, lines: int) -> None:
        self.counts.kept += lines

    def _count_dropped(self, lines: int) -> None:
        self.counts.disk_dropped += lines

    def _look_at_drops(self) -> None:
        """Drops are told once they have gone on for a while: one line for all of them."""
        with contextlib.suppress(OSError):
            drops = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _DROPS.size)
            self.counts.kernel_dropped = _DROPS.unpack(drops)[0]
        if self.counts.kernel_dropped == self._told:
            now_us = self._clock.wall_ns() // 1000
            if now_us - self._quiet_us > _QUIET_US:
                self._all_told(now_us)
        elif self._telling is None and not self._closed:
            self._telling = self._loop.call_later(self._limits.drops_told_s, self._tell_drops)

    def _tell_drops(self) -> None:
        self._telling = None
        dropped = self.counts.kernel_dropped
        lines = (dropped - self._told) & _DROPS_MASK
        oldest_s = self._loop.time() - RECENT_S
        self._recent = {name: at_s for name, at_s in self._recent.items() if at_s >= oldest_s}
        heard = [name for name in self._recent if self._shelf.knows(name)]
        if not lines or not heard:
            return
        text = told(lines, self._quiet_us, "of all apps together, the system's buffer was full")
        for name in heard:
            self._holding.say(name, text)
        self._told = dropped
        self._all_told(self._clock.wall_ns() // 1000)

    def _all_told(self, now_us: int) -> None:
        self._quiet_us = now_us
        self._losses.tell_of(self._inode, self._told, now_us)
