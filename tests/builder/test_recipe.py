from __future__ import annotations

import pytest

from oriel.builder.recipe import inside


@pytest.mark.parametrize(
    ("base", "path", "place"),
    [
        ("requirements.txt", "base.txt", "base.txt"),
        ("req/web.txt", "base.txt", "req/base.txt"),
        ("req/web.txt", "../base.txt", "base.txt"),
        ("req/web.txt", ".//./base.txt", "req/base.txt"),
        ("req/web.txt", "../../base.txt", None),
        ("requirements.txt", "/etc/passwd", None),
        ("requirements.txt", "~/x", None),
        ("requirements.txt", "a\0b", None),
        ("requirements.txt", "", None),
        ("requirements.txt", ".", None),
    ],
)
def test_a_path_is_inside_the_tree_or_none(base: str, path: str, place: str | None) -> None:
    assert inside(base, path) == place
