"""Sandboxes that are ready: a dyno that has been up for a while has one, and when it crashes it is
made good in the same moment. Stories on a fake host with a stepped clock.
"""

from __future__ import annotations

import asyncio
import itertools

from oriel.manifold import Exit, spares
from oriel.manifold.succession import PROGRAM_FIRST_S

from .conftest import Play
from .stage import KATE, NED, Stage, wish, without_code

UNTIL_READY_S = 3 * spares.STEADY_S


async def steady(stage: Stage, most: int = 10, **quantities: int) -> None:
    """Control runs with spares, and each dyno has its own."""
    stage.host.spares_max = most
    await stage.restart_control()
    await stage.wish(**quantities)
    await stage.advance(UNTIL_READY_S)
    stage.lines()


def done_to(stage: Stage, what: str) -> list[str]:
    return [instance for word, instance in stage.host.story if word == what]


def test_one_that_crashes_is_followed_in_the_same_moment(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        ready = stage.host.ready()["worker.1"]
        old = stage.host.crash("worker.1", 7)
        await _turn()
        # Not even the end of the one before is on record yet.
        assert [each.spec.instance for each in stage.host.running()] == [ready]
        assert stage.record()[old] == ["starting", "up"]
        await stage.advance(PROGRAM_FIRST_S)
        assert stage.record()[old] == ["starting", "up", "crashed"]
        assert stage.record()[ready] == ["starting"]
        await stage.advance(0.5)
        assert stage.record()[ready] == ["starting", "up"]
        assert stage.lines("worker.1") == [
            "Process exited with status 7",
            "State changed from up to crashed",
            "State changed from crashed to starting",
            "Starting process with command: `run worker`",
            "State changed from starting to up",
        ]
        (shown,) = stage.conductor.dynos(stage.app)
        assert (shown.instance, shown.crashes) == (ready, 1)

    told(story)


def test_its_record_is_that_of_one_without_a_spare(told: Play) -> None:
    """What a user reads is the same, whether or not there was one."""
    told_of: list[list[str]] = []
    for most in (0, 10):

        async def story(stage: Stage, most: int = most) -> None:
            await steady(stage, most, web=2, worker=1)
            for name in ("web.2", "worker.1"):
                stage.host.crash(name, 1)
                await stage.settle()
                await stage.advance(1.0)
            told_of.append(stage.lines())
            assert len(done_to(stage, "begin")) == (2 if most else 0)

        told(story)
    assert told_of[0] == told_of[1]


def test_the_next_crash_waits_as_ever(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        stage.host.crash("worker.1")
        await stage.advance(UNTIL_READY_S)
        assert "worker.1" in stage.host.ready(), "it has one again"
        stage.host.crash("worker.1")
        await stage.settle()
        assert stage.states() == {"worker.1": "crashed"}
        await stage.advance(5)
        assert stage.states() == {"worker.1": "up"}
        # Ten healthy minutes later what was is forgotten.
        await stage.advance(700)
        ready = stage.host.ready()["worker.1"]
        stage.host.crash("worker.1")
        await stage.advance(PROGRAM_FIRST_S)
        assert [each.spec.instance for each in stage.host.running()] == [ready]

    told(story)


def test_a_new_release_has_new_ones(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, web=1)
        old = stage.host.ready()["web.1"]
        await stage.wish(2, web=1)
        assert stage.host.ready() == {}
        assert old in done_to(stage, "clean")
        await stage.advance(UNTIL_READY_S)
        new = stage.host.ready()["web.1"]
        assert stage.host.host[new].spec.release == 2

    told(story)


def test_who_rests_has_none(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, web=2, worker=1)
        assert sorted(stage.host.ready()) == ["web.1", "web.2", "worker.1"]
        await stage.wish(web=1, worker=1)
        assert sorted(stage.host.ready()) == ["web.1", "worker.1"]
        await stage.ask(stage.conductor.stop(stage.app, "worker.1", KATE))
        assert sorted(stage.host.ready()) == ["web.1"]
        await stage.conductor.idle(stage.app)
        await stage.settle()
        assert stage.host.ready() == {}
        await stage.conductor.unidle(stage.app)
        await stage.advance(UNTIL_READY_S)
        assert sorted(stage.host.ready()) == ["web.1"]
        await stage.conductor.wish(without_code(), by=NED)
        await stage.settle()
        assert stage.host.ready() == {}

    told(story)


def test_nothing_is_left_of_an_app_that_is_gone(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, web=1, worker=2)
        await stage.ask(stage.conductor.forget(stage.app))
        assert stage.host.host == {}
        await stage.advance(UNTIL_READY_S)
        assert stage.host.host == {}

    told(story)


def test_an_app_is_gone_only_when_its_spares_are(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, web=0, worker=1)
        ready = stage.host.ready()["worker.1"]
        clean, gate = stage.host.clean, asyncio.Event()

        async def slowly(instance: str) -> None:
            if instance == ready:
                await gate.wait()
            await clean(instance)

        stage.host.clean = slowly  # type: ignore[method-assign]
        going = asyncio.ensure_future(stage.conductor.forget(stage.app))
        await stage.advance(5)
        assert not going.done()
        assert list(stage.host.host) == [ready]
        gate.set()
        await stage.ask(going)
        assert stage.host.host == {}

    told(story)


def test_none_outlives_a_control_that_stops(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, web=1, worker=1)
        ready = set(stage.host.ready().values())
        await stage.conductor.close()
        assert stage.host.ready() == {}
        assert ready <= set(done_to(stage, "clean"))
        assert len(stage.host.running()) == 2
        await stage.restart_control()

    told(story)


def test_the_first_of_each_type_before_the_second_of_any(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, 3, web=4, worker=2)
        assert sorted(stage.host.ready()) == ["web.1", "web.2", "worker.1"]

    told(story)


def test_one_that_has_just_come_up_has_none(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.spares_max = 10
        await stage.restart_control()
        await stage.wish(web=1)
        await stage.advance(spares.STEADY_S - 0.1)
        stage.host.crash("web.1")
        await stage.advance(1.0)
        assert done_to(stage, "prepare") == []
        assert stage.states() == {"web.1": "up"}

    told(story)


def test_while_others_start_none_is_made_but_not_for_ever(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.spares_max = 10
        await stage.restart_control()
        await stage.wish(worker=1)
        await stage.advance(1.0)
        stage.host.serves = False
        await stage.wish(web=1, worker=1)
        await stage.advance(spares.PATIENCE_S / 2)
        assert stage.host.ready() == {}
        await stage.advance(spares.PATIENCE_S)
        assert sorted(stage.host.ready()) == ["worker.1"]
        await stage.wish(worker=1)
        await stage.advance(40)

    told(story)


def test_one_that_cannot_be_made_is_tried_again(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.spares_max = 10
        await stage.restart_control()
        await stage.wish(worker=1)
        await stage.settle()
        stage.host.refuses = "no room"
        await stage.advance(30)
        assert len(done_to(stage, "prepare")) == 1, "and not all the time"
        assert len(done_to(stage, "clean")) == 1
        stage.host.refuses = ""
        await stage.advance(spares.RETRY_S)
        assert sorted(stage.host.ready()) == ["worker.1"]

    told(story)


def test_one_that_cannot_be_made_holds_up_no_other(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.spares_max = 10
        await stage.restart_control()
        await stage.wish(worker=1)
        await stage.settle()
        stage.host.refuses = "no room"
        await stage.advance(5)
        stage.host.refuses = ""
        await stage.wish(web=1, worker=1)
        await stage.advance(UNTIL_READY_S)
        assert sorted(stage.host.ready()) == ["web.1"], "and the other's time has not come"

    told(story)


def test_one_that_takes_too_much_memory_is_followed_too(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        ready = stage.host.ready()["worker.1"]
        old = stage.host.grow("worker.1", 1100 << 20)
        await stage.advance(1.0)
        assert [each.spec.instance for each in stage.host.running()] == [ready]
        ends = [cause.kind for instance, state, cause in stage.entries() if instance == old]
        assert ends[-1] == "memory_quota"

    told(story)


def test_one_that_ends_by_itself_is_made_again(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        first = stage.host.ready()["worker.1"]
        stage.host.end(first, None)
        await stage.settle()
        assert first in done_to(stage, "clean")
        assert stage.states() == {"worker.1": "up"}
        await stage.advance(2 * spares.RETRY_S)
        assert stage.host.ready()["worker.1"] != first

    told(story)


def test_one_that_has_ended_unseen_is_no_help(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        spare = stage.host.host[stage.host.ready()["worker.1"]]
        spare.exit = Exit(None, lost=True)  # In this moment: nobody was told yet.
        stage.host.crash("worker.1")
        await stage.settle()
        await stage.advance(0.5)
        assert stage.states() == {"worker.1": "up"}
        assert spare.spec.instance in done_to(stage, "clean")

    told(story)


def test_when_all_crash_at_once_no_more_begin_than_may_boot(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.boots_max = 2
        stage.host.toils = True
        await steady(stage, web=0, worker=5)
        await stage.advance(60)
        assert len(stage.host.ready()) == 5
        for number in range(1, 6):
            stage.host.crash(f"worker.{number}")
        await _turn()
        assert len(done_to(stage, "begin")) == 2
        await stage.advance(60)
        assert set(stage.states().values()) == {"up"}

    told(story)


def test_one_crash_after_the_other_finds_a_spare_each_time(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.boots_max = 2
        await steady(stage, web=0, worker=5)
        await stage.advance(60)
        for number in range(1, 6):
            stage.host.crash(f"worker.{number}")
            await stage.advance(1)
        assert len(done_to(stage, "begin")) == 5

    told(story)


def test_one_that_is_restarted_is_followed_by_a_new_one(told: Play) -> None:
    """Its end was asked for, and what follows waits for it already: its spare stays."""

    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        ready = stage.host.ready()
        await stage.ask(stage.conductor.restart(stage.app, "worker.1", KATE))
        await stage.advance(1.0)
        assert done_to(stage, "begin") == []
        assert stage.host.ready() == ready
        assert stage.states() == {"worker.1": "up"}
        assert stage.lines("worker.1")[:2] == ["Restarting", "State changed from up to starting"]

    told(story)


def test_who_is_stopped_while_it_ends_is_not_followed(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        asked = stage.conductor.stop(stage.app, "worker.1", KATE)
        stage.host.crash("worker.1", 1)
        await stage.ask(asked)
        await stage.settle()
        assert stage.host.running() == []
        assert stage.host.ready() == {}
        await stage.advance(400)
        assert stage.host.running() == []

    told(story)


def test_a_release_in_the_moment_of_a_crash_counts(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, web=1, worker=1)
        for name in ("web.1", "worker.1"):
            stage.host.crash(name, 1)
        await _turn()
        stage.wished = wish(2, web=1, worker=1)
        await stage.conductor.wish(stage.wished, by=NED)
        await stage.settle()
        await stage.advance(1.0)
        running = {str(each.spec.name): each.spec.release for each in stage.host.running()}
        assert running == {"web.1": 2, "worker.1": 2}

    told(story)


def test_a_full_disk_keeps_the_order_of_the_record(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        ready = stage.host.ready()["worker.1"]
        stage.store.refuses = 3
        old = stage.host.crash("worker.1", 1)
        await stage.advance(10)
        states = [(instance, state) for instance, state, _ in stage.entries()][-4:]
        assert states[1:] == [(old, "crashed"), (ready, "starting"), (ready, "up")]

    told(story)


def test_a_kill_at_any_step_loses_nobody(told: Play) -> None:
    """What was begun in the place of the crashed one goes on, whether or not it was on record."""
    kept = 0
    for dies_at in itertools.count():
        done = False

        async def story(stage: Stage, dies_at: int = dies_at) -> None:
            nonlocal done, kept
            await steady(stage, web=1, worker=1)
            await stage.kill()
            await stage.begin(dies_at)
            assert stage.wished
            await stage.or_death(stage.conductor.wish(stage.wished, by=NED))
            await stage.settle()
            await stage.advance(UNTIL_READY_S)
            for name in ("web.1", "worker.1"):
                stage.host.crash(name, 1)
                await _turn()
            begun = set(done_to(stage, "begin"))
            await stage.advance(1.0)
            done = not stage.life.is_dead
            await stage.restart_control()
            await stage.advance(10.0)
            running = {each.spec.instance for each in stage.host.running()}
            assert stage.states() == {"web.1": "up", "worker.1": "up"}, f"killed at {dies_at}"
            assert begun <= running, f"killed at step {dies_at}: one that was begun has gone"
            for instance in begun:
                assert stage.record()[instance] == ["starting", "up"]
            kept += len(begun)

        told(story)
        if done:
            break
    assert dies_at >= 12, "the kills came at no step"
    assert kept > dies_at, "hardly anyone was begun"


def test_one_that_was_begun_and_ended_while_control_was_dead(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await steady(stage, worker=1)
        ready = stage.host.ready()["worker.1"]
        old = stage.host.crash("worker.1", 1)
        await _turn()
        await stage.kill()
        stage.host.end(ready, 9)
        await stage.begin()
        assert stage.wished
        await stage.conductor.wish(stage.wished, by=NED)
        await stage.settle()
        assert stage.record()[old][-1] == "crashed"
        assert stage.record()[ready] == ["starting", "crashed"]
        assert "Process exited with status 9" in stage.lines("worker.1")
        await stage.advance(5)
        assert stage.states() == {"worker.1": "up"}

    told(story)


async def _turn() -> None:
    """The loop's turn in which an end is told, and no more."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
