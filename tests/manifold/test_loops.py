"""Long crash loops: counted exactly, told shortly, whoever is killed when."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from oriel.manifold import events, loops
from oriel.manifold.cause import Cause
from oriel.store.database import Database

from .conftest import Play
from .stage import KATE, NED, Stage, wish
from .test_events import NOW, spec


def test_one_row_on_both_databases(database: Database) -> None:
    """Begun and counted twice is the same as once; a sum is made when it is due, or for good."""
    who, exited = spec("i1", "worker.1"), Cause("exited", status=1)
    detail = events.detail(who, Cause("retried"), events.Notes(crashes=5))

    def do(work: Callable[[Connection], Any]) -> Any:
        return database.write_now(work)

    assert do(lambda conn: loops.count(conn, who, exited, 6, NOW)) is False
    for _ in range(2):
        do(lambda conn: loops.begin(conn, who, detail, NOW))
    assert do(lambda conn: loops.has(conn, who, is_running=True))
    for _ in range(2):
        assert do(lambda conn: loops.count(conn, who, exited, 6, NOW)) is True
    assert database.read_now(lambda conn: loops.counted(conn, "app")) == {"worker.1": 1}
    assert do(lambda conn: loops.sum_up(conn, who, NOW, is_due=True)) is None
    other = spec("i2", "worker.1")
    do(lambda conn: loops.begin(conn, other, detail, NOW))
    assert do(lambda conn: loops.count(conn, who, exited, 7, NOW)) is False, "it is another's"
    summary = do(lambda conn: loops.sum_up(conn, other, NOW + loops.TOLD_EVERY, is_due=True))
    assert (summary.cause.count, summary.cause.statuses, summary.at) == (1, {"1": 1}, NOW)
    entry = database.read_now(lambda conn: events.newest(conn, "i1"))
    assert entry is not None
    assert (entry.state, entry.because) == ("crashed", summary.cause)
    living = database.read_now(events.living)
    assert [(each.instance, each.quiet) for each in living] == [("i2", True)]
    assert do(lambda conn: loops.sum_up(conn, other, NOW, is_due=False)) is None
    assert database.read_now(loops.all) == []


async def crash(stage: Stage, times: int, code: int | None = 1) -> None:
    """The worker crashes so often, each time when it has been begun again."""
    for _ in range(times):
        while not stage.host.running():
            wait_s = stage.clock.next_s
            assert wait_s is not None
            await stage.advance(wait_s)
        stage.host.crash("worker.1", code)
        await stage.settle()


def crashes(stage: Stage) -> int:
    """All crashes that the record knows of."""
    single = sum(
        state == "crashed" and cause.kind != "crash_loop" for _, state, cause in stage.entries()
    )
    return single + sum(stage.folded().values())


def test_the_first_ones_are_told_one_by_one_and_the_rest_counted(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        await crash(stage, 5)
        assert len(stage.entries()) == 10
        await crash(stage, 3)
        await crash(stage, 2, 137)
        assert len(stage.entries()) == 10, "none of these is an entry"
        assert stage.folded() == {"1": 3, "137": 2}
        assert stage.conductor.dynos(stage.app)[0].crashes == 10
        assert crashes(stage) == 10

    told(story)


def test_the_channel_has_one_line_for_each_and_a_summary_once_an_hour(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        await crash(stage, 8)
        stage.lines()
        await crash(stage, 1)
        assert stage.lines("worker.1") == ["Process exited with status 1"]
        began_s = stage.clock.monotonic_s()
        while stage.clock.monotonic_s() - began_s < 4 * 3600:
            await crash(stage, 1)
        said = stage.lines("worker.1")
        summaries = [line for line in said if line.startswith("Crash loop: ")]
        assert 3 <= len(summaries) <= 4
        assert "times since 2011-06-19T" in summaries[0]
        assert "last: exited with status 1. It is tried again" in summaries[0]
        assert set(said) - set(summaries) == {"Process exited with status 1"}
        assert len(stage.entries()) == 10 + len(summaries)

    told(story)


def test_a_try_that_comes_up_ends_the_loop(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        await crash(stage, 9)
        await stage.advance(400)
        assert stage.states() == {"worker.1": "up"}
        kinds = [(state, cause.kind, cause.count) for _, state, cause in stage.entries()][-3:]
        assert kinds == [
            ("crashed", "crash_loop", 4),
            ("starting", "retried", None),
            ("up", "ready", None),
        ]
        said = stage.lines("worker.1")
        assert said[-1] == "State changed from starting to up"
        assert said[-2].startswith("Crash loop: crashed 4 times since 2011-06-19T08:35:")
        assert crashes(stage) == 9

    told(story)


def test_tries_that_come_up_and_crash_soon_are_counted_too(told: Play) -> None:
    """Of another type than web a process counts as up after a moment: most loops are like that."""

    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        for _ in range(15):
            while stage.states()["worker.1"] != "up":
                wait_s = stage.clock.next_s
                assert wait_s is not None
                await stage.advance(wait_s)
            await stage.advance(3)
            assert stage.states() == {"worker.1": "up"}
            stage.host.crash("worker.1")
            await stage.settle()
        assert len(stage.entries()) == 15, "starting, up and crashed of the first five"
        assert stage.folded() == {"1": 10}
        await stage.advance(440)  # at most 6 minutes to the next try, and a minute that it is up
        instance = stage.host.named("worker.1").spec.instance
        assert stage.record()[instance] == ["starting", "up"]
        assert crashes(stage) == 15

    told(story)


def test_control_is_killed_while_such_a_try_is_up(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        await crash(stage, 6)
        while stage.states()["worker.1"] != "up":
            await stage.advance(1)
        instance = stage.host.named("worker.1").spec.instance
        await stage.restart_control()
        assert stage.states() == {"worker.1": "up"}
        assert stage.host.named("worker.1").spec.instance == instance
        assert instance not in stage.record()
        await stage.advance(30)
        await stage.restart_control()
        await stage.advance(40)
        assert stage.record()[instance] == ["starting", "up"]
        assert stage.host.named("worker.1").spec.instance == instance
        await stage.conductor.stop(stage.app, None, KATE)
        await stage.settle()
        assert stage.record()[instance] == ["starting", "up", "stopping", "down"]

    told(story)


def test_a_release_a_restart_a_stop_and_scaling_end_the_loop(told: Play) -> None:
    async def story(stage: Stage) -> None:
        count = 0
        for release, end in enumerate(["release", "restart", "stop", "scale"], 10):
            await stage.wish(release, worker=1)
            await crash(stage, 8)
            count += 8
            if end == "release":
                await stage.wish(release + 50, worker=1)
            elif end == "restart":
                await stage.conductor.restart(stage.app, None, KATE)
            elif end == "stop":
                await stage.conductor.stop(stage.app, "worker", KATE)
                await stage.settle()
                await stage.restart_control()
                assert stage.states() == {"worker.1": "down"}
            else:
                await stage.wish(release, worker=0)
            await stage.settle()
            assert not stage.db.read_now(loops.all), end
            assert crashes(stage) == count

    told(story)


def test_what_cannot_be_launched_is_counted_too(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.refuses = "no room"
        await stage.wish(worker=1)
        await stage.advance(1000)
        assert len(stage.entries()) == 10
        assert set(stage.folded()) == {"lost"}
        stage.host.refuses = ""
        await stage.advance(400)
        assert stage.states() == {"worker.1": "up"}

    told(story)


def test_control_goes_on_where_it_was(told: Play) -> None:
    """After a restart it is tried at once, and if that fails as long afterwards as before."""

    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        await crash(stage, 9)
        await stage.restart_control()
        assert stage.conductor.dynos(stage.app)[0].crashes == 9
        await crash(stage, 1)
        wait_s = stage.clock.next_s
        assert wait_s is not None
        assert wait_s > 100
        assert stage.folded() == {"1": 5}
        assert crashes(stage) == 10

    told(story)


def test_a_kill_at_each_step_of_a_loop_neither_loses_nor_doubles_a_crash(told: Play) -> None:
    for dies_at in itertools.count():
        survived = False

        async def story(stage: Stage, dies_at: int = dies_at) -> None:
            nonlocal survived
            await stage.wish(worker=1)
            await crash(stage, 7)
            ends = 7
            await stage.kill()
            await stage.begin(dies_at)
            assert stage.wished is not None
            await stage.or_death(stage.conductor.wish(stage.wished, by=KATE))
            await stage.settle()
            if stage.host.running() and not stage.life.is_dead:
                stage.host.crash("worker.1", 3)
                ends += 1
                await stage.settle()
            survived = not stage.life.is_dead
            await stage.restart_control()
            await stage.advance(700)
            assert stage.states() == {"worker.1": "up"}, f"killed at step {dies_at}"
            # What was begun and never launched has ended too: nobody knows how.
            known = Counter(stage.folded())
            never_ran = known.pop("lost", 0)
            assert never_ran <= 1
            assert crashes(stage) - never_ran == ends, f"killed at step {dies_at}"
            assert known.get("3", 0) == ends - 7

        told(story)
        if survived:
            break
    assert dies_at >= 4, "the kills came at no step"


def test_thousands_of_crashes_from_fifty_apps_leave_little(told: Play) -> None:
    """As many a minute as the back-off lets through: all counted, few written."""

    async def story(stage: Stage) -> None:
        stage.blocks = True
        await stage.restart_control()
        apps = [f"app-{number}" for number in range(2, 52)]
        for app in apps:
            await stage.conductor.wish(wish(app_id=app, worker=4), by=NED)
        await stage.settle()
        count = 0
        while count < 1500:
            for dyno in stage.host.running():
                stage.host.end(dyno.spec.instance, 1)
                count += 1
            await stage.settle()
            wait_s = stage.clock.next_s
            assert wait_s is not None
            await stage.advance(wait_s + 2.0, grain_s=2.0)
        assert crashes(stage) == count
        assert len(stage.entries()) <= 50 * 4 * (2 * loops.TOLD_SINGLY + 1)
        assert len(stage.said) <= count + 50 * 4 * (5 * loops.TOLD_SINGLY + 2)
        for app in apps:
            await stage.ask(stage.conductor.forget(app))

    told(story)
