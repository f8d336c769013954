"""A year of a formation: releases, crashes, cycling, scaling, sleep, memory, kills."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from .conftest import Play
from .stage import KATE, NED, Stage, wish

DAY_S = 86400.0
MIB = 1 << 20


class Year:
    """What happens, day by day, and what must be so afterwards."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.chance = random.Random(seed)
        self.release = 1
        self.quantities = {"web": 2, "worker": 1}
        self.crashes = 0
        self.happened = Counter[str]()

    async def wish(self) -> None:
        new = replace(wish(self.release, **self.quantities), cycles=True)
        self.stage.wished = new
        await self.stage.conductor.wish(new, by=NED)

    async def day(self, number: int) -> None:
        for each in ("deploy", "crash", "loop", "scale", "memory", "restart", "sleep", "kill"):
            often = {"crash": 2, "deploy": 3, "memory": 5, "kill": 30, "loop": 40}.get(each, 9)
            if self.chance.randrange(often) == 0:
                self.happened[each] += 1
                await getattr(self, each)()
                await self.stage.settle()
        await self.stage.advance(DAY_S, grain_s=1.0)
        wanted = sum(self.quantities.values())
        assert len(self.stage.host.running()) == wanted, f"day {number}: {self.stage.states()}"
        assert set(self.stage.states().values()) == {"up"}, f"day {number}"

    async def deploy(self) -> None:
        number = self.release = self.release + 1
        if self.chance.random() < 0.5:
            assert await self.stage.release(number, **self.quantities) == ""
        await self.wish()

    async def crash(self) -> None:
        for dyno in self.stage.host.running()[:1]:
            self.stage.host.end(dyno.spec.instance, self.chance.choice([0, 1, 139]))
            self.crashes += 1

    async def loop(self) -> None:
        for _ in range(12):
            await self.crash()
            await self.stage.advance(400, grain_s=1.0)

    async def scale(self) -> None:
        self.quantities = {"web": self.chance.randint(1, 3), "worker": self.chance.randint(0, 2)}
        await self.wish()

    async def memory(self) -> None:
        self.stage.host.grow("web.1", self.chance.choice([600, 1100]) * MIB)

    async def restart(self) -> None:
        await self.stage.ask(self.stage.conductor.restart(self.stage.app, "web", KATE))

    async def sleep(self) -> None:
        await self.stage.conductor.idle(self.stage.app)
        await self.stage.settle()
        await self.stage.advance(3600, grain_s=1.0)
        await self.stage.conductor.unidle(self.stage.app)

    async def kill(self) -> None:
        await self.stage.restart_control()


async def live(stage: Stage) -> Counter[str]:
    """A year on that stage; what happened in it."""
    stage.blocks = True
    stage.host.spares_max = 2
    await stage.restart_control()
    year = Year(stage, 2011)
    await year.wish()
    for number in range(365):
        await year.day(number)
    return year.happened


def test_a_year(told: Play) -> None:
    """How long it takes is measured by bench/manifold-year."""
    happened: list[Counter[str]] = []

    async def story(stage: Stage) -> None:
        happened.append(await live(stage))

    told(story)
    assert all(count > 3 for count in happened[0].values()), happened[0]
