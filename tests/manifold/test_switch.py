"""Releases side by side (preboot): the new web dynos come before the old ones go, or not at all."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from oriel.lexicon import DynoName
from oriel.manifold.cause import Cause
from oriel.manifold.roster import Slot
from oriel.manifold.switch import verdict

from .conftest import Play
from .stage import KATE, NED, Stage, wish


class Stub:
    """As much of an instance as a verdict looks at."""

    def __init__(self, state: str) -> None:
        self.life = self
        self.state = state


@pytest.mark.parametrize(
    ("slots", "is_late", "found"),
    [
        ([("up", 0), ("up", 0)], False, "healthy"),
        ([("up", 0), ("starting", 0)], False, "wait"),
        ([("up", 0), ("starting", 0)], True, "healthy"),
        ([("up", 0), ("crashed", 9)], False, "wait"),
        ([("up", 0), ("crashed", 9)], True, "healthy"),
        ([("starting", 0)], False, "wait"),
        ([("starting", 0)], True, "hopeless"),
        ([("crashed", 2), ("crashed", 3)], False, "wait"),
        ([("crashed", 3), ("starting", 3)], False, "hopeless"),
        ([], False, "healthy"),
    ],
)
def test_verdict(slots: list[tuple[str, int]], is_late: bool, found: str) -> None:
    made = [
        Slot(DynoName("web", n), Stub(state), crashes=crashes)  # type: ignore[arg-type]
        for n, (state, crashes) in enumerate(slots, 1)
    ]
    assert verdict(made, is_late=is_late) == found


def test_the_new_ones_come_before_the_old_ones_go(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=2, worker=1)
        await stage.advance(1)
        stage.lines()
        stage.host.serves = False
        asked = asyncio.ensure_future(stage.release(2, web=2, worker=1))
        await stage.settle()
        shown = [(str(d.name), d.release, d.state) for d in stage.conductor.dynos(stage.app)]
        assert shown == [
            ("web.1", 1, "up"),
            ("web.1", 2, "starting"),
            ("web.2", 1, "up"),
            ("web.2", 2, "starting"),
            ("worker.1", 1, "up"),
        ]
        served = [d.release for d in stage.conductor.dynos(stage.app) if stage.serves(d)]
        assert served == [1, 1]
        for each in stage.host.running():
            each.listens = each.at.port is not None
        await stage.advance(1)
        assert await asked == ""
        await stage.advance(1)
        assert {each.spec.release for each in stage.host.running()} == {2}
        assert stage.states() == {"web.1": "up", "web.2": "up", "worker.1": "up"}
        assert stage.lines("web.1") == [
            "Starting process with command: `run web`",
            "State changed from starting to up",
            "State changed from up to down",
            "Stopping all processes with SIGTERM",
            "Process exited with status 143",
        ]

    told(story)


def test_an_old_one_gets_sigterm_only_when_the_router_knows_the_new(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1)
        old = stage.host.named("web.1")
        told_ = asyncio.Event()
        stage.router_is_told = told_.wait
        assert await stage.release(2, web=1) == ""
        await stage.advance(30)
        assert (old.terms, old.exit) == (0, None)
        served = [d for d in stage.conductor.dynos(stage.app) if stage.serves(d)]
        assert [d.release for d in served] == [2], "the new one serves, the old one waits"
        told_.set()
        await stage.settle()
        assert old.exit is not None

    told(story)


def test_one_that_never_comes_up_leaves_everything_as_it_was(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=2, worker=1)
        await stage.advance(1)
        before = {each.spec.instance for each in stage.host.running()}
        stage.host.serves = False
        why = await stage.release(2, web=2, worker=1)
        assert why == "web.1 did not bind to its port within 60 s (R10)"
        await stage.advance(40)
        assert {each.spec.instance for each in stage.host.running()} == before
        assert [d.release for d in stage.conductor.dynos(stage.app)] == [1, 1, 1]
        assert set(stage.states().values()) == {"up"}
        kinds = Counter(cause.kind for _, state, cause in stage.entries() if state == "down")
        assert set(kinds) <= {"not_healthy"}

    told(story)


def test_one_that_crashes_at_once_is_given_up_at_once(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1)
        began_s = stage.clock.monotonic_s()
        stage.host.serves = False
        asked = asyncio.ensure_future(stage.release(2, web=1))
        for _ in range(3):
            await stage.settle()
            new = [each for each in stage.host.running() if each.spec.release == 2]
            while not new:
                await stage.advance(0.2)
                new = [each for each in stage.host.running() if each.spec.release == 2]
            stage.host.end(new[0].spec.instance, 1)
            await stage.settle()
        assert await asked == "web.1 exited with status 1"
        assert stage.clock.monotonic_s() - began_s < 5
        assert stage.states() == {"web.1": "up"}

    told(story)


def test_when_it_is_late_one_that_is_up_is_enough(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=2)
        stage.host.serves = False
        asked = asyncio.ensure_future(stage.release(2, web=2))
        await stage.settle()
        new = [each for each in stage.host.running() if each.spec.release == 2]
        new[0].listens = True
        await stage.advance(50)
        assert not asked.done()
        await stage.advance(20)
        assert await asked == ""
        stage.host.serves = True
        await stage.advance(100)
        assert stage.states() == {"web.1": "up", "web.2": "up"}
        assert {each.spec.release for each in stage.host.running()} == {2}

    told(story)


def test_scaling_while_it_comes_up_counts(told: Play) -> None:
    async def story(stage: Stage) -> None:
        for quantity in (3, 1, 0):
            await stage.wish(1, web=2)
            stage.host.serves = False
            asked = asyncio.ensure_future(stage.conductor.preboot(wish(2, web=2), by=NED))
            await stage.settle()
            stage.host.serves = True
            await stage.wish(1, web=quantity)
            assert sum(each.spec.release == 1 for each in stage.host.running()) == quantity
            for each in stage.host.running():
                each.listens = each.at.port is not None
            assert await stage.ask(asked) == ""
            await stage.wish(2, web=quantity)
            await stage.advance(1)
            assert len(stage.host.running()) == quantity
            assert {each.spec.release for each in stage.host.running()} <= {2}
            await stage.wish(3, web=0)

    told(story)


def test_a_restart_while_it_comes_up_never_makes_three_of_a_name(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(1, web=1)
        stage.host.serves = False
        asked = asyncio.ensure_future(stage.release(2, web=1))
        await stage.settle()
        await stage.conductor.restart(stage.app, None, KATE)
        await stage.settle()
        stage.check(whole=False)
        assert stage.conductor.dynos(stage.app)[0].state == "restarting"
        stage.host.obeys = stage.host.serves = True
        for each in stage.host.running():
            each.listens = each.spec.release == 2
        await stage.advance(35)
        assert await asked == ""
        await stage.advance(70)
        assert stage.states() == {"web.1": "up"}
        assert [each.spec.release for each in stage.host.running()] == [2]

    told(story)


def test_another_release_calls_it_off(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1)
        stage.host.serves = False
        asked = asyncio.ensure_future(stage.conductor.preboot(wish(2, web=1), by=NED))
        await stage.settle()
        stage.host.serves = True
        await stage.wish(3, web=1)
        assert await stage.ask(asked) == "it was called off"
        await stage.advance(40)
        assert [each.spec.release for each in stage.host.running()] == [3]

    told(story)


def test_the_app_goes_while_it_comes_up(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1)
        stage.host.serves = False
        asked = asyncio.ensure_future(stage.conductor.preboot(wish(2, web=1), by=NED))
        await stage.settle()
        await stage.ask(stage.conductor.forget(stage.app))
        assert await stage.ask(asked) == "it was called off"
        assert stage.host.host == {}

    told(story)


@pytest.mark.parametrize("healthy", [True, False])
def test_a_kill_at_each_step_of_a_switch(told: Play, healthy: bool) -> None:
    """Whatever the ledger says then, runs: of the release that was not settled nothing is left."""
    for dies_at in itertools.count():
        survived = False

        async def story(stage: Stage, dies_at: int = dies_at) -> None:
            nonlocal survived
            await stage.wish(1, web=2, worker=1)
            await stage.advance(1)
            await stage.kill()
            await stage.begin(dies_at)
            await stage.or_death(stage.conductor.wish(stage.wished or wish(), by=NED))
            if not stage.life.is_dead:
                await stage.release(2, crashes=not healthy, web=2, worker=1)
            if not stage.life.is_dead:
                await stage.advance(1)
            survived = not stage.life.is_dead
            served = {d.spec.instance for d in stage.host.running() if d.listens}
            await stage.kill()
            await stage.begin()
            # Before the ledger is read, the router has somebody to send requests to.
            routed = {d.instance for d in stage.conductor.dynos(stage.app) if stage.serves(d)}
            assert routed & served, f"killed at step {dies_at}"
            assert stage.wished is not None
            await stage.conductor.wish(stage.wished, by=NED)
            await stage.settle()
            await stage.advance(3)
            live = Counter(each.spec.type for each in stage.host.running())
            assert live == {"web": 2, "worker": 1}, f"killed at step {dies_at}"
            assert {each.spec.release for each in stage.host.running()} == {stage.wished.release}
            assert stage.wished.release == (2 if healthy and survived else stage.wished.release)
            assert stage.states() == {"web.1": "up", "web.2": "up", "worker.1": "up"}

        told(story)
        if survived:
            break
    assert dies_at >= 8, "the kills came at no step"


def test_the_cause_of_those_that_went(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1)
        assert await stage.release(2, web=1) == ""
        await stage.advance(1)
        ends = [cause for _, state, cause in stage.entries() if state == "down"]
        wanted = Cause("new_release", by=NED.email, release=2, status=143, signal=15)
        assert ends == [wanted]

    told(story)
