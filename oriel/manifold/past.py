"""Owns what an earlier process left: what the record says of each instance beside what its
launcher finds of it. Must not know what is done about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from oriel.manifold import events
from oriel.manifold.events import Entry
from oriel.manifold.launcher import Found, Launched, Launcher
from oriel.sandbox.confinement import LOST
from oriel.store.database import Database


@dataclass(frozen=True, slots=True)
class Past:
    """Every instance that needs something done."""

    living: tuple[tuple[Found, Entry], ...]
    """Recorded as living, in the order in which they were begun: those that run, that ended
    while nobody looked, or were never launched (a kill came between the record and the launch).
    """
    begun: tuple[Found, ...]
    """Begun in the place of one that crashed, and a kill came before that was on record."""
    remains: tuple[tuple[Found, bool], ...]
    """Recorded to their end, or not at all, with something left of them; and whether that still
    has to be read.
    """
    resting: tuple[Entry, ...]
    """Names where nothing runs: crashed, or stopped by hand."""


async def look(launcher: Launcher, db: Database) -> Past:
    """Read the record, then look at what there is. No end is told before this has come back."""

    def read(conn: Connection) -> tuple[list[Entry], list[Entry], frozenset[str]]:
        return events.living(conn), events.resting(conn), events.awaiting_drain(conn)

    living, resting, awaited = await db.read(read)
    found = {each.spec.instance: each for each in await launcher.adopt()}
    pairs = [(found.pop(entry.instance, _nothing(entry)), entry) for entry in living]
    ready = [each.spec.instance for each in found.values() if each.was_ready]
    unknown = await db.read(lambda conn: [it for it in ready if events.newest(conn, it) is None])
    return Past(
        living=tuple(pairs),
        begun=tuple(found.pop(instance) for instance in unknown),
        remains=tuple((each, each.spec.instance in awaited) for each in found.values()),
        resting=tuple(resting),
    )


def _nothing(entry: Entry) -> Found:
    return Found(entry.spec(), Launched("", None), LOST)
