"""What a dyno of each size may use."""

from __future__ import annotations

import pytest

from oriel.manifold import sizes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "quota", "ends_at"),
    [
        ("standard-1x", GIB // 2, GIB),
        ("standard-2x", GIB, 2 * GIB),
        ("performance-m", 2.5 * GIB, 3 * GIB),
        ("from the future", GIB // 2, GIB),
    ],
)
def test_quota_and_where_it_ends(size: str, quota: float, ends_at: float) -> None:
    assert sizes.memory_bytes(size) == quota
    assert round(sizes.memory_bytes(size) * sizes.vast_factor(size)) == ends_at
