"""What cannot be told to the kernel is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from oriel.faults import Invalid
from oriel.sandbox import Bind, Confinement, Exit, Overlay

FINE = {"argv": ("/bin/true",), "env": {"A": "b"}, "uid": 7}


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": ()},
        {"argv": ("a\0b",)},
        {"env": {"A": "b\0"}},
        {"env": {"A=B": "c"}},
        {"env": {"": "c"}},
        {"env": {f"K{i}": "" for i in range(2001)}},
        {"cwd": "app"},
        {"overlay": Overlay(None, target="app")},
        {"binds": (Bind(Path("/x"), "../x"),)},
        {"binds": (Bind(Path("/x"), "/app/../../x"),)},
    ],
)
def test_what_is_no_confinement_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        Confinement(**{**FINE, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "signal"), [(0, None), (1, None), (128, None), (143, 15), (137, 9), (255, None)]
)
def test_a_code_above_128_speaks_of_a_signal(code: int, signal: int | None) -> None:
    assert Exit.of(code) == Exit(code, signal)
