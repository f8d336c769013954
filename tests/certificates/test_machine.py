"""Orders as histories: what is due, what becomes of it, and that no authority is asked too much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.certificates import machine
from oriel.certificates.machine import (
    Begun,
    Event,
    Granted,
    Order,
    Refused,
    Told,
    Undecided,
    begin_anew,
    due,
    step,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FRESH = Order("due", NOW)
LIFE = Granted(NOW, NOW + timedelta(days=90))


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


HISTORIES: dict[str, list[tuple[Event, str, timedelta]]] = {
    "issued": [
        (Begun("u"), "ordered", minutes(0)),
        (Told(), "waiting", timedelta(seconds=1)),
        (Undecided(), "waiting", timedelta(seconds=2)),
        (LIFE, "issued", timedelta(days=60)),
    ],
    "refused for ever": [
        (Begun("u"), "ordered", minutes(0)),
        (Refused("no"), "failed", minutes(5)),
        (Refused("no"), "failed", minutes(20)),
        (Refused("no"), "failed", minutes(60)),
        (Refused("no"), "failed", minutes(240)),
        (Refused("no"), "failed", minutes(720)),
        (Refused("no"), "failed", minutes(1440)),
        (Refused("no"), "failed", minutes(1440)),
    ],
    "too much": [
        (Refused("no", limited=True), "failed", minutes(60)),
        (Refused("no", timedelta(days=2), limited=True), "failed", timedelta(days=2)),
        (Refused("no", timedelta(days=99), limited=True), "failed", timedelta(days=7)),
    ],
    "the order is gone": [
        (Begun("u"), "ordered", minutes(0)),
        (Refused("gone", lost=True), "due", timedelta(seconds=2)),
        (Begun("v"), "ordered", minutes(0)),
        (Refused("gone", lost=True), "failed", minutes(20)),
    ],
    "the authority is away for a moment": [
        (Begun("u"), "ordered", minutes(0)),
        (Refused("away", away=True), "ordered", timedelta(seconds=30)),
        (Told(), "waiting", timedelta(seconds=1)),
        (Refused("away", away=True), "waiting", timedelta(seconds=30)),
        (LIFE, "issued", timedelta(days=60)),
    ],
    "away before it began": [(Refused("away", away=True), "failed", minutes(5))],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_histories(name: str) -> None:
    order = FRESH
    for event, state, wait in HISTORIES[name]:
        order = step(order, event, NOW, 0.0)
        assert order.state == state
        assert order.next_at - NOW == wait
        if isinstance(event, Refused):
            assert order.reason == event.reason
    assert (order.failures, order.reason) == (0, "") or order.state != "issued"


@pytest.mark.parametrize(
    ("state", "deed"),
    [("due", "begin"), ("ordered", "tell"), ("waiting", "look"), ("issued", "begin"),
     ("failed", "begin")],
)  # fmt: skip
def test_what_is_due(state: machine.State, deed: str) -> None:
    assert due(Order(state, NOW), NOW) == deed
    assert due(Order(state, NOW + minutes(1)), NOW) is None


def test_an_authority_that_never_decides_is_given_up_on() -> None:
    order = step(step(FRESH, Begun("u"), NOW, 0), Told(), NOW, 0)
    assert step(order, Undecided(), NOW + machine.PATIENCE, 0).state == "waiting"
    late = NOW + machine.PATIENCE + timedelta(seconds=1)
    for event in (Undecided(), Refused("away", away=True)):
        assert step(order, event, late, 0).state == "failed"


@given(st.floats(0, 1), st.integers(1, 400))
def test_it_is_renewed_at_two_thirds_of_its_life_and_not_all_at_once(
    jitter: float, days: int
) -> None:
    issued = step(FRESH, Granted(NOW, NOW + timedelta(days=days)), NOW, jitter)
    part = (issued.next_at - NOW) / timedelta(days=days)
    assert 0.6166 <= part <= 0.6668


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40))
def test_a_host_fails_five_times_an_hour_at_most(turns: list[tuple[float, bool]]) -> None:
    """Whatever people ask for with refresh: Let's Encrypt refuses the sixth."""
    order, now, failed = FRESH, NOW, list[datetime]()
    for jitter, impatient in turns:
        if impatient and failed:
            order = begin_anew(order, failed[-1], now)
        now = max(now, order.next_at)
        order = step(order, Begun("u"), now, jitter)
        order = step(order, Refused("no"), now, jitter)
        # A new order forgets nothing of the failures before.
        failed.append(now)
        assert len([each for each in failed if now - each < minutes(60)]) <= 5


def test_who_asks_again_is_heard_at_once_but_not_for_ever() -> None:
    once = step(FRESH, Refused("no"), NOW, 0)
    assert begin_anew(once, NOW, NOW).next_at == NOW
    often = step(step(once, Refused("no"), NOW, 0), Refused("no"), NOW, 0)
    assert begin_anew(often, NOW, NOW).next_at == NOW + minutes(30)
    limited = step(FRESH, Refused("no"), NOW, 0)
    assert begin_anew(limited, NOW, NOW).failures == 1
    for state in ("ordered", "waiting", "issued", "due"):
        assert begin_anew(Order(state, NOW), NOW, NOW) == Order(state, NOW)  # type: ignore[arg-type]
