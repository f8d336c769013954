from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.cli.moments import typed

NOW = datetime(2011, 6, 19, 12, tzinfo=UTC)
IS = "2011-06-19T08:35:21+00:00"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "text",
    [
        IS,
        "2011-06-19T08:35:21Z",
        "2011-06-19 08:35:21",
        "2011-06-19 08:35:21 UTC",
        "2011-06-19 10:35:21 +02:00",
        "2011-06-19T10:35:21+0200",
        "2011-06-19 10:35:21 Europe/Berlin",
        "2011-06-19T04:35:21 America/New_York",
        "08:35:21",
        "10:35:21 Europe/Berlin",
    ],
)
def test_a_time_in_any_zone(text: str) -> None:
    assert typed(text, NOW, local=False) == IS


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("text", ["10:35:21", "2011-06-19 10:35:21", "2011-06-19T10:35:21", IS])
def test_without_a_zone_it_is_ours_where_that_is_asked_for(text: str) -> None:
    assert typed(text, NOW, local=True) == IS


@pytest.mark.parametrize("text", ["2h", "30m", "1d12h", "v74"])
def test_what_the_server_understands_passes(text: str) -> None:
    assert typed(text, NOW, local=False) == text


def test_a_date_is_its_beginning() -> None:
    assert typed("2011-06-19", NOW, local=False) == "2011-06-19T00:00:00+00:00"


@pytest.mark.parametrize(
    "text", ["soon", "", "25:00", "2011-06-19 08:35 Mars/Base", "08:35 ../../etc/passwd"]
)
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.UsageError):
        typed(text, NOW, local=False)


@given(st.text(max_size=40), st.booleans())
def test_any_text_is_a_moment_or_a_usage_error(text: str, local: bool) -> None:
    with contextlib.suppress(click.UsageError):
        assert typed(text, NOW, local=local)
