"""Owns the kinds of causes that the record of dynos has, and what an exit status means. Pure.

The record keeps a cause in words; this is the one place that tells them apart again.
"""

from __future__ import annotations

import re
from typing import Literal

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

_STATUS = re.compile(r"exited with status (\d+)")

_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"stopped by ", "stopped"),
    (r"scaled down by ", "scaled"),
    (r"restarted by ", "restarted"),
    (r"replaced by v|changed by ", "replaced"),
    (r"cycl", "cycled"),
    (r"the app is gone", "gone"),
    (r".*(?:\(R10\)|did not bind)", "boot_timeout"),
    (r".*(?:\(R14\)|\(R15\)|memory)", "memory"),
    (r"could not be launched", "not_launched"),
    (r".*not known", "lost"),
    (r".*exited with status 0\b", "finished"),
    (r".*exited with status ", "exit"),
)

_MEANINGS = {126: "it may not be executed", 127: "command not found"}
"""What a shell says by it; of signals the cause itself has the name."""


def kind_of(cause: str) -> Kind:
    """Which kind of cause it is."""
    for pattern, kind in _KINDS:
        if re.match(pattern, cause):
            return kind
    return "other"


def status_of(cause: str) -> int | None:
    """The exit status that a cause names."""
    found = _STATUS.search(cause)
    return int(found[1]) if found else None


def meaning_of(cause: str) -> str:
    """What an exit status usually means; empty where it says nothing by itself."""
    return _MEANINGS.get(status_of(cause) or 0, "")
