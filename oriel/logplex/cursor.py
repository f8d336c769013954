"""Owns a reader's place in a channel, and turning records into whole lines from there on.

Reading on from a position neither leaves a gap nor repeats. Must not know sockets, filters'
grammar, or how lines are shown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import compress
from operator import itemgetter, sub

from oriel.logplex import entry
from oriel.logplex.channel import Channel
from oriel.logplex.gone import Skipped
from oriel.logplex.joiner import LINE_BYTES, NOTHING, Carry, Joiner
from oriel.logplex.lookback import Pause, carry_before
from oriel.logplex.parts import FIRST, Block, Part, Position, Run
from oriel.logplex.segment import Extent
from oriel.logplex.sieve import Sieve
from oriel.logplex.view import Page, View

__all__ = ["FIRST", "Block", "Cursor", "Part", "Position", "Run"]

SLICE_BYTES = 64 * 1024
"""What one step reads: it bounds how long a step holds up the loop."""
SEARCH_BYTES = 256 * 1024
"""The same where most of it is only searched."""

_NEWLINE = 10
_ENTRIES_MIN = 16
_ENTRIES_MAX = 4096
_SKIPPED_MAX = 1 << 24
"""A damaged entry may claim any size; one beyond this is not believed."""


class Cursor:
    """A place in a channel that moves forward."""

    def __init__(
        self,
        channel: Channel,
        position: Position,
        wants: Callable[[int], bool] | None,
        pause: Pause,
        sieve: Sieve | None = None,
        view: View | None = None,
    ) -> None:
        """`wants` says which sources are read; None is all. `sieve` keeps some of their lines.

        `pause` lets others have a turn. A `view` that is given stays its owner's.
        """
        self._channel = channel
        self._wants = wants
        self._sieve = sieve
        self._pause = pause
        self._joiner = Joiner()
        self._view: View | None = view
        self._borrowed = view
        self._slice_bytes = SLICE_BYTES
        self._guess = _ENTRIES_MIN if sieve is None else _ENTRIES_MAX
        if sieve and sieve.looks_at_text:
            self._slice_bytes = SEARCH_BYTES
        self._wanted: dict[int, bool] = {}
        self._met: set[int] = set()
        self._skipped = 0
        self._lost = Skipped()
        self._times: dict[int, int] = {}
        self._damaged: set[int] = set()
        self.position = position if view else self._clamped(position)

    async def step(self, end: Extent) -> list[Part]:
        """Read one slice towards `end`; gives what it had, which may be nothing yet."""
        view = self._opened(end)
        if view is None:
            return []
        at, byte = self.position.record, self.position.byte
        records, size = self._reach(view, end)
        page = view.page(at, min(self._guess + 1, records - at)) if at < records else None
        if not page:
            self._move_on(end)
            return []
        stops = page.offsets[1:]
        if at + len(page) >= records:
            stops.append(size)
        if not view.trusted:
            readable = _readable(page, stops, size)
            if not readable:
                self._skip_damaged(page, stops)
                return []
            page, stops = page.part(0, readable), stops[:readable]
        lead = self._unwanted_lead(page, len(stops))
        if lead:
            self._grow_guess(lead)
            self.position = Position(view.number, at + lead, 0)
            if lead == len(stops):
                return []
            page, stops, byte = page.part(lead, len(page)), stops[lead:], 0
        return await self._slice(view, page, stops, byte)

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

    def take_lost(self) -> Skipped:
        """What retention took from us since this was asked last."""
        lost, self._lost = self._lost, Skipped()
        return lost

    def close(self) -> None:
        """Close the files."""
        if self._view and self._view is not self._borrowed:
            self._view.close()
        self._view = None

    async def _slice(self, view: View, page: Page, stops: list[int], byte: int) -> list[Part]:
        start = page.offsets[0] + byte
        count = 1 if byte else max(1, bisect_right(stops, start + self._slice_bytes))
        stop = stops[count - 1]
        if count == 1:
            stop = min(stop, start + self._slice_bytes)
        data = view.read(start, stop)
        if len(data) < stop - start:
            if count == 1 or start + len(data) < stops[0]:
                self._skip_damaged(page, stops)
                return []
            # The file was cut; this record is still there.
            count, stop = 1, stops[0]
            data = data[: stop - start]
        if stop < stops[0] and page.kinds[0] in entry.WHOLE:
            # Frames are never joined: the slice ends with a frame.
            data = data[: data.rfind(b"\n") + 1] or view.read(start, stops[0])
            stop = start + len(data)
        hits = self._hits(data)
        # Only what is going to be shown need be looked at for damage.
        if hits != [] and not view.sound(start, stop):
            if count == 1 or not view.sound(start, stops[0]):
                self._skip_damaged(page, stops)
                return []
            count, stop = 1, stops[0]
            data = data[: stop - start]
            hits = self._hits(data)
        self._grow_guess(count)
        page, stops, whole = page.part(0, count), stops[:count], stop >= stops[count - 1]
        await self._know_carries(view, page, byte)
        parts = await self._parts(page, stops, data, byte, hits)
        here = self.position
        if whole:
            self.position = Position(here.segment, here.record + count, 0)
        else:
            self.position = Position(here.segment, here.record, byte + len(data))
        return parts

    def _hits(self, data: bytes) -> list[int] | None:
        """Where the sieve may keep something of a slice; None: anywhere."""
        hits = self._sieve.rough_hits(data) if self._sieve else None
        return None if hits is None else list(hits)

    async def _parts(
        self, page: Page, stops: list[int], data: bytes, byte: int, hits: list[int] | None
    ) -> list[Part]:
        sieve = self._sieve
        if sieve is None:
            run = self._run(page, stops, data, byte)
            return run or [*self._blocks(page, stops, data, byte)]
        kept: list[Part] = []
        for block in self._candidates(page, stops, data, byte, hits):
            kept += await _sifted(sieve, block)
        return kept

    def _candidates(
        self, page: Page, stops: list[int], data: bytes, byte: int, hits: list[int] | None
    ) -> list[Block]:
        """What may be kept. Where no line crosses a record, only records with a hit are looked
        at."""
        if hits is None or byte or not self._uncrossed(page, stops, data):
            return self._blocks(page, stops, data, byte)
        blocks: list[Block] = []
        base = page.offsets[0]
        done = -1
        for hit in hits:
            at = bisect_right(stops, base + hit)
            if at > done:
                done = at
                one = data[page.offsets[at] - base : stops[at] - base]
                blocks += self._blocks(page.part(at, at + 1), [stops[at]], one, 0, at)
        return blocks

    def _uncrossed(self, page: Page, stops: list[int], data: bytes) -> bool:
        """Whether each record is whole lines."""
        carries = self._joiner.carries
        for source in set(page.sources):
            if self._wanted[source] and carries[source] is not NOTHING:
                return False
        return _all_end_lines(page, stops, data)

    def _run(self, page: Page, stops: list[int], data: bytes, byte: int) -> list[Part]:
        """The slice as one run, if each of its records is one whole line."""
        count = len(page)
        if byte or count < 2 or not data.endswith(b"\n"):
            return []
        if page.kinds.count(entry.STREAM) != count:
            return []
        if max(map(sub, stops, page.offsets)) > LINE_BYTES:
            return []
        carries = self._joiner.carries
        sources = set(page.sources)
        unwanted = False
        for source in sources:
            if not self._wanted[source]:
                unwanted = True
            elif carries[source] is not NOTHING:
                return []
        lines = data.split(b"\n")
        if len(lines) != count + 1 or not _all_end_lines(page, stops, data):
            return []
        here = self.position
        records = range(here.record, here.record + count)
        if not unwanted:
            return [
                Run(page.times, page.sources, lines, data, here.segment, records, page, here.record)
            ]
        chosen = [self._wanted[source] for source in page.sources]
        return [
            Run(
                list(compress(page.times, chosen)),
                list(compress(page.sources, chosen)),
                list(compress(lines, chosen)),
                data,
                here.segment,
                list(compress(records, chosen)),
                page,
                here.record,
            )
        ]

    def _blocks(
        self, page: Page, stops: list[int], data: bytes, byte: int, skipped: int = 0
    ) -> list[Block]:
        """The slice's lines; `skipped` records of the position's come before it."""
        parts: list[Block] = []
        base = page.offsets[0] + byte
        segment, first = self.position.segment, self.position.record + skipped
        for at, source in enumerate(page.sources):
            if not self._wanted[source]:
                continue
            began = byte if at == 0 else 0
            chunk = data[page.offsets[at] + began - base : stops[at] - base]
            if not chunk:
                # We stand at the very end of the record.
                continue
            time_us, release, kind = page.times[at], page.releases[at], page.kinds[at]
            if kind in entry.WHOLE:
                fed = [(chunk if chunk.endswith(b"\n") else chunk + b"\n", len(chunk))]
            else:
                if self._damaged and (first + at - page.back(at)) in self._damaged:
                    self._joiner.carries[source] = NOTHING
                fed = self._joiner.feed(source, chunk)
                self._times[source] = time_us
            for text, end in fed:
                parts.append(
                    Block(time_us, source, release, kind, text, segment, first + at, began + end)
                )
        return parts

    async def _know_carries(self, view: View, page: Page, byte: int) -> None:
        """Before a source's first record that we read: how its line began."""
        new = set(page.sources) - self._met
        if not new:
            return
        carries = self._joiner.carries
        first = self.position.record
        for source in new:
            self._met.add(source)
            if not self._is_wanted(source):
                continue
            at = page.sources.index(source)
            if page.kinds[at] in entry.WHOLE or (
                page.flags(at) & entry.FIRST and not (byte and at == 0)
            ):
                carries[source] = NOTHING
            elif byte and at == 0:
                before = page.offsets[0] + byte
                newline = view.read(before - 1, before) == b"\n"
                carries[source] = NOTHING if newline else Carry(b"", cut=True)
            else:
                previous = first + at - page.back(at) if page.back(at) else None
                carries[source] = await carry_before(
                    self._channel, view, source, previous, self._pause
                )

    def _unwanted_lead(self, page: Page, count: int) -> int:
        """How many records at the beginning nobody wants: their bytes are not even read."""
        release = self._sieve.release if self._sieve else 0
        if not release:
            if self._wants is None or self._is_wanted(page.sources[0]):
                return 0
            wanted = {source for source in set(page.sources) if self._is_wanted(source)}
            sources = enumerate(page.sources[:count])
            return next((at for at, source in sources if source in wanted), count)
        for at in range(count):
            if page.releases[at] == release and self._is_wanted(page.sources[at]):
                return at
        return count

    def _is_wanted(self, source: int) -> bool:
        known = self._wanted.get(source)
        if known is None:
            known = self._wanted[source] = self._wants is None or self._wants(source)
        return known

    def _grow_guess(self, count: int) -> None:
        """The next page has about as many entries as this step could use."""
        self._guess = min(_ENTRIES_MAX, max(_ENTRIES_MIN, 2 * count))

    def _skip_damaged(self, page: Page, stops: list[int]) -> None:
        """Step over a record that cannot be read: its ends are not known, or its bytes are gone."""
        here = self.position
        size = (stops[0] if stops else 0) - page.offsets[0]
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
            told = self._lost
            self._move_on(end)
            if self.position == here:
                self.position = Position(end.segment, end.records, 0)
            self._lost = told
            self._lost = self._missed(here, max(self.position.segment, here.segment + 1))
        return self._view

    def _missed(self, place: Position, before: int) -> Skipped:
        """What retention removed from a place up to a segment, with what is not told yet."""
        new = self._channel.gone.since(
            (place.segment, place.record, place.byte), before, self._wants
        )
        old = self._lost
        return Skipped(
            old.lines + new.lines,
            old.bytes + new.bytes,
            old.first_us or new.first_us,
            new.last_us or old.last_us,
            old.exact and new.exact,
        )

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
                break
        else:
            self.position = Position(end.segment, 0, 0)
        if self.position.segment > here.segment + 1:
            self._lost = self._missed(Position(here.segment + 1, 0, 0), self.position.segment)

    def _clamped(self, position: Position) -> Position:
        """A position from outside, moved to where something can be read."""
        end = self._channel.extent
        there = self._channel.segments()
        if there and position.segment < there[0]:
            if position.segment:
                # It was given to a reader once.
                self._lost = self._missed(position, there[0])
            return Position(there[0], 0, 0)
        return min(position, Position(end.segment, end.records, 0))


