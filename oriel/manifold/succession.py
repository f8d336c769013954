"""Owns the moment in which a dyno has ended and its spare takes its place.

The program begins first; what both came to goes on record behind that, the end of the old one
before the beginning of the new. Must not know who has a spare, nor how one is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oriel.manifold import backoff
from oriel.manifold.cause import Cause
from oriel.manifold.events import Notes
from oriel.manifold.launcher import Found
from oriel.manifold.life import Instance
from oriel.manifold.machine import Life
from oriel.manifold.roster import Roster, Slot

if TYPE_CHECKING:
    from oriel.manifold.seats import Seats

PROGRAM_FIRST_S = 0.006
"""How long an end waits to be recorded whose place another has taken: that one's start needs a
processor, and would take a fifth longer.
"""


def make_good(seats: Seats, old: Instance) -> bool:
    """One has ended, and its place is still its own: its spare, where it has one, runs from this
    moment on. Whether it does.

    Of one that was told to rest the spare is gone already. A kill before both are on record leaves
    an instance without one, which the next start takes up (`past`).
    """
    app = seats.apps.get(old.spec.app_id)
    slot = app.slots.get(old.spec.name) if app else None
    if app is None or app.wish is None or slot is None or slot.instance is not old:
        return False
    crashes = backoff.crashes_after(old.notes.crashes, old.lived_s)
    if slot.waiting or backoff.delay_s(crashes) > 0 or seats.booting.is_full:
        return False
    spare = seats.spares.take(app.wish, slot.name)
    if spare is None:
        return False
    follow(seats, app, slot, Found(spare.spec, spare.at, None), Notes(app.wish.check, crashes))
    return True


def follow(seats: Seats, app: Roster, slot: Slot, found: Found, notes: Notes) -> None:
    """An instance that was ready has been begun in the place of the one in a slot."""
    old = slot.instance
    life = Life(is_web=slot.name.type == "web", before="crashed")
    slot.crashes = notes.crashes
    slot.instance = seats.make(
        found.spec, life, notes, at=found.launched, is_begun=True, follows=old
    )
    if old is not None and not old.has_ended:
        app.leaving.add(old)
    seats.booting.hold(slot.instance)
    slot.instance.begin(Cause("retried"))
