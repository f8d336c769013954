"""The drawing in the docs is the machine's own."""

from __future__ import annotations

from pathlib import Path

from oriel.manifold.drawing import ARROWS, mermaid

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_no_arrow_is_drawn_twice() -> None:
    assert len({arrow[:2] for arrow in ARROWS}) == len(ARROWS)


def test_the_docs_have_it() -> None:
    """That the arrows are what `step` does, test_machine proves."""
    assert f"```mermaid\n{mermaid()}\n```" in ARCHITECTURE.read_text("utf-8")
