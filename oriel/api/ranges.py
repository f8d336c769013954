"""Owns Heroku's Range header: what part of a list is wanted, and where the next part begins.

The grammar is `FIELD [START]..[END]; max=N, order=asc|desc`: every part may be absent, an
exclusive START is written `]START`, and the header itself may be empty. Pure: no HTTP here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from oriel import faults

MAX_DEFAULT = 200
MAX_MOST = 1000
HEADER_MOST = 512

Order = Literal["asc", "desc"]
T = TypeVar("T")

_SHAPE = re.compile(
    r"(?P<field>[a-z_]{1,40})\s+(?P<start>\]?[^\s;,.\]\[]*(?:\.[^\s;,.\]\[]+)*)"
    r"\.\.(?P<end>[^\s;,\]\[]*)\s*(?P<options>(?:[;,].*)?)",
    re.ASCII,
)
_OPTION = re.compile(r"(?P<key>[a-z]+)\s*=\s*(?P<value>[^\s;,]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """What part of a list a client wants. `start` and `end` are texts, None when open."""

    field: str
    start: str | None = None
    exclusive: bool = False
    """Whether START itself is left out."""
    end: str | None = None
    max: int = MAX_DEFAULT
    order: Order = "asc"

    def __str__(self) -> str:
        """The header that says it."""
        start = ("]" if self.exclusive else "") + (self.start or "")
        return f"{self.field} {start}..{self.end or ''}; max={self.max}, order={self.order}"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, and the Range that asks for the next; None when this was the last."""

    items: Sequence[T]
    next: Range | None
    content: str
    """The Content-Range: first and last of the items."""


def parse(header: str | None, fields: Sequence[str], order: Order = "asc") -> Range:
    """The Range that a header says, `fields[0]` being the field where it says none.

    Raises BadRequest. A range of bytes is none of ours, and is passed over as HTTP allows.
    """
    text = (header or "").strip()
    if not text or text.startswith("bytes"):
        return Range(fields[0], order=order)
    found = _SHAPE.fullmatch(text) if len(text) <= HEADER_MOST else None
    if not found:
        raise _refused()
    if found["field"] not in fields:
        raise faults.BadRequest(
            f"This list cannot be ranged by {found['field']}: use {' or '.join(fields)}."
        )
    start = found["start"]
    exclusive = start.startswith("]")
    start = start.removeprefix("]")
    if exclusive and not start:
        raise _refused()
    count, direction = _options(found["options"], order)
    return Range(
        field=found["field"],
        start=start or None,
        exclusive=exclusive,
        end=found["end"] or None,
        max=count,
        order=direction,
    )


def page(
    items: Sequence[T], wanted: Range, keys: Mapping[str, Callable[[T], Any]], *, sort: bool = True
) -> Page[T]:
    """The part of a whole list that `wanted` asks for."""
    key = keys[wanted.field]
    down = wanted.order == "desc"
    ordered = sorted(items, key=key, reverse=down) if sort else list(items)
    if wanted.start is not None:
        start = _as(key, ordered, wanted.start)
        ordered = [item for item in ordered if _reached(key(item), start, wanted, down)]
    if wanted.end is not None:
        end = _as(key, ordered, wanted.end)
        ordered = [item for item in ordered if (key(item) >= end if down else key(item) <= end)]
    return cut(ordered, wanted, key)


def cut(ordered: Sequence[T], wanted: Range, key: Callable[[T], Any]) -> Page[T]:
    """The first `wanted.max` of items that are already in order and in range."""
    kept = ordered[: wanted.max]
    following = None
    if len(ordered) > len(kept):
        following = Range(
            field=wanted.field,
            start=str(key(kept[-1])),
            exclusive=True,
            end=wanted.end,
            max=wanted.max,
            order=wanted.order,
        )
    content = f"{wanted.field} {key(kept[0])}..{key(kept[-1])}" if kept else ""
    return Page(kept, following, content)


def number(text: str | None) -> int | None:
    """A bound that has to be a whole number, as versions are; raises BadRequest."""
    if text is None:
        return None
    digits = text.removeprefix("v")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise _refused()
    return int(digits)


def _as(key: Callable[[T], Any], items: Sequence[T], text: str) -> Any:
    """A bound in the type of what it is compared with."""
    return number(text) if items and isinstance(key(items[0]), int) else text


def _reached(value: Any, start: Any, wanted: Range, down: bool) -> bool:
    if value == start:
        return not wanted.exclusive
    return bool(value < start) if down else bool(value > start)


def _options(text: str, order: Order) -> tuple[int, Order]:
    count = MAX_DEFAULT
    for part in re.split(r"[;,]", text):
        if not part.strip():
            continue
        option = _OPTION.fullmatch(part.strip())
        if not option:
            raise _refused()
        if option["key"] == "max":
            count = number(option["value"]) or 0
            if not count:
                raise faults.BadRequest(f"max in a Range is a number from 1 to {MAX_MOST}.")
        elif option["key"] == "order":
            if option["value"] not in ("asc", "desc"):
                raise faults.BadRequest("order in a Range is asc or desc.")
            order = "asc" if option["value"] == "asc" else "desc"
        # Heroku passes over options that it does not know, and so do we.
    return min(count, MAX_MOST), order


def _refused() -> faults.BadRequest:
    return faults.BadRequest(
        "The Range header cannot be read.", hint="It looks like: version ..; max=15, order=desc"
    )
