"""Owns what differs between two releases. Pure; must not know SQL or keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oriel.ledger.entry import State

MASK = "****"


@dataclass(frozen=True, slots=True)
class Changed:
    """A value that is not what it was."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Differences:
    """How one table of keys and values became another; keys in order."""

    added: Mapping[str, str]
    removed: Mapping[str, str]
    changed: Mapping[str, Changed]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs from one release to another."""

    commits: Changed | None
    process_types: Differences
    config: Differences

    def __bool__(self) -> bool:
        """Whether anything does."""
        return bool(self.commits or self.process_types or self.config)


def diff(a: State, b: State, reveal: bool = False) -> Diff:
    """From `a` to `b`. Config values are masked unless `reveal`; that they differ is not."""
    config = _differences(a.config, b.config)
    return Diff(
        commits=None if a.commit == b.commit else Changed(a.commit, b.commit),
        process_types=_differences(a.process_types, b.process_types),
        config=config if reveal else _masked(config),
    )


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> Differences:
    return Differences(
        added={key: b[key] for key in sorted(b.keys() - a.keys())},
        removed={key: a[key] for key in sorted(a.keys() - b.keys())},
        changed={
            key: Changed(a[key], b[key]) for key in sorted(a.keys() & b.keys()) if a[key] != b[key]
        },
    )


def _masked(values: Differences) -> Differences:
    return Differences(
        added=dict.fromkeys(values.added, MASK),
        removed=dict.fromkeys(values.removed, MASK),
        changed=dict.fromkeys(values.changed, Changed(MASK, MASK)),
    )
