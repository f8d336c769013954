"""Owns what a confinement's limits are to a control group. Must not know where groups lie."""

from __future__ import annotations

from oriel.sandbox.cgroups import Bounds, Cgroups, Group
from oriel.sandbox.confinement import Confinement


def limit(cgroups: Cgroups, name: str, what: Confinement, pid: int) -> Group:
    """Put a process into a group of that name with the bounds of `what`; raises OSError."""
    group = cgroups.make(name, bounds(what))
    group.enter(pid)
    return group


def bounds(what: Confinement) -> Bounds:
    """What it writes to its disk lies in memory, and comes on top of what its programs may have:
    a full disk is a full disk, and not the end.
    """
    memory = what.memory_bytes
    if memory is not None:
        memory += what.tmp_bytes + (what.overlay.size_bytes if what.overlay else 0)
    return Bounds(memory, what.processes or None, what.cpu_weight)
