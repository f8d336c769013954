from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel import faults
from oriel.control.moments import end_of, moment, release_of

NOW = datetime(2011, 6, 19, 8, 35, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("2011-06-19T08:35:21+00:00", NOW),
        ("2011-06-19T10:35:21+02:00", NOW),
        ("2011-06-19T08:35:21Z", NOW),
        ("2011-06-19 08:35:21", NOW),
        ("2011-06-19", NOW.replace(hour=0, minute=0, second=0)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d2h30m5s", NOW - timedelta(days=1, hours=2, minutes=30, seconds=5)),
        (" 1w ", NOW - timedelta(weeks=1)),
    ],
)
def test_ways_to_name_a_moment(text: str, is_: datetime) -> None:
    assert moment(text, NOW) == is_


def test_an_end_in_whole_seconds_takes_the_second_in() -> None:
    assert end_of("2011-06-19T08:35:21Z", NOW) == NOW + timedelta(microseconds=999_999)
    assert end_of("2011-06-19T08:35:21.5Z", NOW) == NOW + timedelta(milliseconds=500)
    assert end_of("2h", NOW) == NOW - timedelta(hours=2)


@pytest.mark.parametrize("text", ["", "soon", "2y", "999999w", "v", "25:00", "2011-13-01", "٣h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(faults.Invalid, match="is no time"):
        moment(text, NOW)


def test_a_release() -> None:
    assert (release_of("v74"), release_of(" v1 ")) == (74, 1)
    assert [release_of(each) for each in ("74", "v0", "v", "v1.2", "2h", "v9999999999")] == [
        None
    ] * 6


@given(st.text(max_size=80))
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    with contextlib.suppress(faults.Invalid):
        assert moment(text, NOW).tzinfo is not None
