"""Owns finding where the last N lines begin, from the end backwards. Must not render.

Filter first, count afterwards. Manifests are asked first, so that segments without a wanted
source, and those that are wanted whole, are not opened at all.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from oriel.logplex import entry
from oriel.logplex.channel import Channel
from oriel.logplex.cursor import Position
from oriel.logplex.lookback import Pause
from oriel.logplex.segment import Extent
from oriel.logplex.view import PAGE_ENTRIES, View

_SPAN_BYTES = 256 * 1024
_PAUSE_RECORDS = 64


async def start_of_last(
    channel: Channel,
    end: Extent,
    lines: int,
    wants: Callable[[int], bool] | None,
    pause: Pause,
) -> Position:
    """Where to read from so that `lines` lines of wanted sources end before `end`."""
    need = lines
    if need <= 0:
        return Position(end.segment, end.records, 0)
    position = Position(end.segment, end.records, 0)
    for number in reversed([each for each in channel.segments() if each <= end.segment]):
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
    return position


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
        while stop_at > 0 and self.need > 0:
            first = max(0, stop_at - PAGE_ENTRIES)
            offsets = [
                each[1] for each in entry.unpack_all(self._view.entries(first, stop_at - first))
            ]
            while offsets and self.need > 0:
                # As many records as a span takes, at least one.
                low = len(offsets) - 1
                while low > 0 and stop - offsets[low - 1] <= _SPAN_BYTES:
                    low -= 1
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
