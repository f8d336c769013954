"""Owns what one channel may use and what is done when it cannot be written: a small file of it.

Values and their file only: `retention` removes, `intake` slows down, control throws away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.logplex import entry, files

DROP = "drop"
"""A dyno whose output cannot be taken is held for a few seconds; then its output is thrown away,
counted, and told (L12)."""
BLOCK = "block"
"""It is held for as long as it takes."""

_RANGES = {
    "max_bytes": (64 * 1024, 1 << 50),
    "max_age_s": (60, 100 * 366 * 86400),
    "rate_bytes": (4096, 1 << 40),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of one channel. The defaults cannot fill a disk."""

    max_bytes: int = 1024 * 1024 * 1024
    """Data and indexes; the oldest segments go first."""
    max_age_s: int = 30 * 86400
    """What was said before that is removed, a segment at a time."""
    flood: str = DROP
    rate_bytes: int = 128 * 1024 * 1024
    """A second, of all dynos of the channel; who says more is slowed down."""


def load(path: Path) -> Policy:
    """The policy kept at `path`; the default one where there is none that can be read."""
    value = files.read_json(path)
    if not value or value.pop("version", None) != entry.FORMAT:
        return Policy()
    known = {each.name for each in fields(Policy)}
    try:
        return changed(Policy(), {key: kept for key, kept in value.items() if key in known})
    except faults.Invalid:
        return Policy()


def save(path: Path, policy: Policy) -> None:
    """Keep a policy, durably. May raise OSError."""
    files.write_json(path, {"version": entry.FORMAT, **asdict(policy)})


def changed(policy: Policy, wish: Mapping[str, Any]) -> Policy:
    """`policy` with the settings in `wish`; raises Invalid."""
    for name, value in wish.items():
        if name in _RANGES:
            low, high = _RANGES[name]
            if type(value) is not int or not low <= value <= high:
                raise faults.Invalid(f"{name} is a number from {low} to {high}.")
        elif name != "flood":
            raise faults.Invalid(f"There is no setting {name[:40]!r} of a log.")
        elif value not in (DROP, BLOCK):
            raise faults.Invalid(f"A log's flood policy is {DROP} or {BLOCK}.")
    return replace(policy, **dict(wish))
