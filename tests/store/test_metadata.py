"""Moments: to the microsecond, in UTC, in order, the same from both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from sqlalchemy.exc import StatementError

from oriel.store import Database, Line, outbox

NAIVE = datetime(2011, 6, 19)  # noqa: DTZ001
MOMENTS = strategies.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - the zones are below
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=strategies.sampled_from(
        [UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=9, minutes=30))]
    ),
)


def _kept(conn: object, moment: datetime) -> datetime:
    outbox.post(conn, Line("c", "heroku", "api", "x"), moment)
    (posted,) = outbox.waiting(conn)
    outbox.delivered(conn, posted.id)
    return posted.at


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(moment=MOMENTS)
def test_a_moment_comes_back_exactly_and_in_utc(database: Database, moment: datetime) -> None:
    kept = database.write_now(lambda conn: _kept(conn, moment))
    assert kept == moment
    assert kept.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="time zone"):
        database.write_now(lambda conn: _kept(conn, NAIVE))
