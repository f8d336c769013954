"""Owns all the dynos of all apps: the newest wish of each, and what is done so that it comes true.

The room's shell. Everything here runs in one event loop, and from the taking up of a wish to its
orders there is no await: a wish is either not yet or wholly taken up, and the last one counts.
Must not know why a wish was made, or how an instance runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from oriel.clock import Clock, jittered, new_id
from oriel.faults import NotFound, Unavailable
from oriel.formation import diff
from oriel.lexicon import Actor, DynoName
from oriel.manifold import backoff, events, past
from oriel.manifold.dyno import BOOT_TIMEOUT_S, Dyno, Once, Wish
from oriel.manifold.launcher import Found, Launcher, LaunchSpec, Visit, Window
from oriel.manifold.life import Instance, Reaches, accepts
from oriel.manifold.machine import Life
from oriel.manifold.roster import Roster, Slot
from oriel.sandbox.confinement import Exit
from oriel.store.database import Database

TAKEN_WITHIN_S = 5.0
"""How long a restart or stop waits to be on record before it is answered. Only where the disk is
full, or a launch is under way, it is not: then it is still carried out, but a kill may lose it.
"""

FORGET_TIMEOUT_S = 60.0
"""How long the dynos of a destroyed app may take to go: R12, and their last words."""

_log = logging.getLogger("oriel.manifold.conductor")


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
        reaches: Reaches = accepts,
    ) -> None:
        """`changed` is called with an app's id whenever its dynos are not what they were.

        `before_stop` is awaited before a web dyno gets SIGTERM: comes back when no new request
        is sent to it. `reaches` says whether a web dyno accepts connections.
        """
        self._launcher = launcher
        self._db = db
        self._clock = clock
        self._tell_changed = changed
        self._before_stop = before_stop or _nothing
        self._reaches = reaches
        self._apps: dict[str, Roster] = {}
        self._forgotten: set[str] = set()
        self._instances: dict[str, Instance] = {}
        """Every one that is not yet cleaned away."""
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Adopt what runs, record the ends that nobody saw, clear what was left. Stops nothing
        that should run.
        """
        self._launcher.listen(self._exited)
        left = await past.look(self._launcher, self._db)
        # No await up to here: an end that is told finds its instance.
        for found, entry in left.living:
            self._adopt(found, entry)
        for entry in left.resting:
            self._lay(entry)
        for found, is_awaited in left.remains:
            await self._clear(found, is_awaited=is_awaited)

    async def close(self) -> None:
        """Stop watching. Every dyno goes on."""
        for app in self._apps.values():
            for slot in app.slots.values():
                slot.rest()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[each.leave() for each in self._instances.values()])

    async def wish(self, wish: Wish, *, by: Actor) -> None:
        """Take up the newest wish of an app; comes back when the orders are given."""
        if wish.app_id in self._forgotten:
            return
        app = self._app(wish.app_id)
        app.wish = wish
        orders = diff(wish.quantities, app.slots)
        for name in orders.stop:
            self._retire(app, app.slots.pop(name), f"scaled down by {by.email}")
        for slot in app.slots.values():
            self._keep_or_replace(app, slot, wish, by)
        for name in orders.start:
            slot = app.slots[name] = Slot(name)
            self._start(app, slot)
        self._notify(wish.app_id)

    async def restart(self, app_id: str, only: str | None, by: Actor) -> int:
        """Restart all dynos of an app, of a type, or one; how many. NotFound when none is."""
        app = self._app(app_id)
        once = [each for each in app.once if only == str(each.spec.name)]
        for instance in once:  # It is never started again; Heroku stops it.
            instance.stop("down", f"{events.STOPPED}{by.email}")
        chosen = self._chosen(app, only, none_is_well=bool(once))
        before = [slot.instance for slot in chosen if slot.instance]
        for slot in chosen:
            slot.crashes, slot.stopped = 0, False
            self._replace(app, slot, f"restarted by {by.email}")
        self._notify(app_id)
        await self._taken(before)
        return len(chosen)

    async def stop(self, app_id: str, only: str | None, by: Actor) -> int:
        """Stop dynos until a restart or a new release; how many."""
        app = self._app(app_id)
        reason = events.STOPPED + by.email
        once = [each for each in app.once if only in (None, each.spec.type, str(each.spec.name))]
        chosen = self._chosen(app, only, none_is_well=bool(once))
        for slot in chosen:
            slot.stopped = True
            slot.rest()
            if slot.instance:
                slot.instance.stop("down", reason)
        for instance in once:
            instance.stop("down", reason)
        self._notify(app_id)
        await self._taken([*once, *(slot.instance for slot in chosen if slot.instance)])
        return len(chosen) + len(once)

    def dynos(self, app_id: str) -> tuple[Dyno, ...]:
        """Every dyno of an app as `ps` shows it, by type and number."""
        app = self._apps.get(app_id)
        if app is None:
            return ()
        shown = [slot.instance for slot in app.slots.values() if slot.instance]
        shown += [each for each in app.once if not each.has_ended]
        return tuple(sorted((each.dyno() for each in shown), key=lambda dyno: dyno.name))

    def begin_once(self, wish: Wish, once: Once) -> Instance:
        """Begin a one-off dyno; an attached one then waits for its client."""
        if wish.app_id in self._forgotten:
            raise NotFound(f"{wish.app} is gone.", resource="app", app=wish.app)
        spec = self._spec(wish, once.name, once.command, once.size, once=True)
        until_s = once.until.timestamp() if once.until else None
        env = {**wish.env, **once.env}
        spec = replace(spec, env=env, attached=once.attached, until_s=until_s)
        life = Life(once=True, attached=once.attached, named=until_s is not None)
        instance = self._instance(spec, life, wish.boot_timeout_s)
        self._app(wish.app_id).once.add(instance)
        instance.begin()
        self._notify(wish.app_id)
        return instance

    def one_offs(self, app_id: str | None = None) -> int:
        """How many one-off dynos users have, of an app or (None) at all."""
        apps = self._apps.values() if app_id is None else [self._app(app_id)]
        return sum(1 for app in apps for each in app.once if each.spec.until_s is not None)

    async def enter(self, instance: str, wish: Wish, once: Once, window: Window | None) -> Visit:
        """Run a command inside an instance, as one of its own; Unavailable when it cannot be."""
        known = self._instances.get(instance)
        if known is None or known.has_ended:
            raise Unavailable("The dyno has ended.", hint=f"oriel ps -a {wish.app}")
        spec = replace(known.spec, command=once.command, slug=wish.slug or known.spec.slug)
        spec = replace(spec, env={**wish.env, **once.env})
        return await self._launcher.enter(spec, known.at, window)

    async def run_once(
        self, wish: Wish, command: str, type: str, *, timeout_s: float, name: DynoName
    ) -> Exit:
        """Run a one-off dyno to its end. Unavailable when it could not be started, took too
        long or was stopped: whatever its status then is, it did not do its work.
        """
        instance = self.begin_once(wish, Once(name, command))
        if not await self._within(timeout_s, instance.ended.wait()):
            instance.stop("down", f"took longer than {timeout_s:.0f} s")
            await instance.ended.wait()
        if instance.exit is None:
            raise Unavailable(f"{name} {instance.life.reason}.", app=wish.app)
        if instance.life.fate is not None:
            raise Unavailable(f"{name} was ended: {instance.life.reason}.", app=wish.app)
        return instance.exit

    async def forget(self, app_id: str) -> None:
        """Stop everything of an app for good, and wait until nothing is left of it."""
        self._forgotten.add(app_id)
        app = self._apps.pop(app_id, None) or Roster()
        mine = list(app.instances())
        for slot in app.slots.values():
            slot.rest()
        for instance in mine:
            instance.stop("down", "the app is gone")

        def is_left() -> bool:
            known = any(each.spec.app_id == app_id for each in self._instances.values())
            return known or any(each.is_busy for each in mine)

        if not await self._within(FORGET_TIMEOUT_S, self._until(lambda: not is_left())):
            _log.warning("dynos of app %s are still there; the next start looks again", app_id)

    async def drained(self, instance: str) -> None:
        """An ended instance's output has been read to its end: clean it away."""
        try:
            await self._launcher.clean(instance)
        finally:
            self._instances.pop(instance, None)
            self._notify("")

    async def settled(self, app_id: str, timeout_s: float) -> bool:
        """Wait until no dyno of the app is starting or stopping; False when that took longer."""

        def is_quiet() -> bool:
            return not any(each.state in ("starting", "stopping") for each in self.dynos(app_id))

        return await self._within(timeout_s, self._until(is_quiet))

    # --- slots

    def _keep_or_replace(self, app: Roster, slot: Slot, wish: Wish, by: Actor) -> None:
        instance = slot.instance
        if instance is None or _fits(instance.spec, wish):
            if slot.stopped or slot.waiting or slot.retry:
                return
            if instance is None or instance.has_ended:
                self._start(app, slot)  # It ended while nobody could start it again.
            elif instance.is_leaving:
                # A kill came between its stop and the start of the one in its place.
                self._replace(app, slot, instance.life.reason)
            return
        slot.crashes, slot.stopped = 0, False
        is_new = instance.spec.release != wish.release
        why = f"replaced by v{wish.release}" if is_new else f"changed by {by.email}"
        self._replace(app, slot, why)

    def _replace(self, app: Roster, slot: Slot, reason: str) -> None:
        old = slot.instance
        if old and not old.has_ended:
            app.leaving.add(old)
            old.stop("restart", reason)
        self._start(app, slot)

    def _retire(self, app: Roster, slot: Slot, reason: str) -> None:
        slot.rest()
        if slot.instance is None:
            return
        if not slot.instance.has_ended:
            app.leaving.add(slot.instance)
        slot.instance.stop("down", reason)

    def _start(self, app: Roster, slot: Slot) -> None:
        """Start a new instance in a slot; with two of its name leaving, when one has gone."""
        slot.cancel_retry()
        wish = app.wish
        if wish is None or wish.slug is None:
            return
        slot.waiting = app.is_full(slot.name)
        if slot.waiting:
            return
        process = wish.processes[slot.name.type]
        spec = self._spec(wish, slot.name, process.command, process.size)
        ended = slot.instance.life.state if slot.instance and slot.instance.has_ended else ""
        life = Life(is_web=slot.name.type == "web", before=ended)
        slot.instance = self._instance(spec, life, wish.boot_timeout_s)
        slot.instance.begin()

    def _start_later(self, app: Roster, slot: Slot) -> None:
        delay_s = jittered(backoff.delay_s(slot.crashes))

        async def wait() -> None:
            await self._clock.sleep(delay_s)
            slot.retry = None
            self._start(app, slot)

        slot.retry = self._spawn(wait())

    def _chosen(self, app: Roster, only: str | None, *, none_is_well: bool = False) -> list[Slot]:
        chosen = [s for s in app.slots.values() if only in (None, s.name.type, str(s.name))]
        if not chosen and only and not none_is_well:
            raise NotFound(f"There is no dyno {only}.", hint="oriel ps", resource="dyno")
        return chosen

    def _app(self, app_id: str) -> Roster:
        return self._apps.setdefault(app_id, Roster())

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
            reaches=self._reaches,
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
            app.dismiss(instance)
            slot = app.slots.get(instance.spec.name)
            if slot and slot.waiting:
                self._start(app, slot)
            elif slot and slot.instance is instance and instance.life.state == "crashed":
                slot.crashes = backoff.crashes_after(slot.crashes, instance.lived_s)
                self._start_later(app, slot)
        self._notify(instance.spec.app_id)

    # --- what an earlier process left

    def _adopt(self, found: Found, entry: events.Entry) -> None:
        """Take over an instance of an earlier process, or record how it ended."""
        spec = found.spec
        life = Life(
            state=entry.state,
            is_web=spec.type == "web" and not spec.once,
            once=spec.once,
            attached=spec.attached,
            named=spec.until_s is not None,
            reason=entry.cause,
            doomed=entry.state == "starting" and bool(entry.cause),
        )
        instance = self._instance(spec, life, since=entry.at, at=found.launched)
        out = self._app(spec.app_id).seat(instance)
        if out and out.exit is None and not out.is_leaving:
            # A kill came between the start of the one and the stop of the other.
            out.stop("restart", "another took its place")
        if found.exit is not None:
            instance.settle(found.exit)
            return
        instance.resume()
        if spec.once and (spec.attached or spec.until_s is None):
            # Whoever waited for it is gone; a release command's release is failed.
            instance.stop("down", "the platform was restarted")

    def _lay(self, entry: events.Entry) -> None:
        """A dyno that does not run stays known: one stopped by hand stays down, and of one that
        crashed it is not the first crash.
        """
        app = self._app(entry.app_id)
        spec = entry.spec()
        if spec.name in app.slots or spec.once:
            return
        instance = self._instance(spec, Life(state=entry.state, reason=entry.cause), since=entry.at)
        del self._instances[spec.instance]  # Nothing is left of it to be cleaned away.
        stopped = entry.state == "down"
        app.slots[spec.name] = Slot(spec.name, instance, crashes=1, stopped=stopped)

    async def _clear(self, found: Found, *, is_awaited: bool) -> None:
        """What has been recorded to its end, or was never recorded to have begun."""
        if found.exit is None:
            await self._launcher.kill(found.spec.instance)
        if not is_awaited:
            await self._launcher.clean(found.spec.instance)

    # --- telling

    def _notify(self, app_id: str) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
        if app_id:
            self._tell_changed(app_id)

    async def _taken(self, asked: list[Instance]) -> None:
        """Wait until the stops asked of some instances are on record."""
        await self._within(
            TAKEN_WITHIN_S, self._until(lambda: all(each.has_taken_stop for each in asked))
        )

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._moved.wait()

    async def _within(self, timeout_s: float, work: Coroutine[Any, Any, object]) -> bool:
        """Whether `work` ends in that time, by our clock."""
        waiting = asyncio.ensure_future(work)
        alarm = asyncio.ensure_future(self._clock.sleep(timeout_s))
        try:
            await asyncio.wait({waiting, alarm}, return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            waiting.cancel()
            alarm.cancel()

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
