"""Owns the router's lines on their way into channels: stored, or held while the disk is full.

What is beyond its bounds is counted, and the channel is told as soon as it takes something again
(L12), once, also after a kill. Must not know sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from oriel import faults
from oriel.clock import Clock
from oriel.logplex import frame
from oriel.logplex.limits import Limits
from oriel.logplex.losses import Losses, Row
from oriel.logplex.shelf import Shelf

_TEXTS_MAX = 16


@dataclass(slots=True)
class _Waiting:
    """A channel whose disk takes nothing."""

    since_us: int
    lines: list[bytes] = field(default_factory=list)
    bytes: int = 0
    lost: int = 0
    newest_crc: int = 0
    texts: list[str] = field(default_factory=list)

    def row(self) -> Row:
        last_crc = crc32(self.lines[-1]) if self.lines else 0
        return Row(self.since_us, len(self.lines), self.lost, self.newest_crc, last_crc)


class Holding:
    """The way into the channels."""

    def __init__(
        self,
        shelf: Shelf,
        limits: Limits,
        clock: Clock,
        losses: Losses,
        *,
        kept: Callable[[int], None],
        dropped: Callable[[int], None],
    ) -> None:
        """`kept` and `dropped` are told of numbers of lines."""
        self._shelf = shelf
        self._limits = limits
        self._clock = clock
        self._losses = losses
        self._kept = kept
        self._dropped = dropped
        self._waiting: dict[str, _Waiting] = {}
        self._bytes = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()

    @property
    def lines(self) -> int:
        """How many lines wait in memory."""
        return sum(len(each.lines) for each in self._waiting.values())

    def close(self) -> None:
        """Try no more; what is held is lost, and told by the next one."""
        self._closed = True

    def go_on(self, caught: Mapping[str, list[bytes]]) -> None:
        """After a kill: what was held is lost. `caught` are the lines that were received last."""
        for name, row in self._losses.left.items():
            lost = 0
            if self._shelf.knows(name):
                lost = row.after(caught.get(name, []), self._newest(name))
            if not lost:
                self._losses.clear(name)
                continue
            self._waiting[name] = _Waiting(row.since_us, lost=lost)
            self._losses.put(name, self._waiting[name].row())
            self._dropped(lost)
            self._retry(name, self._limits.retry_first_s)

    def store(self, name: str, lines: list[bytes]) -> None:
        """Store lines of a channel, now or later."""
        if name not in self._waiting:
            try:
                self._store(name, lines)
            except OSError:
                self._wait_for(name)
            else:
                return
        self._hold(name, lines)

    def say(self, name: str, text: str) -> None:
        """Tell a channel something, now or later."""
        if name not in self._waiting:
            try:
                self._shelf.channel(name).say(text, self._now_us())
            except OSError:
                self._wait_for(name)
            else:
                return
        texts = self._waiting[name].texts
        if len(texts) < _TEXTS_MAX:
            texts.append(text)

    def _wait_for(self, name: str) -> None:
        self._waiting[name] = _Waiting(self._now_us())
        self._loop.call_later(
            self._limits.retry_first_s, self._retry, name, self._limits.retry_first_s
        )

    def _store(self, name: str, lines: list[bytes]) -> None:
        channel = self._shelf.channel(name)
        channel.append_frames(channel.source("heroku", "router"), lines, self._now_us())
        self._kept(len(lines))

    def _hold(self, name: str, lines: list[bytes]) -> None:
        """Keep them in memory, within bounds of the channel and of all."""
        waiting = self._waiting[name]
        lost = 0
        for line in lines:
            if (
                waiting.bytes + len(line) > self._limits.held_frames_bytes
                or self._bytes + len(line) > self._limits.held_frames_bytes_in_all
            ):
                lost += 1
                continue
            waiting.lines.append(line)
            waiting.bytes += len(line)
            self._bytes += len(line)
        waiting.lost += lost
        waiting.newest_crc = crc32(lines[-1])
        self._losses.put(name, waiting.row())
        self._dropped(lost)

    def _retry(self, name: str, waited_s: float) -> None:
        waiting = self._waiting.get(name)
        if waiting is None or self._closed:
            return
        try:
            if self._shelf.knows(name):
                self._catch_up(name, waiting)
        except (OSError, faults.Fault):
            wait_s = min(waited_s * 2, self._limits.retry_max_s)
            self._loop.call_later(wait_s, self._retry, name, wait_s)
            return
        self._bytes -= waiting.bytes
        del self._waiting[name]
        self._losses.clear(name)

    def _catch_up(self, name: str, waiting: _Waiting) -> None:
        if waiting.lines:
            self._store(name, waiting.lines)
            self._bytes -= waiting.bytes
            waiting.lines, waiting.bytes = [], 0
            self._losses.put(name, waiting.row())
        channel = self._shelf.channel(name)
        if waiting.lost:
            why = "the disk took nothing"
            channel.say(told(waiting.lost, waiting.since_us, why), self._now_us())
            waiting.lost = 0
            self._losses.put(name, waiting.row())
        while waiting.texts:
            channel.say(waiting.texts[0], self._now_us())
            waiting.texts.pop(0)

    def _newest(self, name: str) -> bytes:
        """The newest line of the router's in a channel; none where it cannot be looked at."""
        try:
            channel = self._shelf.channel(name)
            last = channel.active.last_of(channel.source("heroku", "router").id)
        except OSError:
            return b""
        return last.splitlines(keepends=True)[-1] if last else b""

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000


def told(lines: int, since_us: int, why: str) -> str:
    """How a channel is told that lines of the router's are lost."""
    return f"Error L12: {lines} messages dropped since {frame.stamp(since_us)}. (router: {why}.)"
