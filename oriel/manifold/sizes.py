"""Owns what a dyno's size means: how much memory it may use, how far beyond is too far. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MEBIBYTE = 1024 * 1024

MEMORY_MIB: Mapping[str, int] = {
    "eco": 512,
    "basic": 512,
    "standard-1x": 512,
    "standard-2x": 1024,
    "performance-m": 2560,
    "performance-l": 14336,
}
"""The quota of each size (heroku-facts D3: Memory)."""

BIG_MIB = 2048
"""From this quota on a size is a big one."""


def memory_bytes(size: str) -> int:
    """The memory quota of a size; the smallest for one that is not known."""
    return MEMORY_MIB.get(size, 512) * MEBIBYTE


def vast_factor(size: str) -> float:
    """How many times its quota a dyno may use before it is ended (R15)."""
    return 1.2 if memory_bytes(size) >= BIG_MIB * MEBIBYTE else 2.0
