"""How long a crashed dyno waits: at once, then longer, never for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.manifold.backoff import CAP_S, HEALTHY_S, crashes_after, delay_s


@pytest.mark.parametrize(
    ("crashes", "waits_s"),
    [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (9, 128), (10, 256), (11, 300), (99, 300)],
)
def test_delay(crashes: int, waits_s: float) -> None:
    assert delay_s(crashes) == waits_s


@pytest.mark.parametrize(
    ("crashes", "lived_s", "then"),
    [(0, 1, 1), (1, 1, 2), (7, 599.9, 8), (7, 600, 1), (7, 86_400, 1)],
)
def test_count(crashes: int, lived_s: float, then: int) -> None:
    assert crashes_after(crashes, lived_s) == then


@given(st.integers(0, 10**6))
def test_it_grows_to_a_cap(crashes: int) -> None:
    assert 0 <= delay_s(crashes) <= delay_s(crashes + 1) <= CAP_S < HEALTHY_S
