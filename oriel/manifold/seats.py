"""Owns what happens in an app's slots: who is begun in one, when it is replaced, tried again after
a crash, cycled, put to sleep, and let go.

No await from a rule to its orders. Must not know where wishes come from, nor what an earlier
process left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from oriel.clock import Clock, jittered
from oriel.lexicon import Actor, DynoName
from oriel.manifold import backoff, succession
from oriel.manifold.around import Around
from oriel.manifold.booting import Booting
from oriel.manifold.cause import Cause
from oriel.manifold.dyno import Wish
from oriel.manifold.events import Notes
from oriel.manifold.launcher import Launcher, LaunchSpec, Usage
from oriel.manifold.life import Instance
from oriel.manifold.machine import LEAVING, Life
from oriel.manifold.oneoff import OneOff
from oriel.manifold.probe import Reaches
from oriel.manifold.roster import Roster, Slot
from oriel.manifold.spares import Spares
from oriel.manifold.specs import fits, spec_of
from oriel.sandbox.confinement import Exit
from oriel.store.database import Database


class Seats:
    """The slots of all apps, and every instance that is not yet cleaned away."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        db: Database,
        clock: Clock,
        notify: Callable[[str], None],
        before_stop: Callable[[str], Awaitable[None]],
        drained: Callable[[str, DynoName, str], Awaitable[None]],
        reaches: Reaches,
    ) -> None:
        """`notify` is told an app's id whenever its dynos are not what they were."""
        self.apps: dict[str, Roster] = {}
        self.instances: dict[str, Instance] = {}
        self.forgotten: set[str] = set()
        """Apps that are gone: nothing is begun for them any more."""
        self._clock = clock
        self.notify = notify
        self._around = Around(
            launcher=launcher,
            db=db,
            clock=clock,
            changed=self._changed,
            finished=self._finished,
            before_stop=before_stop,
            drained=drained,
            reaches=reaches,
        )
        self.booting = Booting(launcher, clock)
        """Whose turn it is to boot."""
        self.spares = Spares(launcher, clock, self.apps)
        """What takes the place of one that crashes, at once."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def app(self, app_id: str) -> Roster:
        """What there is of an app."""
        return self.apps.setdefault(app_id, Roster())

    async def close(self) -> None:
        """Stop looking after anything. Every dyno goes on."""
        for app in self.apps.values():
            for slot in app.all_slots():
                slot.rest()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.booting.close()
        await self.spares.close()
        await asyncio.gather(*[each.leave() for each in self.instances.values()])

    # --- what is told of instances

    def exited(self, instance: str, exit_: Exit) -> None:
        """An instance has ended."""
        known = self.instances.get(instance)
        if known is None:
            self.spares.ended(instance)
        elif succession.make_good(self, known):
            self._spawn(self._tell_later(known, exit_))
        else:
            known.on_exit(exit_)

    async def _tell_later(self, instance: Instance, exit_: Exit) -> None:
        await self._clock.sleep(succession.PROGRAM_FIRST_S)
        instance.on_exit(exit_)

    def over_quota(self, instance: str, usage: Usage) -> None:
        """An instance uses more memory than its size has."""
        if known := self.instances.get(instance):
            known.on_memory(usage)

    def _changed(self, instance: Instance) -> None:
        self.booting.told(instance)
        app = self.apps.get(instance.spec.app_id)
        if app and instance.life.state == "up":
            for slot in app.all_slots():
                if slot.instance is instance:
                    self.plan_cycle(app, slot)
        self.notify(instance.spec.app_id)

    def _finished(self, instance: Instance) -> None:
        """An instance's end is recorded: what follows in its slot?"""
        if instance.life.stopped_in == "new":
            self.instances.pop(instance.spec.instance, None)  # Nothing of it waits to be read.
        app = self.apps.get(instance.spec.app_id)
        if app is not None:
            app.dismiss(instance)
            for slot in app.all_slots():
                if slot.name == instance.spec.name and slot.waiting:
                    self.start(app, slot, slot.waiting)
                elif slot.instance is instance and instance.life.state == "crashed":
                    slot.crashes = instance.notes.crashes
                    slot.crashed_of = instance.life.cause
                    self._start_later(app, slot)
                elif slot.instance is not None and slot.instance.follows is instance:
                    slot.crashed_of = instance.life.cause
        self.notify(instance.spec.app_id)

    # --- rules

    def keep_or_replace(self, app: Roster, slot: Slot, wish: Wish, by: Actor) -> None:
        """Bring what lives in a slot to what is wished."""
        instance = slot.instance
        if instance is not None and not fits(instance.spec, wish):
            stopped = instance.life.cause.root
            if (stopped.kind, stopped.release) == ("stopped", wish.release):
                return  # It waited for this one's end when it was stopped.
            slot.begin_anew()
            if instance.spec.release != wish.release:
                stop = Cause("new_release", release=wish.release, by=by.email)
                start = Cause("deployed", release=wish.release, by=by.email)
            else:
                stop = start = Cause("changed", by=by.email)
            self.replace(app, slot, stop, start)
            return
        self.plan_cycle(app, slot)
        if slot.stopped or slot.asleep or slot.waiting or slot.retry:
            return
        if instance is None or instance.has_ended:
            # It ended while nobody could start it again.
            self.start(app, slot, Cause("recovered"))
        elif instance.is_leaving:
            # A kill came between its stop and the start of the one in its place.
            self.replace(app, slot, instance.life.cause, Cause("recovered"))

    def replace(self, app: Roster, slot: Slot, stop: Cause, start: Cause) -> None:
        """Another is to live in a slot."""
        slot.cancel_cycle()
        old = slot.instance
        if old and not old.has_ended:
            app.leaving.add(old)
            old.stop("restart", stop)
        self.start(app, slot, start)

    def retire(self, app: Roster, slot: Slot, cause: Cause) -> None:
        """Nothing is to live in a slot any more."""
        slot.rest()
        if slot.instance is None:
            return
        if not slot.instance.has_ended:
            app.leaving.add(slot.instance)
        slot.instance.stop("down", cause)

    def start(self, app: Roster, slot: Slot, cause: Cause) -> None:
        """Begin a new instance in a slot, or when those of its name that leave have gone."""
        slot.cancel_retry()
        slot.waiting = None
        is_rising = bool(app.rising and app.rising.slots.get(slot.name) is slot)
        wish = app.rising.wish if app.rising and is_rising else app.wish
        process = wish.processes.get(slot.name.type) if wish else None
        if wish is None or wish.slug is None or process is None:
            return
        if app.is_full(slot.name):
            slot.waiting = cause
            for each in app.leaving:
                if each.spec.name == slot.name:
                    each.hurry()
            return
        spec = spec_of(wish, slot.name, process.command, process.size)
        life = Life(is_web=slot.name.type == "web", before=_told_before(slot.instance))
        slot.instance = self.make(spec, life, Notes(wish.check, slot.crashes, is_rising))
        self.booting.begin(slot.instance, cause)

    def halt(self, app: Roster, slot: Slot, cause: Cause) -> list[Instance]:
        """Nothing is to live in a slot until a restart or a new release; whom that was told.

        Those of its name that still leave are told too. Theirs may be the last word on record, or
        the only one, where the slot waits for its first instance.
        """
        slot.stopped, slot.asleep = True, False
        slot.rest()
        told = [each for each in app.leaving if each.spec.name == slot.name and not each.has_ended]
        for each in told:
            each.stop("down", replace(cause, release=app.wish.release if app.wish else None))
        if slot.instance is None:
            slot.instance = told[0] if told else self._stand_in(app, slot)
        if slot.instance and slot.instance not in told:
            slot.instance.stop("down", cause)
            told.append(slot.instance)
        return told

    def _stand_in(self, app: Roster, slot: Slot) -> Instance | None:
        """An instance that is never begun, so that a stop is on record."""
        process = app.wish.processes.get(slot.name.type) if app.wish else None
        if app.wish is None or process is None or app.wish.slug is None:
            return None
        spec = spec_of(app.wish, slot.name, process.command, process.size)
        instance = self.make(spec, Life(), Notes(app.wish.check))
        instance.wait()
        return instance

    def _start_later(self, app: Roster, slot: Slot) -> None:
        delay_s = jittered(backoff.delay_s(slot.crashes))
        slot.retry_at_s = self._clock.monotonic_s() + delay_s

        async def wait() -> None:
            await self._clock.sleep(delay_s)
            slot.retry = None
            self.start(app, slot, Cause("retried"))

        slot.retry = self._spawn(wait())

    def plan_cycle(self, app: Roster, slot: Slot) -> None:
        """Replace the one in a slot once it has been up for a day, where the app wants that."""
        instance = slot.instance
        cycles = bool(app.wish and app.wish.cycles)
        if not cycles or slot.cycle or not instance or instance.life.state != "up":
            if not cycles:
                slot.cancel_cycle()
            return
        up_s = (self._clock.wall() - instance.since).total_seconds()
        left_s = backoff.cycle_after_s(instance.spec.instance) - up_s

        async def wait() -> None:
            await self._clock.sleep(max(0.0, left_s))
            slot.cycle = None
            is_there = slot in app.all_slots() and slot.instance is instance
            if is_there and instance.life.state == "up":
                self.replace(app, slot, Cause("cycled"), Cause("cycled"))

        slot.cycle = self._spawn(wait())

    # --- sleep

    def put_to_sleep(self, app: Roster) -> int:
        """The web dynos that are up end until they are woken; how many."""
        chosen = [
            slot
            for slot in app.slots.values()
            if slot.name.type == "web" and slot.instance and slot.instance.life.state == "up"
        ]
        for slot in chosen:
            slot.rest()
            slot.asleep = True
            if slot.instance:
                slot.instance.stop("idle", Cause("idled"))
        return len(chosen)

    def wake(self, app: Roster) -> int:
        """Those that sleep are begun again; how many."""
        chosen = [slot for slot in app.slots.values() if slot.asleep]
        for slot in chosen:
            slot.asleep = False
            old = slot.instance
            if old and old.life.state in LEAVING:
                app.leaving.add(old)
                old.stop("restart", Cause("woken"))
            self.start(app, slot, Cause("woken"))
        return len(chosen)

    # --- instances

    def make(self, spec: LaunchSpec, life: Life, notes: Notes, **more: Any) -> Instance:
        """An instance, not yet begun."""
        if spec.once:
            return self.make_once(spec, life, notes, **more)
        instance = self.instances[spec.instance] = Instance(spec, self._around, life, notes, **more)
        return instance

    def make_once(self, spec: LaunchSpec, life: Life, notes: Notes, **more: Any) -> OneOff:
        """The same, of what runs once."""
        instance = OneOff(spec, self._around, life, notes, **more)
        self.instances[spec.instance] = instance
        return instance

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _told_before(instance: Instance | None) -> str:
    """The state from which the next one's lines begin, where it is not told already."""
    if instance is None or not instance.has_ended or instance.life.fate == "restart":
        return ""
    return instance.life.state
