"""Owns what a wish makes of one dyno: the spec of an instance, and whether one that is there fits.
Pure. Must not know who lives where.
"""

from __future__ import annotations

from oriel.clock import new_id
from oriel.faults import NotFound
from oriel.lexicon import DynoName
from oriel.manifold.dyno import Wish
from oriel.manifold.launcher import LaunchSpec


def spec_of(
    wish: Wish, name: DynoName, command: str, size: str, *, once: bool = False
) -> LaunchSpec:
    """An instance to run of what is wished; NotFound where there is no code."""
    if wish.slug is None:
        raise NotFound(f"{wish.app} has no code to run yet.", resource="slug", app=wish.app)
    return LaunchSpec(
        instance=new_id().replace("-", ""),
        app_id=wish.app_id,
        app=wish.app,
        channel=wish.channel,
        type=name.type,
        number=name.number,
        release=wish.release,
        uid=wish.uid,
        command=command,
        size=size,
        slug=wish.slug,
        env=wish.env,
        once=once,
    )


def fits(spec: LaunchSpec, wish: Wish) -> bool:
    """Whether an instance is what is wished."""
    process = wish.processes.get(spec.type)
    return (
        process is not None
        and spec.release == wish.release
        and spec.command == process.command
        and spec.size == process.size
    )
