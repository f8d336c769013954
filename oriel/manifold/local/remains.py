"""Owns finding what an earlier process started in an instance's directory, and ending it. Must not
know what an instance is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from oriel.clock import Clock
from oriel.faults import Unavailable
from oriel.manifold.local import place as place_of
from oriel.sandbox import Confined, Sandboxes
from oriel.sandbox.confinement import Exit

FIRST_WORD_TRIES = 10
FIRST_WORD_PAUSE_S = 0.02

_log = logging.getLogger("oriel.manifold.local")


async def find(sandboxes: Sandboxes, clock: Clock, place: Path) -> Confined | Exit | None:
    """The sandbox of an instance. One whose launch was asked for in the moment of a kill may
    be about to say its first word: it is listened for, or it would run unknown.
    """
    record, status = place_of.read(place / "record.json"), place / "status"
    for _ in range(FIRST_WORD_TRIES):
        adopted = await sandboxes.adopt(record, status, place.name)
        if adopted is not None or not status.exists():
            return adopted
        await clock.sleep(FIRST_WORD_PAUSE_S)
    return None


async def end(sandboxes: Sandboxes, clock: Clock, place: Path) -> None:
    """Nothing of it may go on."""
    found = await find(sandboxes, clock, place)
    if isinstance(found, Confined):
        await found.kill()


async def clear(
    sandboxes: Sandboxes, clock: Clock, places: list[Path], clean: Callable[[str], Awaitable[None]]
) -> None:
    """End and `clean` what an earlier process kept ready: its release may be no more."""
    for place in places:
        try:
            await end(sandboxes, clock, place)
            await clean(place.name)
        except (OSError, Unavailable):
            _log.exception("what was kept ready in %s cannot be cleared away", place)


async def clear_nameless(sandboxes: Sandboxes, clock: Clock, place: Path, error: Exception) -> None:
    """A kill came before the identity was whole, or when all else was removed; or the disk was
    damaged, and nobody knows any more whose it is. Nothing of it may go on.
    """
    if (place / "status").exists():
        _log.error("dyno directory %s has lost its identity: %s", place.name, error)
        await end(sandboxes, clock, place)
    await asyncio.to_thread(place_of.remove, place)
