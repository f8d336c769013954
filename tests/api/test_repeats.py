"""Calls that are sent again: done once, answered each time."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import JSONResponse, Response

from oriel import faults
from oriel.api import repeats
from oriel.api.repeats import Repeats, key_of
from oriel.clock import SystemClock


class Stepped(SystemClock):
    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


class Work:
    """Counts how often it is done; waits for `go` when there is one."""

    def __init__(self, status: int = 201, go: asyncio.Event | None = None) -> None:
        self.done = 0
        self._status = status
        self._go = go

    async def __call__(self) -> Response:
        self.done += 1
        if self._go:
            await self._go.wait()
        if self._status == 0:
            raise faults.Conflict("No.")
        return JSONResponse({"done": self.done}, self._status)


def test_the_same_call_is_done_once() -> None:
    async def story() -> None:
        kept, work = Repeats(Stepped()), Work()
        answers = [await kept.once(b"k", work) for _ in range(3)]
        assert work.done == 1
        assert len({bytes(answer.body) for answer in answers}) == 1
        await kept.once(b"other", work)
        assert work.done == 2

    asyncio.run(story())


def test_one_that_comes_meanwhile_waits_for_the_first() -> None:
    async def story() -> None:
        go = asyncio.Event()
        kept, work = Repeats(Stepped()), Work(go=go)
        both = asyncio.gather(kept.once(b"k", work), kept.once(b"k", work))
        await asyncio.sleep(0)
        go.set()
        one, two = await both
        assert (work.done, one.body) == (1, two.body)

    asyncio.run(story())


def test_a_caller_that_leaves_does_not_stop_the_work() -> None:
    async def story() -> None:
        go = asyncio.Event()
        kept, work = Repeats(Stepped()), Work(go=go)
        first = asyncio.create_task(kept.once(b"k", work))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        go.set()
        answer = await kept.once(b"k", work)
        assert (work.done, answer.status_code) == (1, 201)

    asyncio.run(story())


@pytest.mark.parametrize("status", [0, 404, 409, 500, 503])
def test_a_refusal_is_not_kept(status: int) -> None:
    async def story() -> None:
        kept, work = Repeats(Stepped()), Work(status)
        for _ in range(2):
            try:
                await kept.once(b"k", work)
            except faults.Conflict:
                assert status == 0
        assert work.done == 2

    asyncio.run(story())


def test_answers_are_forgotten_in_time_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "KEPT_MAX", 3)

    async def story() -> None:
        clock = Stepped()
        kept, work = Repeats(clock), Work()
        await kept.once(b"k", work)
        clock.now_s = repeats.KEPT_S + 1
        await kept.once(b"k", work)
        assert work.done == 2
        for other in (b"a", b"b", b"c"):
            await kept.once(other, work)
        await kept.once(b"k", work)
        assert work.done == 6

    asyncio.run(story())


def test_all_that_makes_a_call_is_in_its_key() -> None:
    base = ("id", "Bearer a", "POST", "/apps?", b"{}")
    keys = {key_of(*base)}
    for place, other in enumerate(("id2", "Bearer b", "PATCH", "/apps?x", b"[]")):
        changed = list(base)
        changed[place] = other  # type: ignore[call-overload]
        keys.add(key_of(*changed))  # type: ignore[arg-type]
    assert len(keys) == 6
    assert key_of("a", "bc", "", "", b"") != key_of("ab", "c", "", "", b"")
