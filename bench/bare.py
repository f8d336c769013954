"""Owns a dyno's program under bubblewrap as a script or another process manager would start it:
with the flags that Oriel gives, and without what only Oriel's own start does.

No overlay, no network of its own, no gate, no status to keep. Files that Oriel hands over as
descriptors are bound where they are the machine's, and left out where they are Oriel's own.
"""

from __future__ import annotations

import os
from pathlib import Path

from oriel.manifold import command
from oriel.sandbox import Confinement, Overlay, render, system

UID = 1_900_000_000
_DESCRIPTORS = frozenset({"--json-status-fd", "--info-fd", "--block-fd", "--seccomp"})


def flags_and_command(program: str, slug: Path) -> tuple[list[str], tuple[str, ...]]:
    """bubblewrap's flags, and what it executes: `program` in a shell, `slug` as its /app."""
    what = Confinement(
        argv=command.argv(program, is_profiled=False),
        env=command.environment({}, {}, "worker.1", None),
        uid=UID,
        overlay=Overlay(slug),
    )
    plan = render.render(what, system.look(), "none", overlays=False, copy_to=str(slug))
    copied = [word for _, place in plan.copies for word in ("--ro-bind", place, place)]
    return _without_descriptors(plan.arguments, copied), plan.command


def as_app() -> tuple[str, ...]:
    """The words before a command that make it run as the app's user, where we are root."""
    words = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
    return words if os.geteuid() == 0 else ()


def _without_descriptors(arguments: tuple[str, ...], copied: list[str]) -> list[str]:
    kept: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in _DESCRIPTORS:
            del words[0]
        elif word == "--file":
            del words[:2]
            del kept[-2:]  # its --perms
            kept += copied
            copied = []
        else:
            kept.append(word)
    return kept
