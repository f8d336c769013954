"""Owns who lives under which name: an app's newest wish, its slots, and the instances in and
beside them. A slot is a dyno's name; instances come and go in it.

Must not know how an instance lives, nor when one is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from oriel.lexicon import DynoName
from oriel.manifold.cause import Cause
from oriel.manifold.dyno import Wish
from oriel.manifold.life import Instance


@dataclass(slots=True)
class Slot:
    """A dyno's name, and who lives or last lived under it."""

    name: DynoName
    instance: Instance | None = None
    crashes: int = 0
    """In a row."""
    crashed_of: Cause | None = None
    """What the last one of them came of."""
    retry: asyncio.Task[None] | None = None
    retry_at_s: float = 0.0
    """When the retry is, by the monotonic clock."""
    cycle: asyncio.Task[None] | None = None
    """Waits until the one in it has lived for a day."""
    stopped: bool = False
    """By hand: it stays down until a restart or a new release."""
    asleep: bool = False
    """It stays idle until it is woken, restarted, or a new release comes."""
    waiting: Cause | None = None
    """Why one is to be started in it as soon as one that leaves has gone."""

    def rest(self) -> None:
        """Nothing is to be started in it any more."""
        self.cancel_retry()
        self.cancel_cycle()
        self.waiting = None

    def cancel_retry(self) -> None:
        """Whatever is to happen in it, it is not the start that was put off."""
        if self.retry:
            self.retry.cancel()
            self.retry = None

    def cancel_cycle(self) -> None:
        """The one in it is not to be cycled."""
        if self.cycle:
            self.cycle.cancel()
            self.cycle = None

    def begin_anew(self) -> None:
        """What was before counts no more: a new release, or a restart by hand."""
        self.crashes, self.stopped, self.asleep = 0, False, False


@dataclass(slots=True)
class Rising:
    """The web dynos of a release that is to take over once they are healthy."""

    release: int
    wish: Wish | None = None
    """None of those that an earlier process began."""
    slots: dict[DynoName, Slot] = field(default_factory=dict)
    is_awaited: bool = False
    """Whether somebody still waits for how it comes out."""


@dataclass(slots=True)
class Roster:
    """What is wished of an app, and what there is of it."""

    wish: Wish | None = None
    slots: dict[DynoName, Slot] = field(default_factory=dict)
    rising: Rising | None = None
    leaving: set[Instance] = field(default_factory=set)
    """Those whose name another has, or nobody shall have: alive, and on their way out."""
    once: set[Instance] = field(default_factory=set)

    def all_slots(self) -> list[Slot]:
        """Those that serve and those that rise."""
        return [*self.slots.values(), *(self.rising.slots.values() if self.rising else ())]

    def instances(self) -> Iterator[Instance]:
        """All of them, each once."""
        seated = {slot.instance for slot in self.all_slots() if slot.instance}
        yield from seated | self.leaving | self.once

    def dismiss(self, instance: Instance) -> None:
        """It has gone; if it was the last in its slot, it is still shown there."""
        self.leaving.discard(instance)
        self.once.discard(instance)

    def is_full(self, name: DynoName) -> bool:
        """Whether no other instance of that name may be begun.

        Of a web dyno old plus new is the most there may be; others never overlap: a clock or a
        worker that runs twice for a moment does its work twice (decision 26).
        """
        named = [each for each in self.instances() if each.spec.name == name]
        alive = [each for each in named if not each.has_ended]
        return len(alive) > (1 if name.type == "web" else 0)

    def seat(self, instance: Instance) -> Instance | None:
        """Give an adopted instance its place; gives the one whose place it takes, if any.

        They come in the order in which they were begun: the last of a name is the one that was
        in its slot when control was killed. One that was begun beside another that still serves
        goes on beside it.
        """
        if instance.spec.once:
            self.once.add(instance)
            return None
        name = instance.spec.name
        before = self.slots[name].instance if name in self.slots else None
        serves = before is not None and not before.is_leaving
        if instance.notes.rising and serves and not instance.is_leaving:
            return self._raise(instance)
        if before is not None and instance.is_leaving and not before.is_leaving:
            self.leaving.add(instance)
            return None
        slot = self.slots.setdefault(name, Slot(name))
        slot.instance, out = instance, slot.instance
        slot.crashes = instance.notes.crashes
        slot.stopped = instance.was_stopped_by_hand
        slot.asleep = instance.life.fate == "idle"
        if out is not None:
            self.leaving.add(out)
        return out

    def _raise(self, instance: Instance) -> Instance | None:
        if self.rising is None:
            self.rising = Rising(instance.spec.release)
        self.rising.release = instance.spec.release
        name = instance.spec.name
        slot = self.rising.slots.setdefault(name, Slot(name))
        slot.instance, out = instance, slot.instance
        slot.crashes = instance.notes.crashes
        if out is not None:
            self.leaving.add(out)
        return out
