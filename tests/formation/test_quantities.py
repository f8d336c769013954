"""Desired counts less running ones: what starts and what stops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.formation import describe, diff
from oriel.lexicon import DynoName


def names(text: str) -> tuple[DynoName, ...]:
    return tuple(DynoName.parse(word) for word in text.split())


@pytest.mark.parametrize(
    ("desired", "running", "start", "stop"),
    [
        ({}, "", "", ""),
        ({"web": 1}, "", "web.1", ""),
        ({"web": 2}, "web.1", "web.2", ""),
        ({"web": 1}, "web.1 web.2 web.3", "", "web.3 web.2"),
        ({"web": 2}, "web.1 web.3", "web.2", "web.3"),
        ({"web": 0}, "web.1", "", "web.1"),
        ({}, "web.1 worker.2", "", "worker.2 web.1"),
        ({"worker": 1, "web": 1}, "", "web.1 worker.1", ""),
        ({"web": 1}, "release.5 web.1", "", "release.5"),
    ],
)
def test_diff(desired: dict[str, int], running: str, start: str, stop: str) -> None:
    orders = diff(desired, names(running))
    assert (orders.start, orders.stop) == (names(start), names(stop))


TYPES = st.sampled_from(["web", "worker", "clock"])
NAMES = st.builds(DynoName, TYPES, st.integers(1, 8))


@given(st.dictionaries(TYPES, st.integers(0, 6)), st.sets(NAMES))
def test_carrying_it_out_gives_what_is_desired(
    desired: dict[str, int], running: set[DynoName]
) -> None:
    orders = diff(desired, running)
    assert not set(orders.start) & running
    assert set(orders.stop) <= running
    after = (running - set(orders.stop)) | set(orders.start)
    assert diff(desired, after) == diff({}, ())
    for type_, quantity in desired.items():
        assert sorted(n.number for n in after if n.type == type_) == list(range(1, quantity + 1))


@pytest.mark.parametrize(
    ("quantities", "words"),
    [
        ({}, ""),
        ({"web": 4}, "web=4"),
        ({"worker": 1, "web": 2}, "web=2, worker=1"),
        ({"zoo": 0, "clock": 1, "web": 0}, "web=0, clock=1, zoo=0"),
    ],
)
def test_describe(quantities: dict[str, int], words: str) -> None:
    assert describe(quantities) == words
