"""Owns which slot each app has, and how a configuration says which layout it is.

A slot is a backend that is rendered ahead: an app's coming takes an empty one, and no reload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

LAYOUT_VERSION = 5
"""Of the form of map entries and slot names; a reader of another version renders anew."""

_DESCRIPTION = re.compile(
    r"oriel-router v([0-9]{1,4}) layout=([0-9a-f]{16}) slots=([0-9]{1,6})\b", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Places:
    """Which slot each app has, by app id, and how many slots there are."""

    slots: int
    by_app: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a configuration says of itself in `show info`: which layout is loaded."""

    layout: str
    slots: int
    version: int = LAYOUT_VERSION

    def __str__(self) -> str:
        """The text of the `description` line."""
        return f"oriel-router v{self.version} layout={self.layout} slots={self.slots}"

    @classmethod
    def find(cls, text: str) -> Stamp | None:
        """The stamp in a configuration's text or in `show info`."""
        match = _DESCRIPTION.search(text)
        return cls(match[2], int(match[3]), int(match[1])) if match else None


def slot_name(slot: int) -> str:
    """A backend's name."""
    return f"slot-{slot:04d}"
