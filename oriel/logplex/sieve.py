"""Owns keeping, of a channel's lines, those that hold what a reader looks for.

What is looked at is a line's text as it was said, without its header. Must not know files or how
lines are shown. A text is found at the speed of memory; a pattern is tried in a process of its
own (`matcher`), so that no pattern can hold anybody up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from oriel.logplex import entry, frame

PIECE_BYTES_MAX = 1024 * 1024
_BETWEEN = b" connect="
"""Behind a router line's `dyno=`, from which an instance is cut when it is shown."""


class Patterns(Protocol):
    """Says which lines match."""

    async def matching(self, lines: list[bytes]) -> list[bool]:
        """For each line whether it does. Raises Invalid when the pattern takes too long."""
        ...


class Sieve:
    """What a reader looks for: a text, a pattern, a release, or several of these."""

    def __init__(
        self, needle: bytes = b"", patterns: Patterns | None = None, release: int = 0
    ) -> None:
        """Nothing given keeps everything."""
        self.needle = needle
        self.patterns = patterns
        self.release = release
        self._rough = _rough(needle)

    @property
    def looks_at_text(self) -> bool:
        """Whether a line's text decides."""
        return bool(self.needle or self.patterns)

    def rough_hits(self, data: bytes) -> Iterator[int] | None:
        """Where in raw bytes a line that may be kept has a byte; None when that can't be said."""
        if not self._rough:
            return None
        return _hits(data, self._rough)

    async def kept(self, text: bytes, kind: int) -> list[tuple[int, int]]:
        """The lines of `text` that are kept: where each begins, and ends behind its newline."""
        if not self.looks_at_text:
            return [(0, len(text))]
        spans = list(_spans(text, self._rough)) if self._rough else list(_all_spans(text))
        if not spans:
            return []
        lines = [_said(text[start : stop - 1], kind) for start, stop in spans]
        if self.needle and (kind in entry.WHOLE or self._rough != self.needle):
            chosen = [self.needle in line for line in lines]
            spans = [each for each, keep in zip(spans, chosen, strict=True) if keep]
            lines = [each for each, keep in zip(lines, chosen, strict=True) if keep]
        if self.patterns and lines:
            chosen = await self.patterns.matching(lines)
            spans = [each for each, keep in zip(spans, chosen, strict=True) if keep]
        return spans


def _said(line: bytes, kind: int) -> bytes:
    return frame.shown(line, kind == entry.FRAMES) if kind in entry.WHOLE else line


def _rough(needle: bytes) -> bytes:
    """What raw bytes hold wherever the shown text holds the needle."""
    crosses = _BETWEEN in needle or any(
        needle.endswith(_BETWEEN[:size]) for size in range(1, len(_BETWEEN))
    )
    return max(needle.split(b" "), key=len) if crosses else needle


def _hits(data: bytes, needle: bytes) -> Iterator[int]:
    """One place in each line that holds the needle."""
    at = data.find(needle)
    while at >= 0:
        yield at
        at = data.find(b"\n", at)
        at = data.find(needle, at) if at >= 0 else at


def _spans(text: bytes, needle: bytes) -> Iterator[tuple[int, int]]:
    for at in _hits(text, needle):
        stop = text.find(b"\n", at) + 1
        yield text.rfind(b"\n", 0, at) + 1, stop or len(text)


def _all_spans(text: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        stop = text.find(b"\n", start) + 1 or len(text)
        yield start, stop
        start = stop
