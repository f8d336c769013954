"""Owns what must be so before a sandbox's program begins: its limits, and the ways it was given.

Must not know how it was started, or what begins.
"""

from __future__ import annotations

import asyncio
import logging

from oriel.faults import Unavailable
from oriel.sandbox.cgroups import Cgroups
from oriel.sandbox.confined import Confined
from oriel.sandbox.confinement import Confinement
from oriel.sandbox.delegation import warm_up
from oriel.sandbox.limiting import limit
from oriel.sandbox.network import Network
from oriel.sandbox.relay import Relay

_log = logging.getLogger("oriel.sandbox")


def foresee(cgroups: Cgroups | None) -> None:
    """Somebody is soon to be let in: what takes its time in the kernel begins now, beside."""
    if cgroups is not None:
        asyncio.get_running_loop().run_in_executor(None, warm_up, cgroups)


async def let_in(
    confined: Confined,
    what: Confinement,
    name: str,
    cgroups: Cgroups | None,
    network: Network | None,
) -> None:
    """Limit one that waits at its gate. What cannot be is said in the platform's own log; but
    without its walls nothing begins: it is ended, and Unavailable says why.
    """
    if network is not None and what.address is not None:
        try:
            await network.walls.stand()
        except Unavailable:
            confined.kill_soon()
            raise
    pid = confined.child_pid
    if pid is None:
        return
    if cgroups is not None:
        try:
            # Each group's kernel waits for all processors before it takes a process in.
            group = await asyncio.to_thread(limit, cgroups, name, what, pid)
            confined.limited_by(group)
        except OSError as error:
            _log.warning("no control group for %s: %s", name, error)
    if what.address is not None and what.reach:
        relay = Relay()
        try:
            await relay.open(pid, what.reach)
        except OSError as error:
            _log.warning("ports %s are not reached from %s: %s", what.reach, name, error)
        confined.when_ended(lambda _: relay.close())
