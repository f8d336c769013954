"""Owns the drawing of a dyno's life: the arrows between its states, as Mermaid text for the docs.

Pure. A test holds `ARROWS` equal to what `machine.step` does, and docs/architecture.md to
`mermaid()`.
"""

from __future__ import annotations

from oriel.manifold.machine import State

ARROWS: tuple[tuple[State, State, str], ...] = (
    ("new", "starting", ""),
    ("new", "down", "it was stopped before its turn to boot came"),
    ("starting", "up", "its port accepts, its check is answered, or it has lived for a moment"),
    ("starting", "crashed", "it ended, could not be launched, R10 or R15"),
    ("up", "crashed", "it ended, or R15"),
    ("starting", "restarting", "another is to take its place"),
    ("up", "restarting", "restarted, cycled, or replaced by a release"),
    ("starting", "stopping", "it is to go"),
    ("up", "stopping", "scaled down, stopped, idled, or switched from"),
    ("restarting", "stopping", "no other is to take its place after all"),
    ("stopping", "restarting", "another is to take its place after all"),
    ("restarting", "down", "it ended, or R12 and SIGKILL"),
    ("stopping", "down", "it ended, or R12 and SIGKILL"),
    ("stopping", "idle", "it ended, and waits for a request"),
    ("crashed", "down", "it is wanted no more"),
    ("idle", "down", "it is wanted no more"),
    ("starting", "complete", "a one-off ended"),
    ("up", "complete", "a one-off ended"),
    ("stopping", "complete", "a one-off ended"),
)
"""From, to, and when."""


def mermaid() -> str:
    """The text of the drawing."""
    lines = ["stateDiagram-v2"]
    for before, after, when in ARROWS:
        start = "[*]" if before == "new" else before
        lines.append(f"  {start} --> {after}" + (f": {when}" if when else ""))
    return "\n".join(lines)
