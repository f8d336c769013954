"""Owns a reader's place in a channel, and turning records into whole lines from there on.

A position is `<segment>.<record>.<byte>`: all that ended before that byte of that record has been
given. It never changes its meaning, and reading on from it neither leaves a gap nor repeats.
Must not know sockets, filters' grammar, or how lines are shown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter, sub

from oriel import faults
from oriel.logplex import entry
from oriel.logplex.channel import Channel
from oriel.logplex.joiner import LINE_BYTES, NOTHING, Carry, Joiner
from oriel.logplex.lookback import Pause, carry_before
from oriel.logplex.segment import Extent
from oriel.logplex.view import PAGE_ENTRIES, View

SLICE_BYTES = 64 * 1024
"""What one step reads: it bounds how long a step holds up the loop."""

_POSITION = re.compile(r"(\d{1,12})\.(\d{1,12})\.(\d{1,12})", re.ASCII)
_NEWLINE = 10
_SOURCE = itemgetter(2)
_SKIPPED_MAX = 1 << 24
"""A damaged entry may claim any size; one beyond this is not believed."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two lines of a channel."""

    segment: int
    record: int
    byte: int

    @classmethod
    def parse(cls, text: str) -> Position:
        """A position as `str` gives it; raises Invalid."""
        match = _POSITION.fullmatch(text)
        if not match:
            raise faults.Invalid(f"{text[:40]!r} is not a position in a log channel.")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        """As readers keep it."""
        return f"{self.segment}.{self.record}.{self.byte}"


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that ended in one record. The last of them ends at byte `end` of it."""

    time_us: int
    source: int
    release: int
    kind: int
    text: bytes
    segment: int
    record: int
    end: int


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring records of one whole line each: the quick way. `text` is all of it."""

    times: tuple[int, ...]
    sources: tuple[int, ...]
    releases: tuple[int, ...]
    text: bytes
    lines: list[bytes]
    """`text` without its newlines, and an empty one at the end."""
    segment: int
    record: int

    def blocks(self) -> list[Block]:
        """The same as blocks."""
        return [
            Block(
                self.times[at],
                self.sources[at],
                self.releases[at],
                entry.STREAM,
                line + b"\n",
                self.segment,
                self.record + at,
                len(line) + 1,
            )
            for at, line in enumerate(self.lines[:-1])
        ]


Part = Block | Run
Entries = list[entry.Row]


