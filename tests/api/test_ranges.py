"""The Range header: grammar of heroku-cli-contract section 4, and cutting lists by it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel import faults
from oriel.api import ranges
from oriel.api.ranges import Range, page, parse

FIELDS = ("version", "id", "name", "seq")

SEEN = [
    (None, Range("version")),
    ("", Range("version")),
    ("version ..; max=15, order=desc", Range("version", max=15, order="desc")),
    ("version ..; order=desc,max=1", Range("version", max=1, order="desc")),
    ("version ..; max=1, order=desc", Range("version", max=1, order="desc")),
    ("id ..; max=1000;", Range("id", max=1000)),
    ("seq ..; order=desc,max=1000", Range("seq", max=1000, order="desc")),
    ("version ]7..", Range("version", start="7", exclusive=True)),
    ("version 3..9", Range("version", start="3", end="9")),
    ("id ]01234567-89ab-cdef-0123-456789abcdef..; max=2", Range(
        "id", start="01234567-89ab-cdef-0123-456789abcdef", exclusive=True, max=2)),
    ("name a.b..c", Range("name", start="a.b", end="c")),
    ("version ..; max=99999", Range("version", max=ranges.MAX_MOST)),
    ("version ..; wild=1; max=3", Range("version", max=3)),
    ("bytes=0-99", Range("version")),
]  # fmt: skip


@pytest.mark.parametrize(("header", "expected"), SEEN)
def test_what_clients_send_is_understood(header: str | None, expected: Range) -> None:
    assert parse(header, FIELDS) == expected


@pytest.mark.parametrize(
    "header",
    ["version", "version 1-2", "weight ..", "version ]..", "version ..; max=0", "version ..; max=x",
     "version ..; order=up", "version ..; max", "..", "version " + "9" * 600 + ".."],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_a_sentence(header: str) -> None:
    with pytest.raises(faults.BadRequest) as refused:
        parse(header, FIELDS)
    assert refused.value.message.endswith(".")


@given(st.text(max_size=80))
def test_any_header_is_a_range_or_a_refusal(header: str) -> None:
    with contextlib.suppress(faults.BadRequest):
        assert parse(header, FIELDS).field in FIELDS


@given(
    st.builds(
        Range,
        field=st.sampled_from(FIELDS),
        start=st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True),
        exclusive=st.booleans(),
        end=st.none() | st.from_regex(r"[a-z0-9-]{1,30}", fullmatch=True),
        max=st.integers(1, 1000),
        order=st.sampled_from(["asc", "desc"]),
    )
)
def test_what_is_written_is_read_again(wanted: Range) -> None:
    assert parse(str(wanted), FIELDS) == wanted


@given(
    st.lists(st.integers(1, 400), unique=True),
    st.integers(1, 60),
    st.sampled_from(["asc", "desc"]),
)
def test_following_next_range_gives_each_item_once(
    items: list[int], most: int, order: ranges.Order
) -> None:
    keys = {"version": lambda item: item}
    seen: list[int] = []
    wanted: Range | None = Range("version", max=most, order=order)
    while wanted is not None:
        part = page(items, parse(str(wanted), FIELDS), keys)
        seen += part.items
        wanted = part.next
    assert seen == sorted(items, reverse=order == "desc")


def test_bounds_hold_in_both_directions() -> None:
    keys = {"version": lambda item: item}
    down = page(range(1, 11), parse("version 8..3; order=desc", FIELDS), keys)
    up = page(range(1, 11), parse("version ]3..8", FIELDS), keys)
    assert list(down.items) == [8, 7, 6, 5, 4, 3]
    assert list(up.items) == [4, 5, 6, 7, 8]
    assert up.content == "version 4..8"


def test_a_version_that_is_no_number_is_refused() -> None:
    with pytest.raises(faults.BadRequest):
        page([1, 2], parse("version abc..", FIELDS), {"version": lambda item: item})
