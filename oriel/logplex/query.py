"""Owns what a reader asks for, and which sources that is. Pure; knows no files.

Filters mean what Heroku's mean (heroku-facts A2): `web` is `web` and every `web.N`; a source is
matched exactly; both must match. Filtering comes first and counting afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oriel import faults

LINES_MAX = 10_000_000
FILTERS_MAX = 100
FORMATS = ("text", "json")
GREP_MAX = 500


@dataclass(frozen=True, slots=True)
class Query:
    """Which lines, and in which form.

    With `after`, a position, it is every line after that; else the last `lines`, all when None.
    """

    lines: int | None = 100
    tail: bool = False
    after: str | None = None
    sources: tuple[str, ...] = field(default=())
    ps: tuple[str, ...] = field(default=())
    format: str = "text"
    since_us: int = 0
    """Nothing that was said before this; microseconds since 1970."""
    until_us: int | None = None
    """Nothing that was said after this."""
    grep: str = ""
    """Only lines that hold this text; with `regex`, in which this pattern is found."""
    regex: bool = False
    release: int = 0
    """Only lines of this release; 0 is any."""
    raw: bool = False
    """Control characters as they are, in text."""

    def wants(self, source: str, ps: str) -> bool:
        """Whether a line of that source and process passes the filters."""
        if self.sources and source not in self.sources:
            return False
        return not self.ps or any(ps == want or ps.startswith(want + ".") for want in self.ps)

    @property
    def filters(self) -> bool:
        """Whether sources are filtered."""
        return bool(self.sources or self.ps)

    @property
    def sifts(self) -> bool:
        """Whether lines of a wanted source are filtered too."""
        return bool(self.grep or self.release)


def from_request(value: Mapping[str, Any]) -> Query:
    """The query in a request; raises Invalid."""
    lines = value.get("lines", 100)
    if lines is not None and (type(lines) is not int or not 0 <= lines <= LINES_MAX):
        raise faults.Invalid(f"Number of lines {lines!r} is not allowed: use 0 to {LINES_MAX}.")
    after = value.get("after")
    if after is not None and not isinstance(after, str):
        raise faults.Invalid("A position is a text.")
    form = value.get("format", "text")
    if form not in FORMATS:
        raise faults.Invalid(f"Log format {str(form)[:20]!r} is not known: use text or json.")
    tail, until_us = bool(value.get("tail", False)), value.get("until_us")
    if tail and until_us is not None:
        raise faults.Invalid("A tail has no end: it goes on with each new line.")
    return Query(
        lines=lines,
        tail=tail,
        after=after,
        sources=_names(value.get("sources")),
        ps=_names(value.get("ps")),
        format=form,
        since_us=_number(value.get("since_us", 0)),
        until_us=None if until_us is None else _number(until_us),
        grep=_text(value.get("grep", "")),
        regex=bool(value.get("regex", False)),
        release=_number(value.get("release", 0)),
        raw=bool(value.get("raw", False)),
    )


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise faults.Invalid("Times and releases are numbers from 0 up.")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > GREP_MAX:
        raise faults.Invalid(f"What to search for is a text of at most {GREP_MAX} characters.")
    if "\n" in value:
        raise faults.Invalid("What to search for is a part of one line.")
    return value


def _names(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > FILTERS_MAX:
        raise faults.Invalid(f"A filter is a list of at most {FILTERS_MAX} names.")
    if not all(isinstance(each, str) and len(each) <= 200 for each in value):
        raise faults.Invalid("A filter is a list of names.")
    return tuple(value)
