"""Owns how long what was said is kept: by bytes and by age, and by what the disk has left.

Whole finished segments go, oldest first. Below the floor of free space the largest channels give
first, whatever their policy, and are told. Must not know how a segment is removed, or read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import TypeVar

from oriel import faults
from oriel.clock import Clock
from oriel.logplex import frame, policy
from oriel.logplex.gone import Removed
from oriel.logplex.limits import Limits
from oriel.logplex.policy import Policy
from oriel.logplex.segment import data_path, index_path, numbers
from oriel.logplex.shelf import Shelf

BY_SIZE = "size"
BY_AGE = "age"
BY_SPACE = "space"

_TURN_REMOVALS = 64
_AGE_PARTS = 10
"""A segment that is written for longer than this part of the longest age is finished."""
_REST_S = 0.0005

_T = TypeVar("_T")

_log = logging.getLogger("oriel.logplex")


@dataclass(frozen=True, slots=True)
class Held:
    """What one segment takes of the disk, and when it was last written."""

    segment: int
    bytes: int
    last_us: int


@dataclass(slots=True)
class _Known:
    """What was seen of a channel; it is looked at again when it changed, or when it is due."""

    total: int
    due_us: int
    seen: tuple[int, int] | None
    """Its extent then; None when it was closed."""
    since_us: int
    """When this segment was first seen being written."""
    active: int


@dataclass(slots=True)
class Counts:
    """What retention did since logplex started."""

    removed_segments: int = 0
    removed_lines: int = 0
    removed_bytes: int = 0
    free_bytes: int = 0
    floor_bytes: int = 0


def overdue(held: Sequence[Held], kept: Policy, now_us: int) -> list[tuple[int, str]]:
    """The segments that are to go, oldest first, and why. The last is never among them."""
    total = sum(each.bytes for each in held)
    chosen: list[tuple[int, str]] = []
    for each in held[:-1]:
        if total > kept.max_bytes:
            chosen.append((each.segment, BY_SIZE))
        elif each.last_us < now_us - kept.max_age_s * 1_000_000:
            chosen.append((each.segment, BY_AGE))
        else:
            break
        total -= each.bytes
    return chosen


class Retention:
    """Removes what is due, now and then."""

    def __init__(self, shelf: Shelf, limits: Limits, clock: Clock) -> None:
        """Works from `start` on."""
        self._shelf = shelf
        self._limits = limits
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._thread = ThreadPoolExecutor(1, "logplex-retention")
        self._task: asyncio.Task[None] | None = None
        self.counts = Counts()

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.create_task(self._tend())

    async def close(self) -> None:
        """Look no more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def sweep(self) -> None:
        """Look at every channel that may have something that is due."""
        names = await self._in_thread(self._shelf.names)
        for name in [each for each in self._known if each not in names]:
            del self._known[name]
        for name in sorted(names):
            if self._may_be_due(name):
                with contextlib.suppress(OSError, faults.Fault):
                    await self._sweep(name)

    async def look_at_space(self) -> None:
        """Make room, when there is less than there should be."""
        counts = self.counts
        counts.free_bytes, total = await self._in_thread(lambda: _space(self._shelf.directory))
        counts.floor_bytes = min(self._limits.free_floor_bytes, total // 20)
        if counts.free_bytes >= counts.floor_bytes:
            return
        gave: dict[str, list[Removed]] = {}
        for _ in range(_TURN_REMOVALS):
            name = await self._largest()
            if name is None:
                break
            row = await self._give(name)
            if row is None:
                self._known[name].total = 0
                continue
            gave.setdefault(name, []).append(row)
            counts.free_bytes, _ = await self._in_thread(lambda: _space(self._shelf.directory))
            if counts.free_bytes >= counts.floor_bytes:
                break
        for name, rows in gave.items():
            self._tell(name, rows)

    async def _tend(self) -> None:
        next_s = 0.0
        while True:
            try:
                await self.look_at_space()
                now_s = self._clock.monotonic_s()
                if now_s >= next_s:
                    next_s = now_s + self._limits.sweep_interval_s
                    await self.sweep()
            except (OSError, faults.Fault) as error:
                _log.warning("retention waits: %s", error)
            await self._clock.sleep(self._limits.sync_interval_s)

    def _may_be_due(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None or self._now_us() >= known.due_us:
            return True
        return self._extent(name) != known.seen

    def _extent(self, name: str) -> tuple[int, int] | None:
        channel = self._shelf.if_open(name)
        return (channel.extent.segment, channel.extent.size) if channel else None

    async def _sweep(self, name: str) -> None:
        kept, held = await self._look(name)
        now_us = self._now_us()
        known = self._known[name]
        if held and self._is_old(known, held[-1], kept, now_us):
            await self._shelf.finish(name)
            kept, held = await self._look(name)
        for number, why in overdue(held, kept, now_us)[:_TURN_REMOVALS]:
            await self._remove(name, number, why)
            known.due_us = 0

    def _is_old(self, known: _Known, active: Held, kept: Policy, now_us: int) -> bool:
        """Whether the segment that is being written holds lines that wait to grow old."""
        age_us = kept.max_age_s * 1_000_000
        if not active.bytes:
            return False
        if known.seen is None:
            return active.last_us < now_us - age_us
        return known.since_us < now_us - age_us // _AGE_PARTS

    async def _look(self, name: str) -> tuple[Policy, list[Held]]:
        channel = self._shelf.if_open(name)
        seen = self._extent(name)
        directory = self._shelf.directory / name
        held = await self._in_thread(lambda: _held(directory))
        kept = channel.policy if channel else policy.load(directory / "policy")
        now_us = self._now_us()
        had = self._known.get(name)
        active = held[-1].segment if held else 0
        since_us = had.since_us if had and had.active == active else now_us
        age_us = kept.max_age_s * 1_000_000
        first_us = min((each.last_us for each in held if each.bytes), default=now_us + age_us)
        due_us = first_us + age_us
        if seen:
            due_us = min(due_us, since_us + age_us // _AGE_PARTS)
        total = sum(each.bytes for each in held)
        self._known[name] = _Known(total, due_us, seen, since_us, active)
        return kept, held

    async def _largest(self) -> str | None:
        names = await self._in_thread(self._shelf.names)
        for name in names:
            if name not in self._known or self._extent(name) != self._known[name].seen:
                with contextlib.suppress(OSError):
                    await self._look(name)
        best = max(
            (each for each in names if each in self._known),
            key=lambda each: self._known[each].total,
            default=None,
        )
        if best is None or self._known[best].total <= self._limits.floor_keep_bytes:
            return None
        return best

    async def _give(self, name: str) -> Removed | None:
        """The oldest segment of a channel goes."""
        _, held = await self._look(name)
        if len(held) < 2:
            await self._shelf.finish(name)
            _, held = await self._look(name)
        if len(held) < 2:
            return None
        row = await self._remove(name, held[0].segment, BY_SPACE)
        await self._look(name)
        return row

    async def _remove(self, name: str, number: int, why: str) -> Removed | None:
        row = await self._shelf.remove(name, number, why)
        if row:
            self.counts.removed_segments += 1
            self.counts.removed_lines += row.lines
            self.counts.removed_bytes += row.bytes
        return row

    def _tell(self, name: str, rows: Sequence[Removed]) -> None:
        lines, size = sum(each.lines for each in rows), sum(each.bytes for each in rows)
        until = max(each.last_us for each in rows)
        floor_mb = self.counts.floor_bytes // 1_000_000
        _log.warning("channel %s gave %d bytes: the disk has too little free space", name, size)
        with contextlib.suppress(OSError, faults.Fault):
            self._shelf.channel(name).note(
                f"The disk had less than {floor_mb} MB of free space: the oldest {lines} lines of "
                f"this log ({size} bytes), up to {frame.stamp(until)}, were removed."
            )

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000


def _space(directory: Path) -> tuple[int, int]:
    """Bytes that are free for us, and bytes in all."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _held(directory: Path) -> list[Held]:
    """The segments of a channel, oldest first. For a thread."""
    found = []
    for number in numbers(directory):
        size = last_us = 0
        for path in (data_path(directory, number), index_path(directory, number)):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                size += stat.st_size
                last_us = max(last_us, stat.st_mtime_ns // 1000)
        found.append(Held(number, size, last_us))
    sleep(_REST_S)
    return found
