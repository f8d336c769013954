"""Who waits for an app's dynos to change."""

from __future__ import annotations

import asyncio

import pytest

from oriel.faults import Unavailable
from oriel.manifold.watch import Watchers


def test_a_watch_is_woken_by_its_app_alone() -> None:
    async def tell() -> None:
        watchers = Watchers()
        with watchers.watching("a") as mine, watchers.watching("b") as others:
            watchers.tell("a")
            assert await mine.changed(10)
            assert not await others.changed(0)
            assert not await mine.changed(0), "told once"

    asyncio.run(tell())


def test_what_happens_between_two_waits_is_not_missed() -> None:
    async def tell() -> None:
        watchers = Watchers()
        with watchers.watching("a") as mine, watchers.watching("a") as too:
            waiting = asyncio.create_task(mine.changed(10))
            await asyncio.sleep(0)
            watchers.tell("a")
            watchers.tell("a")
            assert await waiting
            assert await too.changed(0)
            watchers.tell("a")
            assert await mine.changed(0)

    asyncio.run(tell())


def test_only_so_many_watch() -> None:
    watchers = Watchers(most=2)
    with watchers.watching("a"), watchers.watching("b"):
        with pytest.raises(Unavailable, match="2 watch already"), watchers.watching("a"):
            pass
        assert len(watchers) == 2
    assert len(watchers) == 0
    with watchers.watching("a"):
        watchers.tell("nobody")
