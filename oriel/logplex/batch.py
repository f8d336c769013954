"""Owns what a reader is given: some rendered lines. A value; must not know where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from oriel.logplex import wire
from oriel.logplex.parts import FIRST, Position


@dataclass(frozen=True)
class Batch:
    """Some rendered lines, and the position after them."""

    position: str
    text: bytes
    lines: int
    skipped: int
    at: Position = FIRST
    """The position once more, for those in this process."""

    @cached_property
    def packed(self) -> bytes:
        """As it goes to a reader in another process; made once for however many readers."""
        header = {
            "position": self.position,
            "lines": self.lines,
            "bytes": len(self.text),
            "skipped": self.skipped,
        }
        return wire.packed(header) + self.text
