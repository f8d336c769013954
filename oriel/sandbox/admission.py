"""Owns what must be so before a sandbox's program begins: its limits, and the ways it was given.

Must not know how it was started, or what begins.
"""

from __future__ import annotations

import asyncio
import logging

from oriel.sandbox.cgroups import Bounds, Cgroups, Group
from oriel.sandbox.confined import Confined
from oriel.sandbox.confinement import Confinement
from oriel.sandbox.relay import Relay

_log = logging.getLogger("oriel.sandbox")


async def let_in(confined: Confined, what: Confinement, name: str, cgroups: Cgroups | None) -> None:
    """Limit one that waits at its gate. What cannot be is said in the platform's own log."""
    pid = confined.child_pid
    if pid is None:
        return
    if cgroups is not None:
        try:
            # Each group's kernel waits for all processors before it takes a process in.
            group = await asyncio.to_thread(_limit, cgroups, name, _bounds(what), pid)
            confined.limited_by(group)
        except OSError as error:
            _log.warning("no control group for %s: %s", name, error)
    if what.address is not None and what.reach:
        relay = Relay()
        try:
            await relay.open(pid, what.reach)
        except OSError as error:
            _log.warning("ports %s are not reached from %s: %s", what.reach, name, error)
        confined.when_ended(relay.close)


def _bounds(what: Confinement) -> Bounds:
    """What it writes to its disk lies in memory, and comes on top of what its programs may have:
    a full disk is a full disk, and not the end.
    """
    memory = what.memory_bytes
    if memory is not None:
        memory += what.tmp_bytes + (what.overlay.size_bytes if what.overlay else 0)
    return Bounds(memory, what.processes or None, what.cpu_weight)


def _limit(cgroups: Cgroups, name: str, bounds: Bounds, pid: int) -> Group:
    group = cgroups.make(name, bounds)
    group.enter(pid)
    return group
