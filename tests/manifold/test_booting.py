"""How many boot at once, and for how long a turn lasts: on a fake host with a stepped clock."""

from __future__ import annotations

import asyncio

import pytest

from .conftest import Play
from .stage import KATE, NED, Stage, wish


async def bound(stage: Stage, boots_max: int) -> None:
    """Control is told at its start how many the host can well boot at once."""
    stage.host.boots_max = boots_max
    await stage.restart_control()


async def reboot(stage: Stage) -> None:
    await stage.kill()
    stage.host.reboot()
    await stage.restart_control()


async def slow_apps(stage: Stage, *apps: str, worker: int) -> None:
    """They are up; what is started from now on is busy for as long as a test says."""
    for app in apps:
        await stage.conductor.wish(wish(1, app_id=app, worker=worker), by=NED)
    await stage.settle()
    await stage.advance(1)
    stage.host.toils = True


def busy(stage: Stage) -> list[str]:
    return [each.spec.app_id for each in stage.host.running() if each.busy]


def ease(stage: Stage, instance: str) -> None:
    stage.host.host[instance].busy = False


def test_after_a_reboot_no_more_than_the_bound_boot_at_once(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await bound(stage, 3)
        stage.app = "big"
        await slow_apps(stage, "big", worker=12)
        await stage.kill()
        stage.host.reboot()
        await stage.begin()
        await stage.wish(1, worker=12)
        await stage.advance(1)
        began = set[str]()
        for _ in range(12):
            assert len(busy(stage)) <= 3
            now = [each for each in stage.host.running() if each.busy]
            began |= {each.spec.instance for each in now}
            ease(stage, now[0].spec.instance)
            await stage.advance(0.1)
        assert len(began) == 12
        assert stage.lines().count("worker.12: Starting process with command: `run worker`") == 2
        await stage.advance(1)
        assert set(stage.states().values()) == {"up"}

    told(story)


def test_a_turn_ends_when_the_dyno_is_up_crashes_sleeps_or_takes_too_long(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await bound(stage, 1)
        stage.host.serves = False
        stage.host.toils = True
        # Four may boot that somebody asked for; each end lets one more go.
        await stage.wish(web=8)
        started = [each.spec.instance for each in stage.host.running()]
        assert len(started) == 4
        stage.host.host[started[0]].listens = True
        await stage.advance(0.3)
        assert len(stage.host.running()) == 5, "up"
        stage.host.end(started[1], 1)
        await stage.settle()
        assert len(stage.host.running()) == 5, "crashed: its place is another's now"
        ease(stage, stage.host.running()[-1].spec.instance)
        await stage.advance(0.1)
        assert len(stage.host.running()) == 6, "asleep"
        await stage.advance(9)
        assert len(stage.host.running()) == 6
        await stage.advance(1)
        assert len(stage.host.running()) == 7, "they took too long"
        await stage.advance(10)
        assert len(stage.host.running()) == 8, "and the crashed one's successor comes last"
        stage.host.serves = True
        stage.host.toils = False

    told(story)


def test_a_deploy_waits_for_no_queue_of_what_comes_back(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await bound(stage, 2)
        await slow_apps(stage, "big", worker=20)
        await reboot(stage)
        await stage.conductor.wish(wish(1, app_id="big", worker=20), by=NED)
        await stage.settle()
        assert busy(stage) == ["big", "big"]
        await stage.wish(2, web=1)
        assert stage.states() == {"web.1": "up"}
        await stage.conductor.restart(stage.app, None, KATE)
        await stage.settle()
        assert stage.states() == {"web.1": "up"}
        stage.host.toils = False
        await stage.advance(200)

    told(story)


def test_apps_come_back_side_by_side(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await bound(stage, 3)
        apps = ("big", "small", "tiny")
        for app, count in zip(apps, (9, 1, 1), strict=True):
            await slow_apps(stage, app, worker=count)
            stage.host.toils = False
        stage.host.toils = True
        await stage.kill()
        stage.host.reboot()
        await stage.begin()
        for app, count in zip(apps, (9, 1, 1), strict=True):
            await stage.conductor.wish(wish(1, app_id=app, worker=count), by=NED)
        await stage.settle()
        for _ in range(2):
            first = next(each for each in stage.host.running() if each.busy)
            ease(stage, first.spec.instance)
            await stage.advance(0.1)
        assert sorted(busy(stage)) == ["big", "small", "tiny"]
        stage.host.toils = False
        await stage.advance(200)

    told(story)


@pytest.mark.parametrize("how", ["scale", "stop", "release", "forget", "restart", "kill"])
@pytest.mark.parametrize("is_asked", [True, False])
def test_what_waits_for_its_turn_can_go_again(told: Play, how: str, is_asked: bool) -> None:
    async def story(stage: Stage) -> None:
        if is_asked:
            await bound(stage, 1)
            stage.host.toils = True
            await stage.wish(1, worker=6)
        else:
            await slow_apps(stage, stage.app, worker=6)
            stage.wished = wish(1, worker=6)
            stage.host.boots_max = 4
            await reboot(stage)
            await stage.advance(1)
        before = stage.host.running()
        names = [f"worker.{each}" for each in range(1, 7)]
        assert [str(each.spec.name) for each in before] == names[:4]
        assert [stage.states()[each] for each in names[4:]] == ["starting", "starting"]
        known = len(stage.entries())
        stage.lines()
        if how == "scale":
            await stage.wish(1, worker=4)
            assert list(stage.states()) == names[:4]
            assert is_asked or stage.lines("worker.5") == []
        elif how == "stop":
            await stage.ask(stage.conductor.stop(stage.app, "worker.5", KATE))
            assert stage.states()["worker.5"] == "down"
            await stage.restart_control()
            await stage.advance(100)
            assert stage.states()["worker.5"] == "down"
            assert stage.reason("worker.5") == "stopped by kate@foobazco.com"
            assert stage.states()["worker.6"] == "up"
        elif how == "release":
            await stage.wish(2, worker=6)
            await stage.advance(100)
            assert {each.spec.release for each in stage.host.running()} == {2}
        elif how == "restart":
            await stage.ask(stage.conductor.restart(stage.app, None, KATE))
            await stage.advance(100)
        elif how == "forget":
            asked = asyncio.ensure_future(stage.conductor.forget(stage.app))
            await stage.advance(1)
            assert asked.done()
            assert stage.host.running() == []
            stage.wished = None
        else:
            await stage.restart_control()
            # What was not on record yet is simply begun.
            news = [state for _, state, _ in stage.entries()[known:]]
            assert is_asked or "crashed" not in news
            await stage.advance(100)
        if how in ("release", "restart", "kill"):
            assert sorted(str(each.spec.name) for each in stage.host.running()) == names
        stage.host.toils = False

    told(story)


def test_those_that_a_killed_control_began_still_count(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await bound(stage, 2)
        stage.host.serves = False
        stage.host.toils = True
        await stage.wish(1, web=12)
        assert len(stage.host.running()) == 8
        await stage.restart_control()
        assert len(stage.host.running()) == 8
        stage.host.serves = True
        for each in stage.host.running():
            each.listens = True
        await stage.advance(30)
        assert set(stage.states().values()) == {"up"}

    told(story)


def test_a_preboot_waits_for_the_last_of_its_queue(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1)
        await bound(stage, 1)
        stage.host.serves = False
        stage.host.toils = True
        begun_s = stage.clock.monotonic_s()
        # Four at once for 10 s each: the last four begin after 20 s, and have 60 and 5 from then.
        why = await stage.release(2, web=12)
        assert "R10" in why
        assert stage.clock.monotonic_s() - begun_s == pytest.approx(85, abs=1)
        stage.host.serves = True
        stage.host.toils = False

    told(story)
