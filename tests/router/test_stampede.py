"""Everybody comes at once: to one idle app, to many idle apps, to one that never comes up."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oriel.clock import SystemClock
from oriel.control import sleeper
from oriel.control.sleeper import WAKES_PARALLEL, Sleeper
from oriel.router import Router, RouteTable, Server, Waker
from oriel.router.waker import waker_name

from .conftest import House, app, table, until
from .crowd import many_files, visit
from .rush import quick_app
from .test_crowds import resident_mb

pytestmark = pytest.mark.real

BOOT_S = 0.2
STUCK = "stuck"


class Village:
    """Idle apps: `Sleeper` sees them as control's, and they boot in their own time."""

    def __init__(self, names: list[str], server: Server) -> None:
        self.modes = dict.fromkeys([f"id-{name}" for name in names], "idle")
        self.begun = Counter[str]()
        self.boots = self.boots_most = 0
        self.changed = asyncio.Event()
        self._server = server
        self._boots: list[asyncio.Task[None]] = []

    def table(self) -> RouteTable:
        return table(*(self._route(each.removeprefix("id-"), m) for each, m in self.modes.items()))

    def _route(self, name: str, mode: str) -> Any:
        return app(name, *([self._server] if mode == "serve" else []), mode=mode)

    def is_asleep(self, world: object, app_id: str) -> bool:
        return self.modes[app_id] == "idle"

    async def unidle(self, world: object, app_id: str) -> None:
        self.begun[app_id] += 1
        self.modes[app_id] = "booting"
        self.changed.set()
        if app_id != f"id-{STUCK}":
            self._boots.append(asyncio.create_task(self._boot(app_id)))

    async def _boot(self, app_id: str) -> None:
        self.boots += 1
        self.boots_most = max(self.boots_most, self.boots)
        await asyncio.sleep(BOOT_S)
        self.boots -= 1
        self.modes[app_id] = "serve"
        self.changed.set()

    async def settled(self, app_id: str, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.modes[app_id] != "serve":
                    await asyncio.sleep(0.01)

    async def route(self, router: Router) -> None:
        """As control's rerouter: what changed meanwhile is one change."""
        while True:
            await self.changed.wait()
            self.changed.clear()
            await router.apply(self.table())


def count_codes(house: House, codes: Counter[str]) -> None:
    """Read lines before the socket's buffer is full, until it is closed."""
    with contextlib.suppress(OSError):
        while True:
            with contextlib.suppress(TimeoutError):
                codes[(re.findall(" code=(H..) ", house.line()) or [""])[0]] += 1


@pytest.mark.parametrize(
    ("apps", "visits", "hold_s"),
    [
        (1, 1000, 4),
        (100, 10, 4),
        pytest.param(500, 10, 30, marks=[pytest.mark.long, pytest.mark.timeout(300)]),
    ],
)
def test_a_stampede_wakes_each_app_once_and_a_few_at_a_time(
    house: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    apps: int,
    visits: int,
    hold_s: float,
) -> None:
    names = [*(f"app-{number}" for number in range(apps)), STUCK]
    name = waker_name(tmp_path)

    async def story(server: Server) -> tuple[Village, list[int], list[int], float, float]:
        village = Village(names, server)
        monkeypatch.setattr(sleeper, "dynos", village)
        world: Any = SimpleNamespace(conductor=village)
        wakes = Sleeper(world)
        router = house.router(boot_hold_s=hold_s, waker=name, spares=32, head_timeout_s=60)
        await router.start(village.table())
        await asyncio.to_thread(house.start_proxy)
        waker = Waker(name, wakes.wake, SystemClock(), user="haproxy")
        await waker.start()
        routing = asyncio.create_task(village.route(router))
        before_mb = resident_mb(house.worker())
        begun = time.monotonic()
        stuck = [visit(house.port, f"{STUCK}.localhost", n) for n in range(10)]
        others = [
            visit(house.port, f"{each}.localhost", 10 + n * apps + place)
            for n in range(visits)
            for place, each in enumerate(names[:-1])
        ]
        refused = asyncio.gather(*stuck)
        answered = await asyncio.gather(*others)
        took_s = time.monotonic() - begun
        after_mb = resident_mb(house.worker())
        statuses = await refused
        routing.cancel()
        await asyncio.gather(routing, return_exceptions=True)
        await wakes.close()
        await waker.close()
        await router.close()
        print(
            f"\n{apps} idle apps x {visits} requests at once: all answered in {took_s:.1f} s,"
            f" at most {village.boots_most} booted at once (each takes {BOOT_S} s);"
            f" HAProxy {before_mb:.0f} MB -> {after_mb:.0f} MB"
        )
        return village, answered, statuses, took_s, after_mb - before_mb

    codes = Counter[str]()
    reader = threading.Thread(target=count_codes, args=(house, codes), daemon=True)
    reader.start()
    with many_files(4 * apps * visits + 2000), quick_app(tmp_path / "app") as quick:
        village, answered, refused, _, more_mb = asyncio.run(story(quick.server()))
    assert Counter(answered) == {200: apps * visits}
    assert village.begun == Counter(f"id-{each}" for each in names)
    assert village.boots_most <= WAKES_PARALLEL
    assert more_mb < 20 + 0.1 * apps * visits
    assert Counter(refused) == {503: 10}
    until(lambda: sum(codes.values()) == apps * visits + 10, "all lines are there")
    assert codes == {"": apps * visits, "H20": 10}
