"""When a drain sends, waits and pauses: histories as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.logplex.drains.machine import (
    PAUSED_S,
    RETRY_MAX_S,
    Denied,
    Failed,
    Health,
    Outcome,
    Taken,
    back_off,
    step,
)

OK, HALF, BUSY, NO = Taken("200"), Taken("sent", sure=False), Failed("503"), Denied("404")
LIVED = Failed("cut", lived=True)
LATER = Failed("429", after_s=20)
BAD = Failed("certificate", untrusted="hostname mismatch")
WORSE = Failed("certificate", untrusted="expired")
STAYS = "resumed"


def plain(value: float) -> float:
    return value


HISTORIES = [
    # what came of each try -> after it: state, failures in a row, wait, what is told
    ([OK], [("up", 0, 0.0, "")]),
    ([BUSY, BUSY, BUSY], [("retrying", 1, 0.1, ""), ("retrying", 2, 0.2, ""),
                          ("retrying", 3, 0.4, "")]),
    ([BUSY, OK, BUSY], [("retrying", 1, 0.1, ""), ("up", 0, 0.0, ""), ("retrying", 1, 0.1, "")]),
    ([LATER], [("retrying", 1, 20, "")]),
    ([Failed("503", after_s=9e9)], [("retrying", 1, 300, "")]),
    ([NO, NO, OK], [("paused", 1, PAUSED_S, "paused"), ("paused", 2, PAUSED_S, ""),
                    ("up", 0, 0.0, STAYS)]),
    ([NO, BUSY, NO], [("paused", 1, PAUSED_S, "paused"), ("paused", 2, PAUSED_S, ""),
                      ("paused", 3, PAUSED_S, "")]),
    ([BAD, BAD, WORSE, OK, BAD], [("retrying", 1, 0.1, "untrusted"), ("retrying", 2, 0.2, ""),
        ("retrying", 3, 0.4, "untrusted"), ("up", 0, 0.0, ""), ("retrying", 1, 0.1, "untrusted")]),
    # A receiver that takes and hangs up at once is no good one; one that lived for a while is.
    ([BUSY, HALF, BUSY], [("retrying", 1, 0.1, ""), ("up", 1, 0.0, ""), ("retrying", 2, 0.2, "")]),
    ([BUSY, HALF, LIVED], [("retrying", 1, 0.1, ""), ("up", 1, 0.0, ""),
                           ("retrying", 1, 0.1, "")]),
]  # fmt: skip


@pytest.mark.parametrize(("outcomes", "then"), HISTORIES)
def test_histories(outcomes: list[Outcome], then: list[tuple[str, int, float, str]]) -> None:
    health = Health()
    seen = []
    for at, outcome in enumerate(outcomes):
        health, next_ = step(health, outcome, at, plain)
        seen.append((health.state, health.failures, next_.wait_s, next_.tell))
    assert seen == then


def test_a_certificate_is_told_again_after_an_hour() -> None:
    health, first = step(Health(), BAD, 0, plain)
    health, soon = step(health, BAD, 60 * 10**6, plain)
    health, later = step(health, BAD, 3601 * 10**6, plain)
    assert [first.tell, soon.tell, later.tell] == ["untrusted", "", "untrusted"]


@given(st.lists(st.sampled_from([OK, HALF, BUSY, NO, LATER, BAD, LIVED]), max_size=200))
def test_waits_are_bounded_and_retries_counted(outcomes: list[Outcome]) -> None:
    health = Health()
    for outcome in outcomes:
        health, next_ = step(health, outcome, 0, plain)
        assert 0 <= next_.wait_s <= PAUSED_S
        assert (next_.wait_s == 0) == isinstance(outcome, Taken)
    assert health.retries == sum(not isinstance(each, Taken) for each in outcomes)


def test_back_off_grows_to_a_minute() -> None:
    waits = [back_off(each) for each in range(1, 100)]
    assert waits == sorted(waits)
    assert waits[0] == 0.1
    assert waits[-1] == RETRY_MAX_S
