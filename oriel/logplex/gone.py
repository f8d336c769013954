"""Owns the account of what retention removed from a channel: which lines are no longer there.

A row is written before its segment is removed, so that a removal that a kill cut short is finished
at the next start, and a reader that was overtaken can be told what it missed. Must not decide what
is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel.logplex import rows

ROWS_MAX = 1024
"""More are folded: what lies far back is known as a sum."""

Place = tuple[int, int, int]
"""Segment, record, byte: a position as plain numbers."""
Wants = Callable[[int], bool]
Tally = dict[int, tuple[int, int]]
"""By source: lines and bytes."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a reader missed because it was removed. False when that is nothing."""

    lines: int = 0
    bytes: int = 0
    first_us: int = 0
    last_us: int = 0
    exact: bool = True
    """False: the reader stood in the middle of what was removed, and nobody had counted from
    there; the numbers are then the most that it can be."""

    def __bool__(self) -> bool:
        """Whether anything was missed."""
        return bool(self.lines or self.bytes)


@dataclass(frozen=True, slots=True)
class Removed:
    """Some neighbouring segments that were removed, all at once or one after the other."""

    first: int
    last: int
    first_us: int
    last_us: int
    why: str
    sources: Tally
    beyond: Mapping[Place, Tally] = field(default_factory=dict)
    """For places that somebody stood at: what lay beyond them in the segment."""

    @property
    def lines(self) -> int:
        """All its lines."""
        return sum(each[0] for each in self.sources.values())

    @property
    def bytes(self) -> int:
        """All its data bytes."""
        return sum(each[1] for each in self.sources.values())


class Gone:
    """The account of one channel."""

    def __init__(self, path: Path) -> None:
        """Read it; the file is made with the first row."""
        self._path = path
        self.rows: list[Removed] = []
        for value in rows.load(path):
            try:
                self.rows.append(_from_json(value))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue

    @property
    def last(self) -> int:
        """The newest segment that was removed; 0 when none was."""
        return max((each.last for each in self.rows), default=0)

    def has(self, segment: int) -> bool:
        """Whether that segment was removed, or is about to be."""
        return any(each.first <= segment <= each.last for each in self.rows)

    def write(self, row: Removed) -> None:
        """Put a removal down, before it is done. May raise OSError. For a thread."""
        rows.append(self._path, _to_json(row))

    def know(self, row: Removed) -> None:
        """Take in a row that `write` has put down; folds old ones now and then."""
        self.rows.append(row)

    def fold(self) -> bool:
        """Whether there are so many rows that old ones were made one; then `save` is due."""
        if len(self.rows) <= ROWS_MAX:
            return False
        old, self.rows = self.rows[: ROWS_MAX // 2], self.rows[ROWS_MAX // 2 :]
        self.rows.insert(0, _folded(old))
        return True

    def save(self) -> None:
        """Write all rows anew. May raise OSError."""
        rows.replace(self._path, map(_to_json, self.rows))

    def since(self, place: Place, before: int, wants: Wants | None) -> Skipped:
        """What of wanted sources lay from `place` to segment `before`, and was removed."""
        lines = size = first_us = last_us = 0
        exact = True
        for row in self.rows:
            if row.last < place[0] or row.first >= before:
                continue
            tally: Tally = row.sources
            if row.first <= place[0] and place[1:] != (0, 0):
                exact = exact and place in row.beyond
                tally = row.beyond.get(place, tally)
            elif row.first < place[0]:
                exact = False
            chosen = [each for key, each in tally.items() if wants is None or wants(key)]
            lines += sum(each[0] for each in chosen)
            size += sum(each[1] for each in chosen)
            if chosen:
                first_us = min(first_us or row.first_us, row.first_us)
                last_us = max(last_us, row.last_us)
        return Skipped(lines, size, first_us, last_us, exact)


def _folded(old: list[Removed]) -> Removed:
    total: Tally = {}
    for row in old:
        for key, (lines, size) in row.sources.items():
            had = total.get(key, (0, 0))
            total[key] = (had[0] + lines, had[1] + size)
    return Removed(
        old[0].first,
        max(each.last for each in old),
        min(each.first_us for each in old),
        max(each.last_us for each in old),
        old[-1].why,
        total,
    )


def _to_json(row: Removed) -> dict[str, Any]:
    return {
        "first": row.first,
        "last": row.last,
        "first_us": row.first_us,
        "last_us": row.last_us,
        "why": row.why,
        "sources": {str(key): list(each) for key, each in row.sources.items()},
        "beyond": [
            [*place, {str(key): list(each) for key, each in tally.items()}]
            for place, tally in row.beyond.items()
        ],
    }


def _from_json(value: dict[str, Any]) -> Removed:
    return Removed(
        int(value["first"]),
        int(value["last"]),
        int(value["first_us"]),
        int(value["last_us"]),
        str(value["why"]),
        _tally(value["sources"]),
        {
            (int(segment), int(record), int(byte)): _tally(tally)
            for segment, record, byte, tally in value["beyond"]
        },
    )


def _tally(value: dict[str, Any]) -> Tally:
    return {int(key): (int(each[0]), int(each[1])) for key, each in value.items()}
