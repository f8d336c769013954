"""When the router is told: whenever somebody asks, and when web dynos are not what they were."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from oriel.control.running import Rerouter
from oriel.lexicon import DynoName
from oriel.manifold import Dyno
from oriel.manifold.cause import Cause
from tests.fakes.clock import SteppedClock

_FIELDS: dict[str, Any] = dict.fromkeys(Dyno.__dataclass_fields__)


def dyno(name: str, state: str = "starting", **more: Any) -> Dyno:
    fields = {**_FIELDS, "instance": name, "name": DynoName.parse(name), "state": state}
    return Dyno(**{**fields, "serving": True, **more})


class Stage:
    """A rerouter with a router that counts, and dynos as a test says. It is the world, too."""

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.db = self.conductor = self
        self.now: dict[str, list[Dyno]] = {}
        self.tables = 0
        self.fails = False
        self.rerouter = Rerouter(self)  # type: ignore[arg-type]
        self.rerouter.start(self)  # type: ignore[arg-type]

    def dynos(self, app_id: str, only: str) -> tuple[Dyno, ...]:
        return tuple(each for each in self.now.get(app_id, ()) if each.name.type == only)

    async def read(self, work: object) -> str:
        return "a table"

    async def apply(self, table: str) -> None:
        if self.fails:
            raise OSError("away")
        self.tables += 1

    async def become(self, *dynos: Dyno) -> int:
        """The dynos of the app are these from now on; how many tables that made."""
        self.now["a"] = list(dynos)
        return await self.after(lambda: self.rerouter.changed("a"))

    async def after(self, tell: Callable[[], object]) -> int:
        before = self.tables
        tell()
        await self.clock.advance(0.1, _settle)
        return self.tables - before


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def play(story: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        stage = Stage()
        try:
            await story(stage)
        finally:
            await stage.rerouter.close()

    asyncio.run(whole())


WEB, WORKER = dyno("web.1", port=5000, host="h"), dyno("worker.1")


@pytest.mark.parametrize(
    ("before", "after", "tables"),
    [
        ((), (WEB,), 1),
        ((WEB,), (WEB,), 0),
        ((WEB,), (replace(WEB, state="up"),), 1),
        ((WEB,), (replace(WEB, port=5001),), 1),
        ((WEB,), (replace(WEB, host="i"),), 1),
        ((WEB,), (replace(WEB, instance="another"),), 1),
        ((WEB,), (replace(WEB, serving=False),), 1),
        ((WEB,), (WEB, dyno("web.2")), 1),
        ((WEB,), (), 1),
        ((WEB,), (replace(WEB, reason="its output is thrown away"),), 0),
        (
            (replace(WEB, state="stopping", cause=Cause("restarted")),),
            (replace(WEB, state="stopping", cause=Cause("idled")),),
            1,
        ),
        ((), (WORKER,), 0),
        ((WEB, WORKER), (WEB, replace(WORKER, state="up")), 0),
        ((WEB, WORKER), (WEB,), 0),
    ],
)
def test_a_change_of_dynos_makes_a_table_where_a_route_may_be_another(
    before: tuple[Dyno, ...], after: tuple[Dyno, ...], tables: int
) -> None:
    async def story(stage: Stage) -> None:
        await stage.become(*before)
        assert await stage.become(*after) == tables
        assert await stage.become(*after) == 0

    play(story)


def test_who_asks_is_heard_although_nothing_changed() -> None:
    """Another hand may have changed what the router has."""

    async def story(stage: Stage) -> None:
        await stage.become(WEB)
        assert await stage.after(stage.rerouter.ask) == 1
        assert await stage.after(stage.rerouter.ask) == 1
        settled = asyncio.create_task(stage.rerouter.settled())
        assert await stage.after(lambda: None) == 1
        assert settled.done()

    play(story)


def test_a_storm_is_one_table() -> None:
    async def story(stage: Stage) -> None:
        def storm() -> None:
            for number in range(100):
                stage.now["a"] = [dyno("web.1", port=number)]
                stage.rerouter.changed("a")
                stage.rerouter.ask()

        assert await stage.after(storm) == 1

    play(story)


def test_what_the_router_did_not_take_is_told_again() -> None:
    async def story(stage: Stage) -> None:
        stage.fails = True
        assert await stage.become(WEB) == 0
        stage.fails = False
        await stage.clock.advance(2.0, _settle)
        assert stage.tables == 1

    play(story)
