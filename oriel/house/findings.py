"""Owns the form of what `oriel doctor` says, and what its sentences share.

Must not know what is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oriel.house.probes import Machine

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and what to type where it is not well."""

    name: str
    state: State
    said: str
    fix: str = ""


def sudo(machine: Machine) -> str:
    """What stands before a command that only root may give."""
    return "" if machine.root else "sudo "


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (6, 18) of `6.18.5-amd64`."""
    found = list[int]()
    for part in version.split("-")[0].split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
