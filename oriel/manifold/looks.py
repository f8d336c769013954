"""Owns looking at what several instances take at once. Must not know whose they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from oriel.manifold.launcher import Launcher, Usage

PARALLEL = 8
"""How many instances are looked at at once."""

_log = logging.getLogger("oriel.manifold.looks")


async def usage(launcher: Launcher, instances: Sequence[str]) -> dict[str, Usage]:
    """What each takes now; one that cannot be looked at is not among them."""
    turns = asyncio.Semaphore(PARALLEL)

    async def look(instance: str) -> Usage | None:
        async with turns:
            try:
                return await launcher.look(instance)
            except Exception:
                # What else is known of a dyno shall be shown all the same.
                _log.exception("what %s takes could not be looked at", instance)
                return None

    seen = await asyncio.gather(*[look(each) for each in instances])
    return {each: it for each, it in zip(instances, seen, strict=True) if it is not None}
