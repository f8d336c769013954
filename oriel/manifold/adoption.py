"""Owns taking up what an earlier process left: each instance to its slot, each end nobody saw to
the record, each thing half done to its end.

Must not know how the past is read (`past`), nor what is wished now: that comes with the next wish.
"""

from __future__ import annotations

from dataclasses import replace

from oriel.manifold import backoff, succession
from oriel.manifold.cause import Cause
from oriel.manifold.events import Entry, Notes
from oriel.manifold.launcher import Found
from oriel.manifold.machine import LEAVING, Fate, Life
from oriel.manifold.roster import Slot
from oriel.manifold.seats import Seats

DOOMS = frozenset({"boot_timeout", "memory_quota", "not_detached"})


def adopt(seats: Seats, found: Found, entry: Entry) -> None:
    """Take over an instance of an earlier process, or record how it ended."""
    spec = found.spec
    cause = entry.because
    life = Life(
        state=entry.state,
        is_web=spec.type == "web" and not spec.once,
        once=spec.once,
        attached=spec.attached,
        named=spec.until_s is not None,
        cause=cause,
        fate=_fate(entry),
        doomed=entry.state in ("starting", "up") and cause.kind in DOOMS,
        hinted=True,
    )
    instance = seats.make(
        spec,
        life,
        entry.notes,
        since=entry.at,
        at=found.launched,
        quiet=entry.quiet,
        began=entry.began,
    )
    out = seats.app(spec.app_id).seat(instance)
    if out and out.exit is None and not out.is_leaving:
        # A kill came between the start of the one and the stop of the other.
        out.stop("restart", Cause("interrupted", why="another took its place"))
    if found.exit is not None:
        instance.settle(found.exit)
        return
    instance.resume()
    if life.state == "starting" and not spec.once:
        seats.booting.hold(instance)
    if spec.once and (spec.attached or spec.until_s is None):
        # Whoever waited for it is gone; a release command's release is failed.
        instance.stop("down", Cause("interrupted", why="the platform was restarted"))


def take_up(seats: Seats, found: Found) -> None:
    """An instance began when another crashed, and is not on record: it is put there now."""
    app = seats.app(found.spec.app_id)
    slot = app.slots.setdefault(found.spec.name, Slot(found.spec.name))
    old = slot.instance
    notes = old.notes if old else Notes()
    if old and not old.has_ended:
        notes = replace(notes, crashes=backoff.crashes_after(notes.crashes, old.lived_s))
    succession.follow(seats, app, slot, found, notes)
    if found.exit is not None and slot.instance:
        slot.instance.on_exit(found.exit)


def lay(seats: Seats, entry: Entry) -> None:
    """A dyno that does not run stays known: one stopped by hand stays down, an idle one idle, and
    of one that crashed it is not the first crash.
    """
    app = seats.app(entry.app_id)
    spec = entry.spec()
    if spec.name in app.slots or spec.once:
        return
    life = Life(
        state=entry.state,
        is_web=spec.type == "web",
        cause=entry.because,
        fate="idle" if entry.state == "idle" else None,
    )
    instance = seats.make(spec, life, entry.notes, since=entry.at, quiet=entry.quiet)
    del seats.instances[spec.instance]  # Nothing is left of it to be cleaned away.
    app.slots[spec.name] = Slot(
        spec.name,
        instance,
        crashes=max(1, entry.notes.crashes) if entry.state == "crashed" else 0,
        stopped=entry.state == "down",
        asleep=entry.state == "idle",
    )


def _fate(entry: Entry) -> Fate | None:
    if entry.state not in LEAVING:
        return None
    if entry.state == "restarting":
        return "restart"
    return "idle" if entry.because.root.kind == "idled" else "down"
