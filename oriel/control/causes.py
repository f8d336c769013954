"""Owns what a cause means to somebody who asks why: its kind, what a status says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from oriel.manifold.cause import Cause
from oriel.manifold.cause import Kind as CauseKind

Kind = Literal[
    "boot_timeout",
    "cycled",
    "exit",
    "finished",
    "gone",
    "lost",
    "memory",
    "not_launched",
    "other",
    "replaced",
    "restarted",
    "scaled",
    "stopped",
]

_KINDS: Mapping[CauseKind, Kind] = {
    "exited": "exit",
    "signalled": "exit",
    "out_of_memory": "memory",
    "memory_quota": "memory",
    "lost": "lost",
    "not_launched": "not_launched",
    "boot_timeout": "boot_timeout",
    "stopped": "stopped",
    "restarted": "restarted",
    "new_release": "replaced",
    "changed": "replaced",
    "not_healthy": "replaced",
    "scaled": "scaled",
    "cycled": "cycled",
    "destroyed": "gone",
}

_MEANINGS = {126: "it may not be executed", 127: "command not found"}
"""What a shell says by it; of signals the cause itself has the name."""


def kind_of(cause: Cause) -> Kind:
    """Which kind of cause it is, looked at from what it all followed from."""
    root = cause.root
    if root.kind == "exited" and root.status == 0:
        return "finished"
    return _KINDS.get(root.kind, "other")


def meaning_of(cause: Cause) -> str:
    """What an exit status usually means; empty where it says nothing by itself."""
    return _MEANINGS.get(cause.status or 0, "") if cause.kind == "exited" else ""
