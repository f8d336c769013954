"""When a dyno over its quota is told of, by a stepped clock."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable

from oriel.manifold.launcher import MEMORY_TICK_S, Usage
from oriel.manifold.local.memory import SAMPLE_S, SOON_S, Memory
from tests.fakes.clock import SteppedClock

QUOTA, END = 100, 200


class Scene:
    """Dynos whose memory a test sets."""

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.taken: dict[str, int] = {}
        self.looks = 0
        self.told: list[tuple[str, int]] = []
        self.memory = Memory(self._look, self.clock)
        self.memory.listen(lambda name, usage: self.told.append((name, usage.memory_bytes)))

    def _look(self, name: str) -> Usage | None:
        self.looks += 1
        taken = self.taken.get(name)
        return None if taken is None else Usage(taken, 0, 0.0, 1)

    async def pass_s(self, seconds: float) -> None:
        async def settle() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        await self.clock.advance(seconds, settle)

    def forget(self) -> None:
        for name in list(self.taken):
            self.memory.forget(name)


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        scene = Scene()
        try:
            await story(scene)
        finally:
            scene.forget()

    asyncio.run(whole())


def test_without_alarms_it_is_seen_at_the_next_look_and_told_at_each_tick() -> None:
    async def story(scene: Scene) -> None:
        scene.taken = {"a": 50, "b": 50}
        for name in scene.taken:
            scene.memory.watch(name, (QUOTA, END), lambda: None)
        await scene.pass_s(2 * SAMPLE_S)
        assert scene.told == []
        scene.taken["a"] = 150
        await scene.pass_s(SAMPLE_S)
        assert scene.told == [("a", 150)]
        await scene.pass_s(MEMORY_TICK_S - SAMPLE_S)
        assert len(scene.told) == 1
        await scene.pass_s(SAMPLE_S)
        assert len(scene.told) == 2
        scene.taken["a"] = QUOTA
        await scene.pass_s(3 * MEMORY_TICK_S)
        assert len(scene.told) == 2
        scene.taken["a"] = 101
        await scene.pass_s(SAMPLE_S)
        assert scene.told[2:] == [("a", 101)], "over again: at once, not at the old tick"

    play(story)


def test_with_an_alarm_nothing_is_looked_at_before_it_rings() -> None:
    async def story(scene: Scene) -> None:
        scene.taken = {"a": 50}
        alarm = os.eventfd(0, os.EFD_NONBLOCK)
        scene.memory.watch("a", (QUOTA, END), lambda: alarm)
        await asyncio.sleep(0.05)
        looks = scene.looks
        await scene.pass_s(1000)
        assert scene.looks == looks
        scene.taken["a"] = 150
        os.eventfd_write(alarm, 1)
        await asyncio.sleep(0.01)
        assert scene.told == [("a", 150)]
        await scene.pass_s(MEMORY_TICK_S)
        assert len(scene.told) == 2
        scene.taken["a"] = 300  # beyond the hard level
        os.eventfd_write(alarm, 1)
        await asyncio.sleep(0.01)
        assert scene.told[2:] == [("a", 300)]

    play(story)


def test_one_that_has_just_begun_is_not_looked_at_before_its_alarm_rings() -> None:
    async def story(scene: Scene) -> None:
        scene.taken = {"a": 150}
        alarm = os.eventfd(0, os.EFD_NONBLOCK)
        scene.memory.watch("a", (QUOTA, END), lambda: alarm, fresh=True)
        await scene.pass_s(0)
        await asyncio.sleep(0.05)
        assert (scene.looks, scene.told) == (0, [])
        os.eventfd_write(alarm, 1)  # as one that grew before it was set does at once
        await asyncio.sleep(0.01)
        assert scene.told == [("a", 150)]

    play(story)


def test_who_else_needs_a_thread_does_not_wait_for_hundreds_of_alarms() -> None:
    async def story(scene: Scene) -> None:
        go_on = threading.Event()

        def arm() -> None:
            assert go_on.wait(10)

        for number in range(200):
            scene.taken[f"{number}"] = 50
            scene.memory.watch(f"{number}", (QUOTA, END), arm)
        await scene.pass_s(0)  # all of them are at it
        try:
            async with asyncio.timeout(5):
                assert await asyncio.to_thread(lambda: "a turn") == "a turn"
        finally:
            go_on.set()

    play(story)


def test_an_alarm_that_rings_for_its_disk_is_looked_after_from_then_on() -> None:
    """The kernel counts what the quota does not; it may be over without another alarm."""

    async def story(scene: Scene) -> None:
        scene.taken = {"a": 50}
        alarm = os.eventfd(0, os.EFD_NONBLOCK)
        scene.memory.watch("a", (QUOTA, END), lambda: alarm)
        await asyncio.sleep(0.05)
        os.eventfd_write(alarm, 1)
        await asyncio.sleep(0.01)
        assert scene.told == []
        scene.taken["a"] = 120
        await scene.pass_s(SAMPLE_S)
        assert scene.told == [("a", 120)]

    play(story)


def test_an_alarm_that_rings_a_little_early_is_looked_after_soon() -> None:
    """The kernel counts in lots; and what is beyond the end is no matter for the next tick."""

    async def story(scene: Scene) -> None:
        scene.taken = {"a": 50}
        alarm = os.eventfd(0, os.EFD_NONBLOCK)
        scene.memory.watch("a", (QUOTA, END), lambda: alarm)
        await asyncio.sleep(0.05)
        for early, later in ((QUOTA - 1, QUOTA + 20), (END - 1, END + 20)):
            scene.taken["a"] = early
            os.eventfd_write(alarm, 1)
            await asyncio.sleep(0.01)
            scene.told.clear()
            scene.taken["a"] = later
            await scene.pass_s(SOON_S)
            assert scene.told == [("a", later)]
        looks = scene.looks
        await scene.pass_s(60)
        assert scene.looks - looks <= 60 / SAMPLE_S + 10, "and then as seldom as ever"

    play(story)


def test_without_alarms_what_is_beyond_the_end_is_told_at_the_next_look() -> None:
    async def story(scene: Scene) -> None:
        scene.taken = {"a": 150}
        scene.memory.watch("a", (QUOTA, END), lambda: None)
        scene.taken["a"] = 300
        await scene.pass_s(SAMPLE_S)
        assert scene.told == [("a", 150), ("a", 300)]

    play(story)


def test_one_that_is_found_over_is_told_at_once_and_one_that_ended_never() -> None:
    async def story(scene: Scene) -> None:
        scene.taken = {"a": 150}
        scene.memory.watch("a", (QUOTA, END), lambda: None)
        assert scene.told == [("a", 150)]
        scene.memory.forget("a")
        scene.memory.forget("a")
        await scene.pass_s(10 * MEMORY_TICK_S)
        assert len(scene.told) == 1
        scene.memory.watch("gone", (QUOTA, END), lambda: None)
        await scene.pass_s(SAMPLE_S)
        assert len(scene.told) == 1
        scene.memory.forget("gone")

    play(story)
