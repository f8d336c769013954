"""What a wish such as `web+1` comes to."""

from __future__ import annotations

import pytest

from oriel import faults
from oriel.control.formation import Change, quantity_of


@pytest.mark.parametrize(
    ("wish", "current", "comes_to"),
    [("4", 1, 4), ("+1", 1, 2), ("-1", 1, 0), ("0", 3, 0), (None, 3, 3), ("100", 0, 100)],
)
def test_a_wish_that_can_be(wish: str | None, current: int, comes_to: int) -> None:
    assert quantity_of(Change("web", wish), current) == comes_to


@pytest.mark.parametrize("wish", ["", "many", "+", "1.5", "--1", "101", "-1", "²", "9" * 40, "+-1"])
def test_a_wish_that_cannot_be(wish: str) -> None:
    with pytest.raises(faults.Invalid, match="web"):
        quantity_of(Change("web", wish), 0)
