"""Owns tables and lists as text: columns, rules, cutting with `..`. Pure but for `emit`.

Widths are counted in terminal cells: a wide character takes two, an accent none. Must not know
what is in a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oriel.cli import terminal

GAP = "  "
DOTS = ".."


class Column:
    """A column: how wide, how long its rule, and how far it may give way on a narrow screen."""

    __slots__ = ("least", "most", "rule", "title", "width")

    def __init__(self, title: str, width: int, rule: int, *, most: int = 0, least: int = 0) -> None:
        """Cells are padded to `width` and cut at `most` (default: `width`)."""
        self.title = title
        self.width = width
        self.rule = rule
        self.most = most or width
        self.least = least or self.most


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None = None
) -> list[str]:
    """The lines of a table: titles, rules, rows; no line longer than `width`."""
    cells = [[terminal.shown(cell) for cell in row] for row in rows]
    limits = _limits(columns, cells, width)
    widths = [
        min(limit, max([column.width, *(cells_of(row[place]) for row in cells)]))
        for place, (column, limit) in enumerate(zip(columns, limits, strict=True))
    ]
    rules = [
        "-" * _rule(column, size, last=column is columns[-1])
        for column, size in zip(columns, widths, strict=True)
    ]
    lines = [[column.title for column in columns], rules, *cells]
    return [_line(line, widths, width) for line in lines]


def fields(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """`Change:      Deploy d706b4a` lines, as under `=== Release v76`."""
    return [f"{label + ':':<12} {terminal.shown(value)}".rstrip() for label, value in pairs]


def assignments(values: Mapping[str, str], indent: str = "") -> list[str]:
    """`FOO => baz` lines, the arrows below each other."""
    most = max(map(len, values), default=0)
    return [
        f"{indent}{key:<{most}} => {terminal.shown(value, keep=chr(10) + chr(9))}"
        for key, value in sorted(values.items())
    ]


def cells_of(text: str) -> int:
    """How many terminal cells the text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(each) for each in text)


def cut(text: str, most: int) -> str:
    """The text if it fits into `most` cells, else its beginning and `..`."""
    if cells_of(text) <= most:
        return text
    room = most - len(DOTS)
    if room < 0:
        return DOTS[:most]
    taken = 0
    for place, each in enumerate(text):
        taken += _cells(each)
        if taken > room:
            return text[:place] + DOTS
    return text


def emit(lines: Iterable[str]) -> None:
    """Print the lines of a result."""
    text = "\n".join(lines)
    if text:
        print(text)


def emit_json(value: Any) -> None:
    """Print a value as JSON: escaped beyond ASCII, so that any terminal and locale can take it."""
    print(json.dumps(value, indent=2))


def _cells(character: str) -> int:
    if character.isascii():
        return 1
    # Only now: a table of plain text never pays for it.
    import unicodedata

    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    # Characters of ambiguous width take one cell everywhere but in old East Asian fonts.
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _limits(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None
) -> list[int]:
    """How many cells each column may take: `most`, less where the screen is narrow."""
    limits = [column.most for column in columns]
    if width is None:
        return limits
    wanted = [
        min(column.most, max([column.width, *(cells_of(row[place]) for row in cells)]))
        for place, column in enumerate(columns)
    ]
    # What the last column does not fill, it does not take.
    last = len(columns) - 1
    filled = max([len(columns[last].title), *(cells_of(row[last]) for row in cells)], default=0)
    wanted[last] = min(wanted[last], max(filled, columns[last].rule))
    over = sum(wanted) + len(GAP) * last - width
    for place in sorted(range(len(columns)), key=lambda each: columns[each].least - wanted[each]):
        if over <= 0:
            break
        given = min(over, max(0, wanted[place] - columns[place].least))
        limits[place] = wanted[place] - given
        over -= given
    return limits


def _rule(column: Column, size: int, *, last: bool) -> int:
    # A rule as long as its column grows with it; a shorter one, or the last, stays as it is.
    grows = column.rule == column.width and not last
    return size if grows else min(size, column.rule)


def _line(cells: Sequence[str], widths: Sequence[int], most: int | None) -> str:
    placed = [
        each + " " * (size - cells_of(each))
        for each, size in zip(
            (cut(*pair) for pair in zip(cells, widths, strict=True)), widths, strict=True
        )
    ]
    line = GAP.join(placed).rstrip()
    return line if most is None else cut(line, most)
