"""When a dyno is up whose port accepts connections before it listens."""

from __future__ import annotations

import asyncio
from typing import cast

from oriel.clock import Clock
from oriel.manifold.boot import Boot
from oriel.manifold.dyno import Check
from oriel.manifold.launcher import Launched, Launcher, Listening
from oriel.manifold.machine import Event, Ready


class Late:
    """Listens elsewhere from the second look on, at its port from the third; its clock does not
    wait.
    """

    def __init__(self) -> None:
        self.looks = 0

    async def listening(self, instance: str) -> tuple[Listening, ...]:
        self.looks += 1
        return {1: (), 2: (Listening("0.0.0.0", 1),)}.get(
            self.looks, (Listening("0.0.0.0", 20_007),)
        )

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def always(host: str, port: int, check: Check) -> bool:
    return True


def probed(at: Launched) -> tuple[int, list[Event]]:
    """How often the launcher was asked until it was up, and what was told."""
    late, told = Late(), []
    boot = Boot("i", at, 20_007, Check(), goes_on=lambda: True)
    asyncio.run(boot.probe(cast(Launcher, late), always, cast(Clock, late), told.append))
    return late.looks, told


def test_one_that_is_fronted_is_up_when_it_listens_itself() -> None:
    assert probed(Launched("127.0.0.1", 20_007, fronted=True)) == (3, [Ready()])


def test_another_is_up_when_it_is_reached() -> None:
    assert probed(Launched("127.0.0.1", 20_007)) == (0, [Ready()])
