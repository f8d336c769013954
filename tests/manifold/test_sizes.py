"""What a dyno of each size may have."""

from __future__ import annotations

import pytest

from oriel.manifold import sizes


@pytest.mark.parametrize(
    ("name", "quota_mib", "hard_mib"),
    [
        ("eco", 512, 1024),
        ("basic", 512, 1024),
        ("standard-1x", 512, 1024),
        ("Standard-2X", 1024, 2048),
        ("performance-m", 2560, 3072),
        ("performance-l", 14336, 17203),
    ],
)
def test_memory(name: str, quota_mib: int, hard_mib: int) -> None:
    size = sizes.of(name)
    assert size.quota_bytes == quota_mib << 20
    assert size.hard_bytes >> 20 == hard_mib


def test_an_unknown_one_is_the_default() -> None:
    assert sizes.of("huge") == sizes.DEFAULT == sizes.of("standard-1x")
