"""Owns what reading gives: places between lines, and lines with whose and when they are. Values.

A position is `<segment>.<record>.<byte>`: all that ended before that byte of that record has been
given. It never changes its meaning. Must not know files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from oriel import faults
from oriel.logplex import entry
from oriel.logplex.view import Page

_POSITION = re.compile(r"(\d{1,12})\.(\d{1,12})\.(\d{1,12})", re.ASCII)


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


FIRST = Position(0, 0, 0)
"""Before everything."""


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

    def lines(self) -> list[tuple[bytes, Position]]:
        """Its lines without their newlines, each with the position after it."""
        lines = self.text[:-1].split(b"\n")
        if len(lines) == 1:
            # It may be a piece of a long line, whose newline is ours.
            return [(lines[0], Position(self.segment, self.record, self.end))]
        ends = list(accumulate((len(line) + 1 for line in lines), initial=self.end))[1:]
        shift = ends[-1] - self.end
        return [
            (line, Position(self.segment, self.record, end - shift))
            for line, end in zip(lines, ends, strict=True)
        ]

    def ends(self) -> list[Position]:
        """The position after each of its lines."""
        return [position for _, position in self.lines()]


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one whole line each: the quick way. `text` is all of it, and may be more."""

    times: Sequence[int]
    sources: Sequence[int]
    lines: Sequence[bytes]
    """Without their newlines; what is behind the last line does not count."""
    text: bytes
    segment: int
    records: Sequence[int]
    page: Page
    first: int
    """The record with which `page` begins."""

    def blocks(self) -> list[Block]:
        """The same as blocks."""
        releases = self.page.releases
        rows = zip(self.times, self.sources, self.lines, self.records, strict=False)
        return [
            Block(
                time_us,
                source,
                releases[record - self.first],
                entry.STREAM,
                line + b"\n",
                self.segment,
                record,
                len(line) + 1,
            )
            for time_us, source, line, record in rows
        ]


Part = Block | Run
