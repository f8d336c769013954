"""Owns what a dyno of each size may have. Must not know how it is held to it.

The names and the memory are Heroku's (heroku-facts D3, C). Of its processor a dyno gets a share by
its weight, where others want it too; whatever is idle it may have whole.
"""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Size:
    """What a dyno may have."""

    name: str
    quota_bytes: int
    """Of memory. Beyond it the app is told (R14)."""
    hard_factor: float
    """How many times the quota end it (R15)."""
    cpu_weight: int
    """100 is what a process of the machine's own has."""
    processes: int
    """Processes and threads at once."""

    @property
    def hard_bytes(self) -> int:
        """The memory that ends it."""
        return int(self.quota_bytes * self.hard_factor)


SIZES = {
    size.name: size
    for size in (
        Size("eco", 512 * MEBIBYTE, 2.0, 50, 256),
        Size("basic", 512 * MEBIBYTE, 2.0, 100, 256),
        Size("standard-1x", 512 * MEBIBYTE, 2.0, 100, 256),
        Size("standard-2x", 1024 * MEBIBYTE, 2.0, 200, 512),
        Size("performance-m", 2560 * MEBIBYTE, 1.2, 1200, 32_768),
        Size("performance-l", 14_336 * MEBIBYTE, 1.2, 5000, 32_768),
    )
}
DEFAULT = SIZES["standard-1x"]


def of(name: str) -> Size:
    """The size of that name, however it is written; the default for one that Oriel has not."""
    return SIZES.get(name.lower(), DEFAULT)
