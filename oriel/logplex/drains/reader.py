"""Owns reading a channel for a drain: from a position to batches of frames.

Whoever reads twice from one position to another gets the same frames, so that a batch can be said
again exactly, also by the next process. Must not know sockets or what became of a batch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

from oriel.logplex.channel import Channel
from oriel.logplex.cursor import Cursor, Position
from oriel.logplex.drains.wording import Wording, Words
from oriel.logplex.turns import Turns

_FEW = 64
"""Frames whose sizes are summed up together."""


@dataclass(slots=True)
class Batch:
    """Frames on their way, and the span of the channel that they say."""

    start: Position
    end: Position
    frames: list[bytes] = field(default_factory=list)
    """Without the newlines that end them."""
    newline: bytes = b"\n"
    size: int = 0
    """Bytes of the body."""
    told: int = 0
    """Lost lines that the first frame tells of."""

    @property
    def lines(self) -> int:
        """How many lines of the channel."""
        return len(self.frames) - bool(self.told)

    @property
    def body(self) -> bytes:
        """All frames, back to back."""
        return self.newline.join([*self.frames, b""])

    def lead(self, frame: bytes, told: int) -> None:
        """Put a frame in front that tells of lost lines."""
        self.frames.insert(0, frame)
        self.size += len(frame) + len(self.newline)
        self.told = told


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines that retention took before they were read."""

    lines: int
    since_us: int
    end: int
    """The segment that comes after it."""
    from_kept: bool
    """Whether it begins where the reader began."""


class Reader:
    """A drain's place in its channel."""

    def __init__(
        self, channel: Channel, position: Position, wording: Wording, turns: Turns
    ) -> None:
        """Nothing is opened yet."""
        self._channel = channel
        self._wording = wording
        self._turns = turns
        self._cursor: Cursor | None = None
        self._left: list[tuple[Words, int]] = []
        self.position = position
        self.gaps: list[Gap] = []

    @property
    def behind(self) -> bool:
        """Whether there may be something to read."""
        if self._left:
            return True
        end = self._channel.extent
        if self._cursor:
            return not self._cursor.at_end(end)
        here = self.position
        return (here.segment, here.record) < (end.segment, end.records)

    async def next(self, size: int, until: Position | None = None, *, cut: bool = True) -> Batch:
        """Frames of about `size` bytes, or exactly those up to `until`; empty at the end.

        Without `cut` it may be more, by as much as was read at once.
        """
        batch = Batch(self.position, self.position, newline=self._wording.newline)
        while not self._full(batch, size, until, cut):
            if not self._left and not await self._step():
                break
        self.position = batch.end
        return batch

    def close(self) -> None:
        """Close the files."""
        self._left.clear()
        if self._cursor:
            self._cursor.close()
            self._cursor = None

    def _full(self, batch: Batch, size: int, until: Position | None, cut: bool) -> bool:
        """Take what was read into the batch; whether that is enough."""
        while self._left:
            words, first = self._left[0]
            stop = len(words.frames)
            if until is not None:
                stop = _stop_at(words, first, until)
            elif cut:
                stop = _stop_after(words, first, size - batch.size, len(batch.newline))
            if stop > first:
                frames = words.frames[first:stop]
                batch.frames += frames
                batch.size += sum(map(len, frames)) + len(frames) * len(batch.newline)
                batch.end = words.end_of(stop - 1)
            if stop < len(words.frames):
                self._left[0] = (words, stop)
                return True
            self._left.pop(0)
            if until is None and batch.size >= size:
                return True
        return until is not None and batch.end >= until

    async def _step(self) -> bool:
        """Read one slice; False when there is nothing."""
        async with self._turns:
            end = self._channel.extent
            cursor = self._cursor or self._opened()
            if cursor.at_end(end):
                return False
            before = cursor.position
            parts = await cursor.step(end)
            now = cursor.position.segment
            if now > before.segment:
                # One at whose beginning it stood, and that it left without a word, may be gone.
                unread = not parts and before.record == 0 and before.byte == 0
                place = before if unread else Position(before.segment + 1, 0, 0)
                if place.segment < now:
                    self._lose(place, now, from_kept=False)
            for part in parts:
                words = self._wording.words(part)
                if words.frames:
                    self._left.append((words, 0))
        return True

    def _opened(self) -> Cursor:
        here = self.position
        there = self._channel.segments()
        if there and here.segment < there[0]:
            self._lose(here, there[0], from_kept=True)
        self._cursor = Cursor(self._channel, here, None, self._turns.pause)
        return self._cursor

    def _lose(self, place: Position, end: int, *, from_kept: bool) -> None:
        missed = self._channel.skipped(place.segment, place.record, place.byte)
        if missed.lines:
            self.gaps.append(Gap(missed.lines, missed.first_us, end, from_kept))


def _stop_at(words: Words, first: int, until: Position) -> int:
    """Behind the last frame that ends at `until` or before."""
    return bisect_right(range(first, len(words.frames)), until, key=words.end_of) + first


def _stop_after(words: Words, first: int, room: int, newline: int) -> int:
    """Behind the frame that fills the room; behind all of them when there is more."""
    size = 0
    for at in range(first, len(words.frames), _FEW):
        few = words.frames[at : at + _FEW]
        if size + sum(map(len, few)) + len(few) * newline <= room:
            size += sum(map(len, few)) + len(few) * newline
            continue
        ends = accumulate((len(each) + newline for each in few), initial=size)
        return at + bisect_left([*ends][1:], room) + 1
    return len(words.frames)
