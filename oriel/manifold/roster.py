"""Owns who lives under which name: an app's newest wish, its slots, and the instances in and
beside them. A slot is a dyno's name; instances come and go in it.

Must not know how an instance lives, nor when one is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from oriel.lexicon import DynoName
from oriel.manifold.dyno import Wish
from oriel.manifold.life import Instance


@dataclass(slots=True)
class Slot:
    """A dyno's name, and who lives or last lived under it."""

    name: DynoName
    instance: Instance | None = None
    crashes: int = 0
    """In a row."""
    retry: asyncio.Task[None] | None = None
    stopped: bool = False
    """By hand: it stays down until a restart or a new release."""
    waiting: bool = False
    """To be started as soon as one that leaves has gone."""

    def rest(self) -> None:
        """Nothing is to be started in it any more."""
        self.cancel_retry()
        self.waiting = False

    def cancel_retry(self) -> None:
        """Whatever is to happen in it, it is not the start that was put off."""
        if self.retry:
            self.retry.cancel()
            self.retry = None


@dataclass(slots=True)
class Roster:
    """What is wished of an app, and what there is of it."""

    wish: Wish | None = None
    slots: dict[DynoName, Slot] = field(default_factory=dict)
    leaving: set[Instance] = field(default_factory=set)
    """Those whose name another has, or nobody shall have: alive, and on their way out."""
    once: set[Instance] = field(default_factory=set)

    def instances(self) -> Iterator[Instance]:
        """All of them, each once."""
        seated = {slot.instance for slot in self.slots.values() if slot.instance}
        yield from seated | self.leaving | self.once

    def dismiss(self, instance: Instance) -> None:
        """It has gone; if it was the last in its slot, it is still shown there."""
        self.leaving.discard(instance)
        self.once.discard(instance)

    def is_full(self, name: DynoName) -> bool:
        """Whether two of that name are leaving: old plus new is the most there may be."""
        leaving = [each for each in self.leaving if each.spec.name == name]
        return len([each for each in leaving if not each.has_ended]) > 1

    def seat(self, instance: Instance) -> Instance | None:
        """Give an adopted instance its place; gives the one whose place it takes, if any.

        They come in the order in which they were begun: the last of a name is the one that was
        in its slot when control was killed.
        """
        if instance.spec.once:
            self.once.add(instance)
            return None
        slot = self.slots.setdefault(instance.spec.name, Slot(instance.spec.name))
        slot.instance, out = instance, slot.instance
        slot.stopped = instance.was_stopped_by_hand
        if out is not None:
            self.leaving.add(out)
        return out
