"""What happens in a slot besides being wished for: sleep, a day's end, memory, waiting."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from oriel.lexicon import DynoName
from oriel.manifold.launcher import Listening

from .conftest import Play
from .stage import KATE, NED, Stage, wish

MIB = 1 << 20
DAY_S = 86400.0


def test_idle_and_unidle(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=2, worker=1)
        await stage.advance(1)
        stage.lines()
        assert await stage.conductor.idle(stage.app) == 2
        await stage.settle()
        assert stage.states() == {"web.1": "idle", "web.2": "idle", "worker.1": "up"}
        assert stage.reason("web.1") == "no requests came"
        assert stage.lines("web.1") == [
            "Idling",
            "State changed from up to down",
            "Stopping all processes with SIGTERM",
            "Process exited with status 143",
        ]
        assert await stage.conductor.idle(stage.app) == 0
        await stage.advance(1000)
        assert stage.states()["web.1"] == "idle"
        assert await stage.conductor.unidle(stage.app) == 2
        await stage.settle()
        assert stage.states() == {"web.1": "up", "web.2": "up", "worker.1": "up"}
        assert stage.lines("web.1") == [
            "Unidling",
            "State changed from down to starting",
            "Starting process with command: `run web`",
            "State changed from starting to up",
        ]
        assert await stage.conductor.unidle(stage.app) == 0

    told(story)


def test_an_idle_app_stays_idle_over_a_restart_of_control_and_over_scaling(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        await stage.conductor.idle(stage.app)
        await stage.settle()
        for _ in range(2):
            await stage.restart_control()
            assert stage.states() == {"web.1": "idle"}
        await stage.wish(web=1, worker=1)
        await stage.advance(1)
        assert stage.states() == {"web.1": "idle", "worker.1": "up"}
        await stage.wish(web=0)
        assert stage.states() == {}

    told(story)


@pytest.mark.parametrize("how", ["release", "restart"])
def test_a_release_and_a_restart_wake_too(told: Play, how: str) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1)
        await stage.conductor.idle(stage.app)
        await stage.settle()
        stage.lines()
        if how == "release":
            await stage.wish(2, web=1)
        else:
            await stage.conductor.restart(stage.app, None, KATE)
            await stage.settle()
        assert stage.states() == {"web.1": "up"}
        assert stage.lines("web.1")[0] == "State changed from down to starting"

    told(story)


def test_woken_while_it_is_still_going_to_sleep(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(web=1)
        await stage.conductor.idle(stage.app)
        await stage.settle()
        assert stage.states() == {"web.1": "stopping"}
        await stage.restart_control()
        assert stage.states() == {"web.1": "stopping"}, "it goes on going to sleep"
        stage.host.obeys = True
        await stage.conductor.unidle(stage.app)
        await stage.settle()
        assert stage.states() == {"web.1": "up"}
        await stage.advance(40)
        assert len(stage.host.running()) == 1

    told(story)


def test_a_stop_by_hand_of_one_that_sleeps(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        await stage.conductor.idle(stage.app)
        await stage.settle()
        await stage.conductor.stop(stage.app, "web", KATE)
        await stage.settle()
        assert stage.states() == {"web.1": "down"}
        assert await stage.conductor.unidle(stage.app) == 0
        await stage.restart_control()
        assert stage.states() == {"web.1": "down"}

    told(story)


def test_daily_cycling(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.wished = replace(wish(web=1, worker=1), cycles=True)
        await stage.conductor.wish(stage.wished, by=NED)
        await stage.settle()
        await stage.advance(DAY_S - 10)
        first = {each.spec.instance for each in stage.host.running()}
        await stage.restart_control()
        stage.lines()
        await stage.advance(10 + 216 * 60 + 2)
        assert first.isdisjoint(each.spec.instance for each in stage.host.running())
        assert stage.states() == {"web.1": "up", "worker.1": "up"}
        said = stage.lines("worker.1")
        assert said[:3] == [
            "Cycling",
            "State changed from up to starting",
            "Stopping all processes with SIGTERM",
        ]
        assert said.count("Cycling") == 1

    told(story)


def test_cycling_begins_anew_with_a_restart_and_ends_when_it_is_switched_off(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.conductor.wish(replace(wish(worker=1), cycles=True), by=NED)
        await stage.advance(DAY_S - 10)
        await stage.conductor.restart(stage.app, None, KATE)
        await stage.settle()
        stage.lines()
        await stage.advance(DAY_S - 10)
        assert "Cycling" not in stage.lines("worker.1")
        await stage.conductor.wish(wish(worker=1), by=NED)
        await stage.advance(3 * DAY_S)
        assert "Cycling" not in stage.lines("worker.1")
        await stage.conductor.wish(replace(wish(worker=1), cycles=True), by=NED)
        await stage.advance(1)
        assert stage.lines("worker.1")[0] == "Cycling", "it is long over its day"

    told(story)


def test_memory_over_the_quota_is_told_again_and_again(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        stage.lines()
        for _ in range(2):
            stage.host.grow("web.1", int(545.8 * MIB))
            await stage.settle()
        assert (
            stage.lines("web.1")
            == [
                "Process running mem=545M(106.6%)",
                "Error R14 (Memory quota exceeded)",
            ]
            * 2
        )
        assert stage.states() == {"web.1": "up"}

    told(story)


def test_memory_vastly_over_the_quota_ends_it(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        stage.lines()
        stage.host.serves = False
        stage.host.grow("web.1", 1100 * MIB)
        await stage.settle()
        assert stage.lines("web.1")[:6] == [
            "Process running mem=1100M(214.8%)",
            "Error R15 (Memory quota vastly exceeded)",
            "Stopping process with SIGKILL",
            "Process exited with status 137",
            "State changed from up to crashed",
            "State changed from crashed to starting",
        ]
        crashed = [cause for _, state, cause in stage.entries() if state == "crashed"][0]
        assert (crashed.kind, crashed.status, crashed.memory_bytes) == (
            "memory_quota",
            137,
            1100 * MIB,
        )

    told(story)


def test_what_the_kernel_killed_for_its_memory_says_so(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        stage.lines()
        for _ in range(2):
            instance = stage.host.named("worker.1").spec.instance
            stage.host.end(instance, 137, out_of_memory=True)
            await stage.settle()
        reason = "ran out of memory (R15), exited with status 137 (SIGKILL)"
        assert stage.reason("worker.1") == reason
        assert stage.lines("worker.1")[:2] == [
            "Error R15 (Memory quota vastly exceeded)",
            "Process exited with status 137",
        ]

    told(story)


def test_one_that_listens_elsewhere_is_told_once_at_half_of_its_time(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.serves = False
        await stage.wish(web=1)
        dyno = stage.host.named("web.1")
        dyno.elsewhere = (Listening("0.0.0.0", 8000), Listening("0.0.0.0", 9000))
        await stage.advance(29)
        assert not any("R11" in line for line in stage.lines())
        await stage.advance(30)
        assert [line for line in stage.lines("web.1") if "R11" in line] == [
            "Error R11 (Bad bind) -> Process bound to port 8000, should be "
            f"{dyno.at.port} (see environment variable PORT)"
        ]

    told(story)


def test_a_process_that_listens_nowhere_gets_no_such_hint(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.serves = False
        await stage.wish(web=1)
        await stage.advance(59)
        assert not any("R11" in line for line in stage.lines())

    told(story)


def test_another_than_web_waits_until_the_one_before_has_gone(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(1, worker=1)
        await stage.advance(1)
        stage.lines()
        await stage.wish(2, worker=1)
        assert stage.states() == {"worker.1": "restarting"}
        assert stage.reason("worker.1") == "replaced by v2"
        await stage.advance(20)
        assert [each.spec.release for each in stage.host.running()] == [1]
        stage.host.obeys = True
        await stage.advance(12)
        assert [each.spec.release for each in stage.host.running()] == [2]
        assert stage.states() == {"worker.1": "up"}
        assert "State changed from down to starting" not in stage.lines("worker.1")

    told(story)


def test_a_worker_that_waits_is_stopped_by_hand(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(1, worker=1)
        await stage.advance(1)
        await stage.conductor.restart(stage.app, None, KATE)
        await stage.settle()
        await stage.conductor.stop(stage.app, "worker.1", KATE)
        await stage.settle()
        assert stage.states() == {"worker.1": "stopping"}
        await stage.restart_control()
        await stage.advance(40)
        assert stage.states() == {"worker.1": "down"}
        assert stage.host.running() == []

    told(story)


def test_a_stop_is_on_record_while_a_launch_takes_its_time(told: Play) -> None:
    async def story(stage: Stage) -> None:
        hold = asyncio.Event()

        async def slow(_: str) -> None:
            await hold.wait()

        stage.host._hold = slow
        await stage.wish(worker=1)
        await stage.conductor.stop(stage.app, "worker.1", KATE)
        assert stage.states() == {"worker.1": "stopping"}
        assert stage.clock.monotonic_s() == 0
        hold.set()
        await stage.settle()
        assert stage.states() == {"worker.1": "down"}
        assert stage.host.running() == []

    told(story)


def test_a_crashed_one_says_when_it_is_tried_again(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        for _ in range(4):
            await stage.advance(3)
            stage.host.crash("worker.1")
            await stage.settle()
        dyno = stage.conductor.dynos(stage.app)[0]
        assert (dyno.name, dyno.state, dyno.crashes) == (DynoName("worker", 1), "crashed", 4)
        assert dyno.next_try_at is not None
        assert 3 < (dyno.next_try_at - stage.clock.wall()).total_seconds() < 5

    told(story)
