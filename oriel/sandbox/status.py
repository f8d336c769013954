"""Owns the reading of a status file: what the launcher and bubblewrap wrote about a sandbox.

Pure. The file is the only account of an exit that nobody waited for, since a process that is not
one's child cannot be waited; it holds one JSON object a line, the last of which may be torn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATUS_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Status:
    """All that is known of one sandbox's processes; None is not known (yet)."""

    boot_id: str | None = None
    outer_pid: int | None = None
    """bubblewrap outside: it waits, and writes the exit code."""
    outer_start: int | None = None
    child_pid: int | None = None
    """bubblewrap inside: pid 1 of the namespace, whose end ends all in it."""
    child_start: int | None = None
    pid_namespace: int | None = None
    exit_code: int | None = None
    network_pid: int | None = None
    """pasta, where it has its network from one."""
    network_start: int | None = None

    def as_record(self) -> dict[str, Any]:
        """What a later start needs to find it again."""
        return {
            "boot_id": self.boot_id,
            "outer_pid": self.outer_pid,
            "outer_start": self.outer_start,
            "child_pid": self.child_pid,
            "child_start": self.child_start,
            "pid_namespace": self.pid_namespace,
        }


def parse(text: bytes, record: Mapping[str, Any] | None = None) -> Status:
    """What a status file says, completed from a record made while it ran."""
    said: dict[str, Any] = {}
    for line in text[:STATUS_BYTES_MAX].splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue  # a torn last line, or the mark of a full disk
        if isinstance(entry, dict):
            said.update(entry)
    kept = record or {}
    return Status(
        boot_id=_text(said.get("boot-id")) or _text(kept.get("boot_id")),
        outer_pid=_number(said.get("outer"), kept.get("outer_pid")),
        outer_start=_number(said.get("outer-start"), kept.get("outer_start")),
        child_pid=_number(said.get("child-pid"), kept.get("child_pid")),
        child_start=_number(kept.get("child_start")),
        pid_namespace=_number(said.get("pid-namespace"), kept.get("pid_namespace")),
        exit_code=_number(said.get("exit-code")),
        network_pid=_number(said.get("network")),
        network_start=_number(said.get("network-start")),
    )


def _number(*candidates: Any) -> int | None:
    """The first that is a number a process could have."""
    for value in candidates:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
            return value
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