def _readable(page: Page, stops: list[int], size: int) -> int:
    """How many of the first records have both their ends known, and their bytes there."""
    bad = entry.unsound(page.packed)
    count = min(len(stops), max(0, bad[0] - 1)) if bad else len(stops)
    for at in range(count):
        if not page.offsets[at] <= stops[at] <= size:
            return at
    return count


def _all_end_lines(page: Page, stops: list[int], data: bytes) -> bool:
    """Whether each record of a slice ends with a newline."""
    if not data.endswith(b"\n"):
        return False
    if len(stops) < 2:
        return True
    shift = page.offsets[0] + 1
    ends: tuple[int, ...] = itemgetter(*[stop - shift for stop in stops])(data)
    return ends.count(_NEWLINE) == len(stops)


async def _sifted(sieve: Sieve, block: Block) -> list[Block]:
    """A block's lines that are kept, each as a block of its own."""
    if sieve.release and block.release != sieve.release:
        return []
    size = len(block.text)
    spans = await sieve.kept(block.text, block.kind)
    if spans == [(0, size)]:
        return [block]
    return [
        Block(
            block.time_us,
            block.source,
            block.release,
            block.kind,
            block.text[start:stop],
            block.segment,
            block.record,
            block.end - (size - stop),
        )
        for start, stop in spans
    ]