class Cursor:
    """A place in a channel that moves forward."""

    def __init__(
        self,
        channel: Channel,
        position: Position,
        wants: Callable[[int], bool] | None,
        pause: Pause,
    ) -> None:
        """`wants` says which sources are read; None is all. `pause` lets others have a turn."""
        self._channel = channel
        self._wants = wants
        self._pause = pause
        self._joiner = Joiner()
        self._view: View | None = None
        self._wanted: dict[int, bool] = {}
        self._met: set[int] = set()
        self._skipped = 0
        self._times: dict[int, int] = {}
        self._damaged: set[int] = set()
        self.position = self._clamped(position)

    async def step(self, end: Extent) -> list[Part]:
        """Read one slice towards `end`; gives what it had, which may be nothing yet."""
        view = self._opened(end)
        if view is None:
            return []
        at, byte = self.position.record, self.position.byte
        records, size = self._reach(view, end)
        if at >= records:
            self._move_on(end)
            return []
        packed = view.entries(at, min(PAGE_ENTRIES + 1, records - at))
        entries = list(entry.unpack_all(packed))
        if not entries:
            self._move_on(end)
            return []
        stops = [each[1] for each in entries[1:]]
        if at + len(entries) >= records:
            stops.append(size)
        if not view.trusted:
            readable = _readable(packed, entries, stops, size)
            if not readable:
                self._skip_damaged(entries, stops)
                return []
            entries, stops = entries[:readable], stops[:readable]
        lead = self._unwanted_lead(entries[: len(stops)])
        if lead:
            self.position = Position(view.number, at + lead, 0)
            if lead == len(stops):
                return []
            entries, stops, byte = entries[lead:], stops[lead:], 0
        return await self._slice(view, entries, stops, byte)

    def at_end(self, end: Extent) -> bool:
        """Whether everything up to `end` has been read."""
        here = self.position
        return (here.segment, here.record) >= (end.segment, end.records)

    def unfinished(self) -> list[tuple[int, int, bytes]]:
        """Source, time and bytes of the lines, of sources seen, whose end has not come."""
        return [
            (key, self._times.get(key, 0), carry.text)
            for key, carry in self._joiner.carries.items()
            if carry.text
        ]

    def take_skipped(self) -> int:
        """How many bytes could not be read since this was asked last, as far as is known."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    def close(self) -> None:
        """Close the files."""
        if self._view:
            self._view.close()
            self._view = None

    async def _slice(self, view: View, entries: Entries, stops: list[int], byte: int) -> list[Part]:
        start = entries[0][1] + byte
        count = 1 if byte else max(1, bisect_right(stops, start + SLICE_BYTES))
        stop = stops[count - 1]
        if count == 1:
            stop = min(stop, start + SLICE_BYTES)
        data = view.read(start, stop)
        if len(data) < stop - start:
            self._skip_damaged(entries, stops)
            return []
        if stop < stops[0] and entries[0][4] in entry.WHOLE:
            # Frames are never joined: the slice ends with a frame.
            data = data[: data.rfind(b"\n") + 1] or view.read(start, stops[0])
            stop = start + len(data)
        entries = entries[:count]
        await self._know_carries(view, entries, byte)
        parts = self._run(entries, stops[:count], data, byte) or self._blocks(
            entries, stops, data, byte
        )
        here = self.position
        if stop < stops[count - 1]:
            self.position = Position(here.segment, here.record, byte + len(data))
        else:
            self.position = Position(here.segment, here.record + count, 0)
        return parts

    def _run(self, entries: Entries, stops: list[int], data: bytes, byte: int) -> list[Part]:
        """The slice as one run, if each of its records is one whole line of a wanted source."""
        count = len(entries)
        if byte or count < 2 or not data.endswith(b"\n"):
            return []
        times, offsets, sources, releases, kinds, *_ = zip(*entries, strict=True)
        if kinds.count(entry.STREAM) != count or max(map(sub, stops, offsets)) > LINE_BYTES:
            return []
        carries = self._joiner.carries
        for source in set(sources):
            if not self._wanted[source] or carries[source] is not NOTHING:
                return []
        shift = offsets[0] + 1
        ends = itemgetter(*[stop - shift for stop in stops])(data)
        if ends.count(_NEWLINE) != count:
            return []
        lines = data.split(b"\n")
        if len(lines) != count + 1:
            return []
        here = self.position
        return [Run(times, sources, releases, data, lines, here.segment, here.record)]

    def _blocks(self, entries: Entries, stops: list[int], data: bytes, byte: int) -> list[Part]:
        parts: list[Part] = []
        base = entries[0][1] + byte
        segment, first = self.position.segment, self.position.record
        for at, (time_us, offset, source, release, kind, _, _, back, _) in enumerate(entries):
            if not self._wanted[source]:
                continue
            began = byte if at == 0 else 0
            chunk = data[offset + began - base : stops[at] - base]
            if not chunk:
                # We stand at the very end of the record.
                continue
            if kind in entry.WHOLE:
                fed = [(chunk if chunk.endswith(b"\n") else chunk + b"\n", len(chunk))]
            else:
                if (first + at - back) in self._damaged:
                    self._joiner.carries[source] = NOTHING
                fed = self._joiner.feed(source, chunk)
                self._times[source] = time_us
            for text, end in fed:
                parts.append(
                    Block(time_us, source, release, kind, text, segment, first + at, began + end)
                )
        return parts

    async def _know_carries(self, view: View, entries: Entries, byte: int) -> None:
        """Before a source's first record that we read: how its line began."""
        if self._met.issuperset(map(_SOURCE, entries)):
            return
        carries = self._joiner.carries
        first = self.position.record
        for at, each in enumerate(entries):
            source = each[2]
            if source in self._met:
                continue
            self._met.add(source)
            if not self._is_wanted(source):
                continue
            if each[4] in entry.WHOLE or (each[5] & entry.FIRST and not (byte and at == 0)):
                carries[source] = NOTHING
            elif byte and at == 0:
                before = view.read(each[1] + byte - 1, each[1] + byte)
                carries[source] = NOTHING if before == b"\n" else Carry(b"", cut=True)
            else:
                previous = first + at - each[7] if each[7] else None
                carries[source] = await carry_before(
                    self._channel, view, source, previous, self._pause
                )

    def _unwanted_lead(self, entries: Entries) -> int:
        """How many records at the beginning nobody wants: their bytes are not even read."""
        if self._wants is None:
            return 0
        for at, each in enumerate(entries):
            if self._is_wanted(each[2]):
                return at
        return len(entries)

    def _is_wanted(self, source: int) -> bool:
        known = self._wanted.get(source)
        if known is None:
            known = self._wanted[source] = self._wants is None or self._wants(source)
        return known

    def _skip_damaged(self, entries: Entries, stops: list[int]) -> None:
        """Step over a record that cannot be read: its ends are not known, or its bytes are gone."""
        here = self.position
        size = (stops[0] if stops else 0) - entries[0][1]
        if 0 < size <= _SKIPPED_MAX:
            self._skipped += size
        self._damaged.add(here.record)
        self.position = Position(here.segment, here.record + 1, 0)

    def _opened(self, end: Extent) -> View | None:
        here = self.position
        if self._view and self._view.number == here.segment:
            return self._view
        self.close()
        try:
            self._view = View(self._channel, here.segment)
            self._damaged.clear()
        except FileNotFoundError:
            # Removed under us: what it held is gone.
            self._move_on(end)
        return self._view

    def _reach(self, view: View, end: Extent) -> tuple[int, int]:
        if view.number == end.segment:
            return end.records, end.size
        return view.reach()

    def _move_on(self, end: Extent) -> None:
        here = self.position
        if here.segment >= end.segment:
            return
        later = [each for each in self._channel.segments() if here.segment < each < end.segment]
        for number in later:
            if self._wants is None or any(map(self._is_wanted, self._channel.last_of(number))):
                self.position = Position(number, 0, 0)
                return
        self.position = Position(end.segment, 0, 0)

    def _clamped(self, position: Position) -> Position:
        """A position from outside, moved to where something can be read."""
        end = self._channel.extent
        there = self._channel.segments()
        if there and position.segment < there[0]:
            return Position(there[0], 0, 0)
        return min(position, Position(end.segment, end.records, 0))


def _readable(packed: bytes, entries: Entries, stops: list[int], size: int) -> int:
    """How many of the first records have both their ends known, and their bytes there."""
    bad = entry.unsound(packed)
    count = min(len(stops), max(0, bad[0] - 1)) if bad else len(stops)
    for at in range(count):
        if not entries[at][1] <= stops[at] <= size:
            return at
    return count
