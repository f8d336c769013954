from __future__ import annotations

import pytest

from oriel.builder.limits import human_size


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0K"),
        (12_900_000, "12.3M"),
        (1000 * 1024, "1.0M"),
        (3 << 30, "3.0G"),
        (2000 << 30, "2000.0G"),
    ],
)
def test_sizes_are_shown_as_heroku_does(size_bytes: int, shown: str) -> None:
    assert human_size(size_bytes) == shown
