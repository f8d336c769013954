"""Owns the change of releases in which the new web dynos come before the old ones go (preboot).

`verdict` decides, purely. Carrying out: a set of its own rises beside the one that serves; when it
is healthy and the ledger says so, it takes the slots, and the old ones end once the router knows
the new. Must not know the ledger, or how one instance is started.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from oriel.manifold.cause import Cause
from oriel.manifold.dyno import Wish
from oriel.manifold.roster import Rising, Roster, Slot

HOPELESS = 3
"""So many crashes in a row of each of them, and it is not waited any longer."""

GRACE_S = 5.0
"""How long after the boot time-out it is waited: R10 of the last one is told before."""

Verdict = Literal["wait", "healthy", "hopeless"]


def verdict(slots: Iterable[Slot], *, is_late: bool) -> Verdict:
    """How it stands with the dynos that rise.

    Healthy when all of them are up; when it is late, one is enough. Hopeless when each has
    crashed again and again, or it is late and none is up.
    """
    rising = list(slots)
    up = [slot for slot in rising if slot.instance and slot.instance.life.state == "up"]
    if len(up) == len(rising) or (is_late and up):
        return "healthy"
    if is_late or (not up and all(slot.crashes >= HOPELESS for slot in rising)):
        return "hopeless"
    return "wait"


def why_not(rising: Rising) -> str:
    """In words, why it did not come up: what the first of them crashed of."""
    for slot in rising.slots.values():
        if slot.crashed_of:
            return f"{slot.name} {slot.crashed_of.words}"
    return "its web dynos were not up in time"


def take_over(app: Roster, wish: Wish, by: str) -> None:
    """The rising set becomes the one that serves. The old ones end when the router knows."""
    rising, app.rising = app.rising, None
    if rising is None:
        return
    for name, slot in rising.slots.items():
        old = app.slots.get(name)
        app.slots[name] = slot
        if old is not None:
            _see_off(app, old, Cause("new_release", release=wish.release, by=by), patiently=True)


def abandon(app: Roster, cause: Cause) -> None:
    """The rising set goes, and what served goes on."""
    rising, app.rising = app.rising, None
    if rising is None:
        return
    for slot in rising.slots.values():
        _see_off(app, slot, cause, patiently=False)


def _see_off(app: Roster, slot: Slot, cause: Cause, *, patiently: bool) -> None:
    slot.rest()
    if slot.instance is None:
        return
    if not slot.instance.has_ended:
        app.leaving.add(slot.instance)
    slot.instance.stop("down", cause, patiently=patiently)
