"""Owns the bounds of pushes and builds. Must not know who enforces them."""

from __future__ import annotations

from dataclasses import dataclass

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
GIBIBYTE = 1024 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Limits:
    """What one push and one build may take. Sizes are unpacked unless they say otherwise."""

    push_bytes_max: int = 500 * MEBIBYTE
    """Packed, as git sends it."""
    repository_bytes_max: int = GIBIBYTE
    """All of an app's history, packed as it lies on disk."""
    tree_bytes_max: int = GIBIBYTE
    slug_bytes_max: int = GIBIBYTE
    """The tree with its dependencies."""
    files_max: int = 200_000
    cache_bytes_max: int = 2 * GIBIBYTE
    environments_kept: int = 3
    """How many installed environments an app's cache keeps, the newest first."""
    transcript_bytes_max: int = 300 * MEBIBYTE
    free_bytes_min: int = 256 * MEBIBYTE
    """A build stops before the disk has less than this left."""

    memory_bytes: int = 2560 * MEBIBYTE
    """Of one build's programs, where the machine can limit it."""

    build_s: float = 900.0
    push_s: float = 3600.0
    """From the first byte of a push to its verdict, the build included."""
    idle_s: float = 120.0
    """How long the other side of a push or fetch may be silent or deaf."""
    finish_s: float = 60.0
    """How long git may take to move the ref once the verdict is given."""
    chore_s: float = 120.0
    """For each of git's small errands: making a repository, listing or writing out a tree."""
    builds_at_once: int = 4
    """Over all apps; more wait their turn."""


def human_size(size_bytes: int) -> str:
    """A size as Heroku's build output writes it: 12.3M."""
    if size_bytes < KIBIBYTE:
        return f"{size_bytes}B"
    for unit, factor in (("K", KIBIBYTE), ("M", MEBIBYTE), ("G", GIBIBYTE)):
        if size_bytes < 1000 * factor or unit == "G":
            return f"{size_bytes / factor:.1f}{unit}"
    raise AssertionError("unreachable")
