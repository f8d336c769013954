from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.cli.ages import age, ago, local, parse

NOW = datetime(2011, 6, 19, 8, 35, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("elapsed_s", "short", "long"),
    [
        (-5, "0s", "0 seconds ago"),
        (0, "0s", "0 seconds ago"),
        (0.99, "0s", "0 seconds ago"),
        (1, "1s", "1 second ago"),
        (59.9, "59s", "59 seconds ago"),
        (60, "1m", "1 minute ago"),
        (119, "1m", "1 minute ago"),
        (3599, "59m", "59 minutes ago"),
        (3600, "1h", "1 hour ago"),
        (7200, "2h", "2 hours ago"),
        (86399, "23h", "23 hours ago"),
    ],
)
def test_ages(elapsed_s: float, short: str, long: str) -> None:
    at = NOW - timedelta(seconds=elapsed_s)
    assert age(at, NOW) == short
    assert ago(at, NOW) == long


def test_from_a_day_on() -> None:
    at = NOW - timedelta(hours=40)
    assert age(at, NOW) == "40h"
    assert len(ago(at, NOW)) == 25
    assert len(ago(at, NOW, zone=False)) == 19


MOMENTS = st.datetimes(timezones=st.just(UTC)) | st.datetimes(
    timezones=st.just(timezone(timedelta(hours=-7)))
)


@given(MOMENTS, MOMENTS)
def test_no_age_is_negative(at: datetime, now: datetime) -> None:
    assert "-" not in age(at, now)
    assert age(at, now)[-1] in "smh"
    assert len(ago(at, now)) <= 25
    assert local(at)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2011-06-19T08:35:21Z", 4),
        ("2011-06-19T08:35:21.500000Z", 3.5),
        ("2011-06-19T01:35:21-07:00", 4),
        ("2011-06-19T08:35:21", 4),
    ],
)
def test_times_of_the_api(text: str, seconds: float) -> None:
    assert (NOW - parse(text)).total_seconds() == seconds


@given(st.text(max_size=30) | st.none())
def test_any_text_is_some_time(text: str | None) -> None:
    assert parse(text).tzinfo is not None  # type: ignore[arg-type]
