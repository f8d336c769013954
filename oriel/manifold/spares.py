"""Owns which dynos have a spare: an instance that is wholly made and does not run, to take the
place of one that crashes in the moment of its end.

Spares are made one at a time, of dynos that have been up for a while, while nothing else starts;
the first of each type before the second of any, and no more than the launcher thinks well. One
that fits the wish no more, or whose dyno shall rest, is cleaned away. None outlives control. Must
not know what a crash is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from oriel.clock import Clock
from oriel.faults import Fault
from oriel.lexicon import DynoName
from oriel.manifold.dyno import Wish
from oriel.manifold.launcher import Launched, Launcher, LaunchSpec
from oriel.manifold.roster import Roster, Slot
from oriel.manifold.specs import fits, spec_of

STEADY_S = 2.0
"""How long a dyno must have been up to get one: of a deploy that fails, none is made."""

PAUSE_S = 0.2
"""How long the next one waits while something else starts."""

PATIENCE_S = 10.0
"""But not for longer: something may start for ever."""

RETRY_S = 60.0
"""When it is tried again after it could not be made."""

INFINITE = float("inf")

_log = logging.getLogger("oriel.manifold.spares")

_Key = tuple[str, DynoName]


@dataclass(frozen=True, slots=True)
class Spare:
    """An instance that waits."""

    spec: LaunchSpec
    at: Launched


class Spares:
    """The spares of all apps."""

    def __init__(self, launcher: Launcher, clock: Clock, apps: Mapping[str, Roster]) -> None:
        """None is there yet. `apps` is looked at whenever `settle` says that it has changed."""
        self._launcher = launcher
        self._clock = clock
        self._apps = apps
        self._ready: dict[_Key, Spare] = {}
        self._making: LaunchSpec | None = None
        self._put_off: dict[_Key, tuple[int, float]] = {}
        """Of whom none could be made: of which release, and until when (by the monotonic clock)."""
        self._going: dict[str, tuple[str, asyncio.Task[None]]] = {}
        """Those that are cleaned away: by instance, whose."""
        self._task: asyncio.Task[None] | None = None

    def holds(self, app_id: str) -> bool:
        """Whether anything of an app is left here."""
        making = self._making is not None and self._making.app_id == app_id
        going = any(whose == app_id for whose, _ in self._going.values())
        return making or going or any(whose == app_id for whose, _ in self._ready)

    def take(self, wish: Wish, name: DynoName) -> Spare | None:
        """The spare of a dyno, its program begun in this moment; None where there is none."""
        spare = self._ready.pop((wish.app_id, name), None)
        if spare is None:
            return None
        if fits(spare.spec, wish) and self._launcher.begin(spare.spec.instance):
            return spare
        self._let_go(spare.spec)
        return None

    def ended(self, instance: str) -> None:
        """One has ended though it was never begun."""
        for key, spare in list(self._ready.items()):
            if spare.spec.instance == instance:
                _log.warning("the spare of %s has ended by itself", spare.spec.name)
                until_s = self._clock.monotonic_s() + RETRY_S
                self._put_off[key] = (spare.spec.release, until_s)
                self._let_go(self._ready.pop(key).spec)
                self._begin_making()

    def settle(self, app_id: str) -> None:
        """The dynos of an app, or what is wished of them, have changed."""
        app = self._apps.get(app_id)
        for key, spare in list(self._ready.items()):
            if key[0] == app_id and not (app and _is_wanted(app, spare.spec)):
                self._let_go(self._ready.pop(key).spec)
        if app is None:
            gone = [key for key in self._put_off if key[0] == app_id]
            for key in gone:
                del self._put_off[key]
        self._begin_making()

    def _begin_making(self) -> None:
        if self._launcher.spares_max and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._make_all())

    async def close(self) -> None:
        """None is left, nor made any more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        left = [spare.spec for spare in self._ready.values()]
        for spec in (*left, *((self._making,) if self._making else ())):
            self._let_go(spec)
        self._ready.clear()
        await asyncio.gather(*(task for _, task in self._going.values()))

    async def _make_all(self) -> None:
        """Until each that should have one does."""
        waited_s = wait_s = STEADY_S
        await self._clock.sleep(wait_s)
        while wanting := self._wanting():
            due_s, number, key, spec = min(wanting, key=lambda each: each[:3])
            wait_s = max(due_s, PAUSE_S if self._is_anyone_starting() else 0.0)
            if due_s <= 0 and waited_s + wait_s >= PATIENCE_S:
                wait_s = 0.0
            waited_s += wait_s
            if wait_s:
                # Not for long: meanwhile another may come up.
                await self._clock.sleep(min(wait_s, STEADY_S))
            else:
                waited_s = 0.0
                if number < self._first_out < INFINITE:
                    self._let_go(self._ready.pop(max(self._ready, key=_by_number)).spec)
                await self._make(key, spec)

    @property
    def _first_out(self) -> float:
        """Where there is no room: the spare of a dyno with this number makes way for a lower."""
        if len(self._ready) < self._launcher.spares_max:
            return INFINITE
        return max(map(_by_number, self._ready))

    def _wanting(self) -> list[tuple[float, int, _Key, LaunchSpec]]:
        """Who has none and should: in how many seconds, and what it is."""
        found, first_out = [], self._first_out
        for app_id, app in self._apps.items():
            for name, slot in app.slots.items():
                key = (app_id, name)
                is_up = slot.instance is not None and slot.instance.life.state == "up"
                if not is_up or key in self._ready or name.number >= first_out:
                    continue
                spec = _for(app, slot)
                if spec is not None and (due_s := self._due_s(key, slot, spec)) is not None:
                    found.append((due_s, name.number, key, spec))
        return found

    def _due_s(self, key: _Key, slot: Slot, spec: LaunchSpec) -> float | None:
        """In how many seconds it is time to make one; None: not before something changes."""
        assert slot.instance is not None  # noqa: S101 - for the type checker
        up_s = (self._clock.wall() - slot.instance.since).total_seconds()
        due_s = max(0.0, min(STEADY_S, STEADY_S - up_s))
        release, until_s = self._put_off.get(key, (0, 0.0))
        if release == spec.release:
            due_s = max(due_s, until_s - self._clock.monotonic_s())
        return None if due_s == INFINITE else due_s

    def _is_anyone_starting(self) -> bool:
        return any(
            slot.instance is not None and slot.instance.life.state in ("new", "starting")
            for app in self._apps.values()
            for slot in app.all_slots()
        )

    async def _make(self, key: _Key, spec: LaunchSpec) -> None:
        self._making = spec
        again_s = RETRY_S
        try:
            at = self._launcher.place(spec)
            is_made = await self._launcher.prepare(spec, at)
            again_s = RETRY_S if is_made else INFINITE
        except Fault as fault:
            _log.warning("no spare of %s: %s", spec.name, fault)
            is_made = False
        except Exception:
            _log.exception("a spare of %s could not be made", spec.name)
            is_made = False
        self._making = None
        app = self._apps.get(spec.app_id)
        if is_made and app and _is_wanted(app, spec):
            self._ready[key] = Spare(spec, at)
            return
        if not is_made:
            self._put_off[key] = (spec.release, self._clock.monotonic_s() + again_s)
        self._let_go(spec)

    def _let_go(self, spec: LaunchSpec) -> None:
        instance = spec.instance

        async def clean() -> None:
            try:
                await self._launcher.clean(instance)
            except Exception:
                _log.exception("the spare %s cannot be cleaned away", instance)
            finally:
                self._going.pop(instance, None)

        self._going[instance] = (spec.app_id, asyncio.create_task(clean()))


def _by_number(key: _Key) -> int:
    return key[1].number


def _is_wanted(app: Roster, spec: LaunchSpec) -> bool:
    """Whether it could take the place of the one that has its name."""
    slot = app.slots.get(spec.name)
    rests = slot is None or slot.stopped or slot.asleep
    return not rests and app.wish is not None and fits(spec, app.wish)


def _for(app: Roster, slot: Slot) -> LaunchSpec | None:
    """What could take the place of the one in a slot; None where nothing should."""
    wish = app.wish
    process = wish.processes.get(slot.name.type) if wish else None
    if wish is None or wish.slug is None or process is None:
        return None
    spec = spec_of(wish, slot.name, process.command, process.size)
    return spec if _is_wanted(app, spec) else None
