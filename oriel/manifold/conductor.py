"""Owns all the dynos of all apps: the newest wish of each, and what is done so that it comes true.

The room's shell. Everything here runs in one event loop, and from the taking up of a wish to its
orders there is no await: a wish is either not yet or wholly taken up, and the last one counts.
Must not know why a wish was made, or how an instance runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter
from typing import Any

from oriel.clock import Clock
from oriel.faults import NotFound
from oriel.formation import diff
from oriel.lexicon import Actor, DynoName
from oriel.manifold import adoption, looks, past, switch
from oriel.manifold.cause import Cause
from oriel.manifold.dyno import EXIT_TIMEOUT_S, Dyno, Wish
from oriel.manifold.launcher import Found, Launcher, Usage
from oriel.manifold.life import Instance
from oriel.manifold.machine import LEAVING
from oriel.manifold.oneoffs import OneOffs
from oriel.manifold.probe import Reaches
from oriel.manifold.probe import reaches as reaches_now
from oriel.manifold.roster import Rising, Roster, Slot
from oriel.manifold.seats import Seats
from oriel.manifold.watch import Watchers
from oriel.store.database import Database

TAKEN_WITHIN_S = 5.0
"""How long a restart or stop waits to be on record before it is answered. Only where the disk is
full it is not: then it is still carried out, but a kill may lose it.
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
        drained: Callable[[str, DynoName, str], Awaitable[None]] | None = None,
        reaches: Reaches = reaches_now,
    ) -> None:
        """`changed` is called with an app's id whenever its dynos are not what they were.

        `before_stop` is awaited before a web dyno gets SIGTERM: comes back when no new request
        is sent to it; then `drained`, with app, name and instance, not for ever: comes back when
        no request to it is under way. `reaches` says whether a web dyno is up.
        """
        self._launcher = launcher
        self._db = db
        self._clock = clock
        self._tell_changed = changed
        self._seats = Seats(
            launcher=launcher,
            db=db,
            clock=clock,
            notify=self._notify,
            before_stop=before_stop or _nothing,
            drained=drained or _nothing,
            reaches=reaches,
        )
        self.one_offs = OneOffs(self._seats, launcher)
        """What runs beside the formation."""
        self.watchers = Watchers()
        """Who waits for the dynos of an app to change."""
        self._moved = asyncio.Event()

    async def start(self) -> None:
        """Adopt what runs, record the ends that nobody saw, clear what was left. Stops nothing
        that should run.
        """
        self._launcher.listen(self._seats.exited, self._seats.over_quota)
        left = await past.look(self._launcher, self._db)
        # No await up to here: an end that is told finds its instance.
        for found, entry in left.living:
            adoption.adopt(self._seats, found, entry)
        for entry in left.resting:
            adoption.lay(self._seats, entry)
        for found in left.begun:
            adoption.take_up(self._seats, found)
        for found, is_awaited in left.remains:
            await self._clear(found, is_awaited=is_awaited)

    async def close(self) -> None:
        """Stop watching. Every dyno goes on."""
        await self._seats.close()

    async def wish(self, wish: Wish, *, by: Actor) -> None:
        """Take up the newest wish of an app; comes back when the orders are given.

        Web dynos of its release that `preboot` started take over; of another, they go.
        """
        if wish.app_id in self._seats.forgotten:
            return
        app = self._seats.app(wish.app_id)
        before, app.wish = app.wish, wish
        self._settle_rising(app, wish, by)
        orders = diff(wish.quantities, app.slots)
        for name in orders.stop:
            self._seats.retire(app, app.slots.pop(name), Cause("scaled", by=by.email))
        for slot in app.slots.values():
            self._seats.keep_or_replace(app, slot, wish, by)
        is_new = before is None or before.release != wish.release
        cause = (
            Cause("deployed", release=wish.release, by=by.email)
            if is_new
            else Cause("scaled_up", by=by.email)
        )
        for name in orders.start:
            slot = app.slots[name] = Slot(name)
            self._seats.start(app, slot, cause)
        if any(name.type == "web" for name in orders.start):
            self._seats.wake(app)  # An app sleeps as a whole: its web dynos serve or none does.
        self._notify(wish.app_id)

    def _settle_rising(self, app: Roster, wish: Wish, by: Actor) -> None:
        rising = app.rising
        if rising is None:
            return
        if rising.release == wish.release:
            switch.take_over(app, wish, by.email)
        elif rising.release < wish.release or not rising.is_awaited:
            switch.abandon(app, Cause("new_release", release=wish.release, by=by.email))

    async def preboot(self, wish: Wish, *, by: Actor) -> str:
        """Start the web dynos of a release beside those that serve; says why they did not come up,
        or nothing when they are healthy.

        Healthy ones wait, unseen by the router, until the next wish of their release lets them
        take over, or `call_off` ends them. The others are gone when this comes back.
        """
        if wish.app_id in self._seats.forgotten:
            return "the app is gone"
        app = self._seats.app(wish.app_id)
        switch.abandon(app, Cause("new_release", release=wish.release, by=by.email))
        rising = app.rising = Rising(wish.release, wish, is_awaited=True)
        for number in range(1, wish.quantities.get("web", 0) + 1):
            name = DynoName("web", number)
            rising.slots[name] = Slot(name)
        for slot in rising.slots.values():
            self._seats.start(app, slot, Cause("deployed", release=wish.release, by=by.email))
        self._notify(wish.app_id)
        timeout_s = wish.check.boot_timeout_s + switch.GRACE_S
        timeout_s += self._seats.booting.queue_s(len(rising.slots))
        if any(slot.waiting for slot in rising.slots.values()):
            timeout_s += EXIT_TIMEOUT_S

        def is_decided() -> bool:
            slots = rising.slots.values()
            return app.rising is not rising or switch.verdict(slots, is_late=False) != "wait"

        is_late = not await self._within(timeout_s, self._until(is_decided))
        if app.rising is not rising:
            return "it was called off"
        if switch.verdict(rising.slots.values(), is_late=is_late) == "healthy":
            return ""
        why = switch.why_not(rising)
        self.call_off(wish.app_id, wish.release)
        return why

    def call_off(self, app_id: str, release: int) -> None:
        """The dynos of a release that `preboot` started go; those that serve go on."""
        app = self._seats.app(app_id)
        if app.rising and app.rising.release == release:
            switch.abandon(app, Cause("not_healthy", release=app.rising.release))
        self._notify(app_id)

    async def restart(self, app_id: str, only: str | None, by: Actor) -> int:
        """Restart all dynos of an app, of a type, or one; how many. NotFound when none is."""
        app = self._seats.app(app_id)
        once = [each for each in app.once if only == str(each.spec.name)]
        for instance in once:  # It is never started again; Heroku stops it.
            instance.stop("down", Cause("stopped", by=by.email))
        chosen = self._chosen(app, only, none_is_well=bool(once))
        before = [slot.instance for slot in chosen if slot.instance]
        cause = Cause("restarted", by=by.email)
        for slot in chosen:
            slot.begin_anew()
            self._seats.replace(app, slot, cause, cause)
        if any(slot.name.type == "web" for slot in chosen):
            self._seats.wake(app)
        self._notify(app_id)
        await self._taken([*once, *before])
        return len(chosen) + len(once)

    async def stop(self, app_id: str, only: str | None, by: Actor) -> int:
        """Stop dynos until a restart or a new release; how many."""
        app = self._seats.app(app_id)
        cause = Cause("stopped", by=by.email)
        once = [each for each in app.once if only in (None, each.spec.type, str(each.spec.name))]
        chosen = self._chosen(app, only, none_is_well=bool(once))
        asked = list(once)
        for slot in chosen:
            asked += self._seats.halt(app, slot, cause)
        for instance in once:
            instance.stop("down", cause)
        self._notify(app_id)
        await self._taken(asked)
        return len(chosen) + len(once)

    async def idle(self, app_id: str) -> int:
        """Let the web dynos of an app that are up end until a request comes; how many."""
        app = self._seats.app(app_id)
        before = [slot.instance for slot in app.slots.values() if slot.instance]
        count = self._seats.put_to_sleep(app)
        self._notify(app_id)
        await self._taken([each for each in before if each.life.state in LEAVING])
        return count

    async def unidle(self, app_id: str) -> int:
        """Begin those again that `idle` let end; how many. They serve once they are up."""
        count = self._seats.wake(self._seats.app(app_id))
        self._notify(app_id)
        return count

    def dynos(self, app_id: str, only: str | None = None) -> tuple[Dyno, ...]:
        """Every dyno of an app, or of a type, as `ps` shows it, by type, number and release."""
        app = self._seats.apps.get(app_id)
        if app is None:
            return ()

        def show(slots: Iterable[Slot]) -> list[Dyno]:
            mine = [each for each in slots if only in (None, each.name.type)]
            return [self._shown(each, each.instance) for each in mine if each.instance]

        shown = show(app.slots.values())
        if app.rising:
            rising = show(app.rising.slots.values())
            shown += [replace(each, serving=False) for each in rising]
        once = [each for each in app.once if only in (None, each.spec.type)]
        shown += [each.dyno() for each in once if not each.has_ended]
        order = attrgetter("name.type", "name.number", "release")
        return tuple(sorted(shown, key=order))

    def _shown(self, slot: Slot, instance: Instance) -> Dyno:
        dyno = instance.dyno()
        if slot.crashes:
            dyno = replace(dyno, crashes=slot.crashes)
        if not slot.retry:
            return dyno
        left_s = max(0.0, slot.retry_at_s - self._clock.monotonic_s())
        return replace(dyno, next_try_at=self._clock.wall() + timedelta(seconds=left_s))

    async def usage(self, app_id: str, only: str | None = None) -> dict[str, Usage]:
        """What each running instance of an app, or of one dyno, takes now, by instance. One that
        cannot be looked at is not among them.
        """
        app = self._seats.apps.get(app_id)
        running = [each for each in app.instances() if not each.has_ended] if app else []
        mine = [each.spec for each in running if only in (None, str(each.spec.name))]
        return await looks.usage(self._launcher, [each.instance for each in mine])

    async def forget(self, app_id: str) -> None:
        """Stop everything of an app for good, and wait until nothing is left of it."""
        self._seats.forgotten.add(app_id)
        app = self._seats.apps.pop(app_id, None) or Roster()
        mine = list(app.instances())
        for slot in app.all_slots():
            slot.rest()
        app.rising = None
        for instance in mine:
            instance.stop("down", Cause("destroyed"))
        self._seats.spares.settle(app_id)
        self._notify("")

        def is_left() -> bool:
            known = any(each.spec.app_id == app_id for each in self._seats.instances.values())
            return known or self._seats.spares.holds(app_id) or any(it.is_busy for it in mine)

        if not await self._within(FORGET_TIMEOUT_S, self._until(lambda: not is_left())):
            _log.warning("dynos of app %s are still there; the next start looks again", app_id)

    async def drained(self, instance: str) -> None:
        """An ended instance's output has been read to its end: clean it away."""
        try:
            await self._launcher.clean(instance)
        finally:
            self._seats.instances.pop(instance, None)
            self._notify("")

    async def settled(self, app_id: str, timeout_s: float) -> bool:
        """Wait until no dyno of the app is starting or ending; False when that took longer."""
        moving = {"starting", *LEAVING}

        def is_quiet() -> bool:
            return not any(each.state in moving for each in self.dynos(app_id))

        return await self._within(timeout_s, self._until(is_quiet))

    def _chosen(self, app: Roster, only: str | None, *, none_is_well: bool = False) -> list[Slot]:
        chosen = [s for s in app.slots.values() if only in (None, s.name.type, str(s.name))]
        if not chosen and only and not none_is_well:
            raise NotFound(f"There is no dyno {only}.", hint="oriel ps", resource="dyno")
        return chosen

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
            self._seats.spares.settle(app_id)
            self.watchers.tell(app_id)
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


async def _nothing(*_: object) -> None:
    return
