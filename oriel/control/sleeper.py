"""Owns the going to sleep and waking of apps without requests.

No request passes here: whether an app has had any is read from HAProxy's counters, seldom, and
only of apps that may go idle; a request of one that is idle makes HAProxy tell the waker, once.
What is known is HAProxy's, so a restart of control forgets only when a long websocket ended; a
HAProxy that starts anew counts anew. Must not know how a dyno ends or starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from oriel.control import dynos
from oriel.control.world import World
from oriel.ledger import settings
from oriel.manifold import Dyno
from oriel.router import Activity

LOOK_MIN_S = 1.0
LOOK_MAX_S = 30.0
"""How often it is looked; in between, a tenth of the shortest time that an app has set."""

WAKES_PARALLEL = 16
"""How many apps are begun at once: somebody may knock at all of them."""

WAKE_TURN_S = 1.0
"""How long an app that boots keeps others from being begun, at most."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quiet:
    """What is remembered of an app between two looks."""

    open_at_s: float | None = None
    """When a request or websocket was last seen under way, by the monotonic clock."""


def quiet_s(was: Quiet, activity: Activity, up_s: float, now_s: float) -> tuple[Quiet, float]:
    """For how long an app has had nothing to do, and what to remember of that.

    `up_s`: for how long its youngest web dyno has been up; an app that has just been started is
    not idle yet.
    """
    if activity.open:
        return Quiet(now_s), 0.0
    since_open_s = now_s - was.open_at_s if was.open_at_s is not None else float("inf")
    return was, min(activity.quiet_s, up_s, since_open_s)


def up_s(web: Iterable[Dyno], now: datetime) -> float | None:
    """How long the youngest web dyno has been up; None while something of them is under way, or
    none is up: then nothing is to go idle.
    """
    known = [each for each in web if each.state != "idle"]
    if not known or any(each.state != "up" or not each.serving for each in known):
        return None
    return max(0.0, (now - max(each.since for each in known)).total_seconds())


class Sleeper:
    """Looks, and wakes."""

    def __init__(self, world: World) -> None:
        """`start` begins."""
        self._world = world
        self._changed = asyncio.Event()
        self._known: dict[str, Quiet] = {}
        self._turns = asyncio.Semaphore(WAKES_PARALLEL)
        self._wakes: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look_often())

    async def close(self) -> None:
        """Look no more. What is asleep stays so, and wakes after the next start."""
        tasks = [task for task in (self._task, *self._wakes.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def changed(self) -> None:
        """An app may go idle from now on, or may not any more."""
        self._changed.set()

    def wake(self, app_id: str) -> None:
        """A request came for an app that is idle. Any number of calls wake it once."""
        if app_id not in self._wakes and dynos.is_asleep(self._world, app_id):
            task = self._wakes[app_id] = asyncio.create_task(self._wake(app_id))
            task.add_done_callback(lambda _: self._wakes.pop(app_id, None))

    async def _wake(self, app_id: str) -> None:
        async with self._turns:
            try:
                await dynos.unidle(self._world, app_id)
                await self._world.conductor.settled(app_id, WAKE_TURN_S)
            except Exception:
                # HAProxy tells again while requests wait.
                _log.exception("app %s could not be woken", app_id)

    async def _look_often(self) -> None:
        while True:
            pause_s = LOOK_MAX_S
            try:
                after = await self._world.db.read(settings.all_idling)
                self._known = {key: it for key, it in self._known.items() if key in after}
                if not after:
                    await self._changed.wait()
                    self._changed.clear()
                    continue
                await self._look(after)
                pause_s = min(LOOK_MAX_S, max(LOOK_MIN_S, min(after.values()) / 10))
            except Exception:
                _log.exception("it could not be seen which apps have no requests")
            await self._pause(pause_s)

    async def _pause(self, pause_s: float) -> None:
        changed = asyncio.create_task(self._changed.wait())
        alarm = asyncio.create_task(self._world.clock.sleep(pause_s))
        try:
            await asyncio.wait({changed, alarm}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (changed, alarm):
                each.cancel()
        self._changed.clear()

    async def _look(self, after: Mapping[str, int]) -> None:
        now = self._world.clock.wall()
        up = {app_id: up_s(dynos.web_of(self._world, app_id), now) for app_id in after}
        awake = {app_id: for_s for app_id, for_s in up.items() if for_s is not None}
        if not awake or not self._world.router.can_wake:
            return
        seen = await self._world.router.activity(awake)
        now_s = self._world.clock.monotonic_s()
        for app_id, activity in seen.items():
            was = self._known.get(app_id, Quiet())
            self._known[app_id], for_s = quiet_s(was, activity, awake[app_id], now_s)
            if for_s >= after[app_id]:
                del self._known[app_id]
                await dynos.idle(self._world, app_id)
