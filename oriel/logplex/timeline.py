"""Owns finding a time in a channel, by looking at few index entries. Must not know lines.

Times never run backwards within a channel, so both its segments and a segment's entries are
searched by halves: on a channel of 10 GB that is some thirty small reads.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable

from oriel.logplex import entry, files
from oriel.logplex.channel import Channel
from oriel.logplex.cursor import Position
from oriel.logplex.segment import Extent, index_path

_AFTER_ALL = 1 << 64
_LOOK_ON = 64
"""How many damaged entries in a row are stepped over."""


def first_since(channel: Channel, time_us: int, end: Extent) -> Position:
    """Where to read from to get all that was said at `time_us` or later, up to `end`."""
    there = [each for each in channel.segments() if each <= end.segment]

    def begins(at: int) -> int:
        return next(
            (
                found
                for number in there[at:]
                if (found := _time_of_first(channel, number, end)) is not None
            ),
            _AFTER_ALL,
        )

    # The last segment that begins before the time may still hold it.
    at = bisect_left(_Lazy(len(there), begins), time_us) - 1
    if at < 0:
        return Position(there[0], 0, 0) if there else _end_of(end)
    number = there[at]
    record = _in_segment(channel, number, time_us, end)
    if record is not None:
        return Position(number, record, 0)
    return Position(there[at + 1], 0, 0) if at + 1 < len(there) else _end_of(end)


def extent_until(channel: Channel, time_us: int) -> Extent:
    """How far the channel reached when `time_us` was over."""
    end = channel.extent
    after = first_since(channel, time_us + 1, end)
    if (after.segment, after.record) >= (end.segment, end.records):
        return end
    try:
        with _Index(channel, after.segment, end) as index:
            row = index.row(after.record)
    except FileNotFoundError:
        row = None
    return Extent(after.segment, after.record, row[1] if row else 0)


def _end_of(end: Extent) -> Position:
    return Position(end.segment, end.records, 0)


class _Lazy:
    """What `bisect` looks at, made when it looks."""

    def __init__(self, size: int, get: Callable[[int], int]) -> None:
        self._size = size
        self._get = get

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, at: int) -> int:
        return self._get(at)


class _Index:
    """One segment's index file, open for single looks."""

    def __init__(self, channel: Channel, number: int, end: Extent) -> None:
        self._fd = os.open(index_path(channel.directory, number), os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(self._fd).st_size // entry.SIZE - 1
        extent = end if end.segment == number else channel.extent_of(number)
        self.records = max(0, min(size, extent.records) if extent else size)

    def __enter__(self) -> _Index:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def row(self, at: int) -> entry.Entry | None:
        """The first sound entry at `at` or soon behind it."""
        count = min(_LOOK_ON, self.records - at)
        for number in range(at, at + count):
            data = files.read_at(self._fd, entry.SIZE, (number + 1) * entry.SIZE)
            if len(data) == entry.SIZE and entry.sound(data):
                return entry.unpack(data)
        return None


def _time_of_first(channel: Channel, number: int, end: Extent) -> int | None:
    try:
        with _Index(channel, number, end) as index:
            row = index.row(0)
    except FileNotFoundError:
        return None
    return row.time_us if row else None


def _in_segment(channel: Channel, number: int, time_us: int, end: Extent) -> int | None:
    """The first record of a segment at that time or later; None when all are earlier."""
    try:
        with _Index(channel, number, end) as index:

            def time_of(at: int) -> int:
                row = index.row(at)
                return row.time_us if row else _AFTER_ALL

            at = bisect_left(_Lazy(index.records, time_of), time_us)
            return at if at < index.records else None
    except FileNotFoundError:
        return None
