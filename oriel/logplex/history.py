"""Owns finding where the last N lines begin, from the end backwards. Must not render.

Filter first, count afterwards. Manifests are asked first, so that segments without a wanted
source, and those that are wanted whole, are not opened at all.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable

from oriel.logplex.channel import Channel
from oriel.logplex.cursor import FIRST, Block, Cursor, Position
from oriel.logplex.lookback import Pause
from oriel.logplex.segment import Extent
from oriel.logplex.sieve import Sieve
from oriel.logplex.view import PAGE_ENTRIES, View

_SPAN_BYTES = 256 * 1024
_SEARCH_ENTRIES = 4096
_SEARCH_BYTES = 1024 * 1024
_PAUSE_RECORDS = 64


async def start_of_last(
    channel: Channel,
    end: Extent,
    lines: int,
    wants: Callable[[int], bool] | None,
    pause: Pause,
    floor: Position = FIRST,
) -> Position:
    """Where to read from so that `lines` lines of wanted sources end before `end`.

    Never before `floor`.
    """
    need = lines
    if need <= 0:
        return Position(end.segment, end.records, 0)
    position = Position(end.segment, end.records, 0)
    there = [each for each in channel.segments() if floor.segment <= each <= end.segment]
    for number in reversed(there):
        wanted = _wanted_in(channel, number, wants)
        if not wanted:
            continue
        seal = channel.seal_of(number)
        if seal and not seal.damaged and seal.lines(wanted) < need:
            need -= seal.lines(wanted)
            position = Position(number, 0, 0)
            continue
        try:
            view = View(channel, number)
        except FileNotFoundError:
            break
        try:
            reach = (end.records, end.size) if number == end.segment else view.reach()
            finder = _Finder(view, need, pause)
            if wants is None:
                await finder.walk_all(*reach)
            else:
                await finder.walk_chains(channel.last_of(number), wanted, *reach)
        finally:
            view.close()
        need = finder.need
        position = finder.position or position
        if need <= 0:
            break
        await pause()
    return max(position, floor)


async def start_of_last_kept(
    channel: Channel,
    floor: Position,
    end: Extent,
    lines: int,
    wants: Callable[[int], bool] | None,
    sieve: Sieve,
    pause: Pause,
) -> Position:
    """The same for lines that a sieve keeps; nothing before `floor` is looked at."""
    need = lines
    position = Position(end.segment, end.records, 0)
    if need <= 0:
        return position
    there = [each for each in channel.segments() if floor.segment <= each <= end.segment]
    for number in reversed(there):
        if not _wanted_in(channel, number, wants):
            continue
        try:
            view = View(channel, number)
        except FileNotFoundError:
            break
        try:
            stop_at, stop = (end.records, end.size) if number == end.segment else view.reach()
            lowest = floor.record if number == floor.segment else 0
            while stop_at > lowest:
                first, start = _span_before(view, stop_at, stop, lowest)
                ends = await _kept_ends(
                    Cursor(channel, Position(number, first, 0), wants, pause, sieve, view),
                    Extent(number, stop_at, stop),
                    pause,
                )
                if len(ends) > need:
                    return ends[-need - 1]
                need -= len(ends)
                position = Position(number, first, 0) if ends else position
                if need == 0:
                    return position
                stop_at, stop = first, start
        finally:
            view.close()
    return max(position, floor)


def _span_before(view: View, stop_at: int, stop: int, lowest: int) -> tuple[int, int]:
    """The records that are searched at once, up to `stop_at`: the first of them, its offset."""
    first = max(lowest, stop_at - _SEARCH_ENTRIES)
    page = view.page(first, stop_at - first)
    offsets = page.offsets if page else [stop]
    if not view.trusted:
        return first, offsets[0]
    at = min(len(offsets) - 1, bisect_left(offsets, stop - _SEARCH_BYTES))
    return first + at, offsets[at]


async def _kept_ends(cursor: Cursor, end: Extent, pause: Pause) -> list[Position]:
    """Where each line ends that is kept, up to `end`."""
    ends: list[Position] = []
    while not cursor.at_end(end):
        for part in await cursor.step(end):
            blocks = [part] if isinstance(part, Block) else part.blocks()
            for block in blocks:
                ends += block.ends()
        await pause()
    cursor.close()
    return ends


def _wanted_in(
    channel: Channel, number: int, wants: Callable[[int], bool] | None
) -> set[int] | None:
    there = channel.last_of(number)
    return {each for each in there if wants is None or wants(each)}


class _Finder:
    """The walk back through one segment."""

    def __init__(self, view: View, need: int, pause: Pause) -> None:
        self.need = need
        self.position: Position | None = None
        self._view = view
        self._pause = pause

    async def walk_all(self, records: int, size: int) -> None:
        """All sources: in spans, counting newlines."""
        if not self._view.trusted:
            await self._walk_each(records)
            return
        stop_at, stop = records, size
        entries = PAGE_ENTRIES
        while stop_at > 0 and self.need > 0:
            first = max(0, stop_at - entries)
            # For many lines in large pages: the first page is often enough.
            entries = _SEARCH_ENTRIES
            page = self._view.page(first, stop_at - first)
            offsets = page.offsets if page else []
            while offsets and self.need > 0:
                # As many records as a span takes, at least one.
                low = min(len(offsets) - 1, bisect_left(offsets, stop - _SPAN_BYTES))
                self._take_span(first + low, offsets[low:], stop)
                stop, offsets = offsets[low], offsets[:low]
                await self._pause()
            stop_at = first

    async def walk_chains(
        self, last: dict[int, int], wanted: set[int], records: int, size: int
    ) -> None:
        """Some sources: from record to record of each, the latest first."""
        heads = [-last[source] for source in wanted]
        heapq.heapify(heads)
        walked = 0
        while heads and self.need > 0:
            number = -heapq.heappop(heads)
            found = self._view.record(number)
            if found is None:
                continue
            own, stop = found
            if own.back:
                heapq.heappush(heads, own.back - number)
            if number < records:
                self._take_record(number, own.offset, min(stop, size))
            walked += 1
            if walked % _PAUSE_RECORDS == 0:
                await self._pause()

    async def _walk_each(self, records: int) -> None:
        """The slow way, where an entry may be damaged."""
        for number in range(records - 1, -1, -1):
            found = self._view.record(number)
            if found:
                self._take_record(number, found[0].offset, found[1])
            if self.need <= 0:
                return
            if number % _PAUSE_RECORDS == 0:
                await self._pause()

    def _take_span(self, first: int, offsets: list[int], stop: int) -> None:
        data = self._view.read(offsets[0], stop)
        count = data.count(b"\n")
        if count < self.need:
            self.need -= count
            self.position = Position(self._view.number, first, 0)
            return
        base = offsets[0]
        for at in range(len(offsets) - 1, -1, -1):
            self._take(first + at, data[offsets[at] - base : stop - base])
            stop = offsets[at]
            if self.need <= 0:
                return

    def _take_record(self, number: int, start: int, stop: int) -> None:
        self._take(number, self._view.read(start, stop))

    def _take(self, number: int, data: bytes) -> None:
        """Count a record's lines; where there are more than needed, begin after the others."""
        count = data.count(b"\n")
        if count < self.need:
            self.need -= count
            self.position = Position(self._view.number, number, 0)
            return
        at = len(data)
        for _ in range(self.need + 1):
            newline = data.rfind(b"\n", 0, at)
            if newline < 0:
                break
            at = newline
        else:
            self.need = 0
            self.position = Position(self._view.number, number, at + 1)
            return
        self.need = 0
        self.position = Position(self._view.number, number, 0)
