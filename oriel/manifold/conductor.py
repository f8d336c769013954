"""Owns all the dynos of all apps: the newest wish of each, and what is done so that it comes true.

The room's shell. A slot is a dyno's name; instances come and go in it. Everything here runs in
one event loop and changes its own state only between awaits, so a wish is either not yet or
wholly taken up. Must not know why a wish was made, or how an instance runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel.clock import Clock, jittered, new_id
from oriel.faults import NotFound, Unavailable
from oriel.formation import diff
from oriel.lexicon import Actor, DynoName
from oriel.manifold import backoff, events
from oriel.manifold.dyno import BOOT_TIMEOUT_S, Dyno, Wish
from oriel.manifold.launcher import Found, Launcher, LaunchSpec
from oriel.manifold.life import Instance
from oriel.manifold.machine import ENDED, Life
from oriel.sandbox.confinement import LOST, Exit
from oriel.store.database import Database

FORGET_TIMEOUT_S = 60.0
"""How long the dynos of a destroyed app may take to go: R12, and their last words."""

_STOPPED = "stopped by "

_log = logging.getLogger("oriel.manifold.conductor")


@dataclass(slots=True)
class _Slot:
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

    @property
    def is_alive(self) -> bool:
        return self.instance is not None and not self.instance.has_ended

    def cancel_retry(self) -> None:
        if self.retry:
            self.retry.cancel()
            self.retry = None


@dataclass(slots=True)
class _App:
    """What is wished of an app, and what there is of it."""

    wish: Wish | None = None
    slots: dict[DynoName, _Slot] = field(default_factory=dict)
    leaving: set[Instance] = field(default_factory=set)
    once: set[Instance] = field(default_factory=set)

    def instances(self) -> Iterator[Instance]:
        for slot in self.slots.values():
            if slot.instance:
                yield slot.instance
        yield from self.leaving
        yield from self.once


class Conductor:
    """Runs what is wished, and says what runs."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        db: Database,
        clock: Clock,
        changed: Callable[[str], None],
        before_stop: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`changed` is called with an app's id whenever its dynos are not what they were.

        `before_stop` is awaited before a web dyno gets SIGTERM: comes back when no new request
        is sent to it.
        """
        self._launcher = launcher
        self._db = db
        self._clock = clock
        self._tell_changed = changed
        self._before_stop = before_stop or _nothing
        self._apps: dict[str, _App] = {}
        self._instances: dict[str, Instance] = {}
        """Every one that is not yet cleaned away."""
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Adopt what runs, and record the ends that nobody saw. Stops nothing."""
        self._launcher.listen(self._exited)
        found = await self._launcher.adopt()
        for each in found:
            await self._adopt(each)
        known = {each.spec.instance for each in found}
        for entry in await self._db.read(events.living):
            if entry.instance not in known:
                self._lost(entry)

    async def close(self) -> None:
        """Stop watching. Every dyno goes on."""
        for app in self._apps.values():
            for slot in app.slots.values():
                slot.cancel_retry()
        for instance in list(self._instances.values()):
            instance.detach()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wish(self, wish: Wish, *, by: Actor) -> None:
        """Take up the newest wish of an app; comes back when the orders are given."""
        app = self._apps.setdefault(wish.app_id, _App())
        if app.wish is None:
            await self._remember_stopped(app, wish)
        app.wish = wish
        orders = diff(wish.quantities, app.slots)
        for name in orders.stop:
            self._retire(app, app.slots.pop(name), f"scaled down by {by.email}")
        for slot in app.slots.values():
            self._keep_or_replace(app, slot, wish)
        for name in orders.start:
            slot = app.slots[name] = _Slot(name)
            self._start(app, slot)
        self._notify(wish.app_id)

    async def restart(self, app_id: str, only: str | None, by: Actor) -> int:
        """Restart all dynos of an app, of a type, or one; how many. NotFound when none is."""
        app = self._app(app_id)
        chosen = self._chosen(app, only)
        for slot in chosen:
            slot.crashes, slot.stopped = 0, False
            self._replace(app, slot, f"restarted by {by.email}")
        self._notify(app_id)
        return len(chosen)

    async def stop(self, app_id: str, only: str | None, by: Actor) -> int:
        """Stop dynos until a restart or a new release; how many."""
        app = self._app(app_id)
        reason = _STOPPED + by.email
        once = [each for each in app.once if only in (None, each.spec.type, str(each.spec.name))]
        chosen = self._chosen(app, only, none_is_well=bool(once))
        for slot in chosen:
            slot.stopped = True
            slot.cancel_retry()
            slot.waiting = False
            self._end(slot.instance, reason)
        for instance in once:
            instance.stop("down", reason)
        self._notify(app_id)
        return len(chosen) + len(once)

    def dynos(self, app_id: str) -> tuple[Dyno, ...]:
        """Every dyno of an app as `ps` shows it, by type and number."""
        app = self._apps.get(app_id)
        if app is None:
            return ()
        shown = [slot.instance for slot in app.slots.values() if slot.instance]
        shown += [each for each in app.once if not each.has_ended]
        return tuple(sorted((each.dyno() for each in shown), key=lambda dyno: dyno.name))

    async def run_once(
        self, wish: Wish, command: str, type: str, *, timeout_s: float, name: DynoName
    ) -> Exit:
        """Run a one-off dyno to its end. Unavailable when it cannot be started."""
        app = self._apps.setdefault(wish.app_id, _App())
        spec = self._spec(wish, name, command, "standard-1x", once=True)
        instance = self._instance(spec, Life(once=True), wish.boot_timeout_s)
        app.once.add(instance)
        instance.begin()
        try:
            async with asyncio.timeout(timeout_s):
                await instance.ended.wait()
        except TimeoutError:
            instance.stop("once", f"took longer than {timeout_s:.0f} s")
            await instance.ended.wait()
        if instance.exit is None:
            raise Unavailable(f"{name} {instance.life.reason}.", app=wish.app)
        return instance.exit

    async def forget(self, app_id: str) -> None:
        """Stop everything of an app, and wait until nothing is left of it."""
        app = self._apps.pop(app_id, None)
        if app is None:
            return
        for slot in app.slots.values():
            slot.cancel_retry()
            slot.waiting = False
        for instance in list(app.instances()):
            self._end(instance, "the app is gone")

        def left() -> bool:
            return any(each.spec.app_id == app_id for each in self._instances.values())

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FORGET_TIMEOUT_S):
                while left():
                    await self._next_move()

    async def drained(self, instance: str) -> None:
        """An ended instance's output has been read to its end: clean it away."""
        await self._launcher.clean(instance)
        self._instances.pop(instance, None)
        self._notify("")

    async def settled(self, app_id: str, timeout_s: float) -> bool:
        """Wait until no dyno of the app is starting or stopping; False when that took longer."""

        def restless() -> bool:
            return any(dyno.state in ("starting", "stopping") for dyno in self.dynos(app_id))

        try:
            async with asyncio.timeout(timeout_s):
                while restless():
                    await self._next_move()
        except TimeoutError:
            return False
        return True

    # --- slots

    def _keep_or_replace(self, app: _App, slot: _Slot, wish: Wish) -> None:
        instance = slot.instance
        if instance and _fits(instance.spec, wish):
            if instance.has_ended and not (slot.retry or slot.stopped):
                self._start(app, slot)  # It ended while nobody could start it again.
            return
        slot.crashes, slot.stopped = 0, False
        self._replace(app, slot, f"replaced by v{wish.release}")

    def _replace(self, app: _App, slot: _Slot, reason: str) -> None:
        slot.cancel_retry()
        old = slot.instance
        if old and not old.has_ended:
            app.leaving.add(old)
            old.stop("restart", reason)
        self._start(app, slot)

    def _retire(self, app: _App, slot: _Slot, reason: str) -> None:
        slot.cancel_retry()
        slot.waiting = False
        if slot.instance and not slot.instance.has_ended:
            app.leaving.add(slot.instance)
        self._end(slot.instance, reason)

    def _end(self, instance: Instance | None, reason: str) -> None:
        if instance is None:
            return
        if instance.has_ended:
            self._spawn(instance.lay_down(reason))
        else:
            instance.stop("down", reason)

    def _start(self, app: _App, slot: _Slot) -> None:
        """Start a new instance in a slot; with two of its name alive, when one of them has gone."""
        wish = app.wish
        if wish is None or wish.slug is None:
            return
        alive = [each for each in app.leaving if each.spec.name == slot.name]
        slot.waiting = len([each for each in alive if not each.has_ended]) > 1
        if slot.waiting:
            return
        process = wish.processes[slot.name.type]
        spec = self._spec(wish, slot.name, process.command, process.size)
        ended = slot.instance.life.state if slot.instance and slot.instance.has_ended else ""
        life = Life(is_web=slot.name.type == "web", before=ended)
        slot.instance = self._instance(spec, life, wish.boot_timeout_s)
        slot.instance.begin()

    def _start_later(self, app: _App, slot: _Slot) -> None:
        delay_s = jittered(backoff.delay_s(slot.crashes))

        async def wait() -> None:
            await self._clock.sleep(delay_s)
            slot.retry = None
            self._start(app, slot)

        slot.retry = self._spawn(wait())

    def _chosen(self, app: _App, only: str | None, *, none_is_well: bool = False) -> list[_Slot]:
        chosen = [s for s in app.slots.values() if only in (None, s.name.type, str(s.name))]
        if not chosen and only and not none_is_well:
            raise NotFound(f"There is no dyno {only}.", hint="oriel ps", resource="dyno")
        return chosen

    def _app(self, app_id: str) -> _App:
        return self._apps.setdefault(app_id, _App())

    # --- instances

    def _spec(
        self, wish: Wish, name: DynoName, command: str, size: str, *, once: bool = False
    ) -> LaunchSpec:
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

    def _instance(
        self, spec: LaunchSpec, life: Life, boot_timeout_s: float = BOOT_TIMEOUT_S, **more: Any
    ) -> Instance:
        instance = Instance(
            spec,
            launcher=self._launcher,
            db=self._db,
            clock=self._clock,
            boot_timeout_s=boot_timeout_s,
            changed=lambda each: self._notify(each.spec.app_id),
            finished=self._finished,
            before_stop=self._before_stop,
            life=life,
            **more,
        )
        self._instances[spec.instance] = instance
        return instance

    def _exited(self, instance: str, exit_: Exit) -> None:
        known = self._instances.get(instance)
        if known:
            known.on_exit(exit_)

    def _finished(self, instance: Instance) -> None:
        """An instance's end is recorded: what follows in its slot?"""
        app = self._apps.get(instance.spec.app_id)
        if app is not None:
            app.leaving.discard(instance)
            app.once.discard(instance)
            slot = app.slots.get(instance.spec.name)
            if slot and slot.instance is instance and instance.life.state == "crashed":
                lived_s = self._clock.monotonic_s() - instance.began_s
                slot.crashes = backoff.crashes_after(slot.crashes, lived_s)
                self._start_later(app, slot)
            elif slot and slot.waiting:
                self._start(app, slot)
        self._notify(instance.spec.app_id)

    # --- adoption

    async def _adopt(self, found: Found) -> None:
        """Take over an instance of an earlier process, or record how it ended."""
        spec = found.spec
        entry = await self._db.read(lambda conn: events.newest(conn, spec.instance))
        if entry is None or entry.state in ENDED:
            await self._clear(found)
            return
        life = Life(
            state=entry.state, is_web=spec.type == "web", once=spec.once, reason=entry.cause
        )
        instance = self._instance(spec, life, since=entry.at, at=found.launched)
        self._seat(instance)
        if found.exit is not None:
            instance.settle(found.exit)
            return
        instance.resume()
        if spec.once:
            # Whoever waited for it is gone; a release command's release is failed.
            instance.stop("once", "the platform was restarted")

    async def _clear(self, found: Found) -> None:
        """What has been recorded to its end, or was never recorded to have begun."""
        instance = found.spec.instance
        if found.exit is None:
            await self._launcher.kill(instance)
        waits = await self._db.read(lambda conn: events.awaits_drain(conn, instance))
        if not waits:
            await self._launcher.clean(instance)

    def _seat(self, instance: Instance) -> None:
        app = self._apps.setdefault(instance.spec.app_id, _App())
        if instance.spec.once:
            app.once.add(instance)
            return
        slot = app.slots.setdefault(instance.spec.name, _Slot(instance.spec.name))
        other = slot.instance
        if other is None or _is_newer(instance, other):
            slot.instance, instance_out = instance, other
        else:
            instance_out = instance
        if instance_out is not None:
            app.leaving.add(instance_out)
            if not instance_out.is_leaving:
                instance_out.stop("restart", "another took its place")

    def _lost(self, entry: events.Entry) -> None:
        """Recorded as begun, and nothing is there of it: the host restarted, or a kill came
        between the record and the start.
        """
        spec = _spec_of(entry)
        life = Life(state=entry.state, is_web=spec.type == "web", reason=entry.cause)
        instance = self._instance(spec, life, since=entry.at)
        self._seat(instance)
        instance.settle(LOST)

    async def _remember_stopped(self, app: _App, wish: Wish) -> None:
        """Those that were stopped by hand stay down over a restart of control."""
        for name in diff(wish.quantities, app.slots).start:
            entry = await self._db.read(
                lambda conn, name=name: events.newest_of(conn, wish.app_id, str(name))  # type: ignore[misc]
            )
            if not entry or entry.state != "down" or not entry.cause.startswith(_STOPPED):
                continue
            if entry.release == wish.release:
                spec = _spec_of(entry)
                life = Life(state="down", reason=entry.cause)
                ghost = self._instance(spec, life, since=entry.at)
                del self._instances[spec.instance]
                app.slots[name] = _Slot(name, instance=ghost, stopped=True)

    # --- telling

    def _notify(self, app_id: str) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
        if app_id:
            self._tell_changed(app_id)

    async def _next_move(self) -> None:
        await self._moved.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _nothing(_: str) -> None:
    return


def _fits(spec: LaunchSpec, wish: Wish) -> bool:
    process = wish.processes.get(spec.type)
    return (
        process is not None
        and spec.release == wish.release
        and spec.command == process.command
        and spec.size == process.size
    )


def _is_newer(one: Instance, other: Instance) -> bool:
    return (not one.is_leaving, one.spec.release, one.since) > (
        not other.is_leaving,
        other.spec.release,
        other.since,
    )


def _spec_of(entry: events.Entry) -> LaunchSpec:
    return LaunchSpec(
        instance=entry.instance,
        app_id=entry.app_id,
        app="",
        channel=entry.channel,
        type=entry.type,
        number=entry.number,
        release=entry.release,
        uid=0,
        command=entry.command,
        size=entry.size,
        slug=Path("/"),
        env={},
    )
