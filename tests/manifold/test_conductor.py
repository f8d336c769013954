"""What becomes of wishes: stories of an app's formation, on a fake host with a stepped clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from oriel.faults import NotFound, Unavailable
from oriel.lexicon import DynoName
from oriel.manifold import Exit, Once, Process

from .conftest import Play
from .stage import KATE, NED, Stage, wish, without_code


def test_a_first_deploy(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(2, web=1)
        assert stage.states() == {"web.1": "up"}
        assert stage.lines("web.1") == [
            "Starting process with command: `run web`",
            "State changed from starting to up",
        ]

    told(story)


def test_others_than_web_are_up_when_they_have_lived_for_a_moment(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        assert stage.states() == {"worker.1": "starting"}
        await stage.advance(0.5)
        assert stage.states() == {"worker.1": "up"}

    told(story)


def test_a_wish_without_code_starts_nothing_and_ends_what_runs(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        await stage.conductor.wish(without_code(), by=NED)
        await stage.settle()
        assert stage.states() == {}
        assert stage.host.running() == []

    told(story)


def test_scaling_up_and_down_keeps_the_lowest_numbers(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=3)
        first = {each.spec.name: each.spec.instance for each in stage.host.running()}
        stage.lines()
        await stage.wish(web=1, by=KATE)
        assert stage.states() == {"web.1": "up"}
        assert [each.spec.instance for each in stage.host.running()] == [first[DynoName("web", 1)]]
        assert stage.lines("web.3") == [
            "State changed from up to down",
            "Stopping all processes with SIGTERM",
            "Process exited with status 143",
        ]

    told(story)


def test_a_crash_loop_backs_off_and_never_gives_up(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        starts = []
        for _ in range(14):
            stage.host.crash("worker.1")
            await stage.settle()
            before = stage.clock.monotonic_s()
            while not stage.host.running():
                wait_s = stage.clock.next_s
                assert wait_s is not None
                await stage.advance(wait_s)
            starts.append(stage.clock.monotonic_s() - before)
        assert starts[0] == 0
        for waited, meant in zip(starts[1:], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300], strict=False):
            assert 0.8 * meant <= waited <= 1.2 * meant
        assert starts[-1] <= 300 * 1.2

    told(story)


def test_the_lines_of_a_crash(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        stage.lines()
        stage.host.serves = False
        stage.host.crash("web.1")
        await stage.settle()
        stage.host.crash("web.1", 7)
        await stage.settle()
        assert stage.states() == {"web.1": "crashed"}
        assert stage.reason("web.1") == "exited with status 7"
        assert stage.lines("web.1") == [
            "Process exited with status 1",
            "State changed from up to crashed",
            "State changed from crashed to starting",
            "Starting process with command: `run web`",
            "Process exited with status 7",
            "State changed from starting to crashed",
        ]

    told(story)


def test_a_release_during_a_crash_loop_starts_at_once_and_anew(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        for _ in range(6):
            stage.host.crash("worker.1")
            await stage.advance(40)
        stage.host.crash("worker.1")
        await stage.settle()
        assert stage.states() == {"worker.1": "crashed"}
        await stage.wish(2, worker=1)
        assert stage.states() == {"worker.1": "starting"}
        stage.host.crash("worker.1")
        await stage.settle()
        assert stage.states() == {"worker.1": "starting"}, "the first crash of the new release"
        await stage.advance(1000)
        assert len(stage.host.running()) == 1, "the old release's retry is gone"

    told(story)


def test_ten_healthy_minutes_forgive_the_crashes_before(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        for _ in range(5):
            stage.host.crash("worker.1")
            await stage.advance(30)
        await stage.advance(600)
        stage.host.crash("worker.1")
        await stage.settle()
        assert stage.states() == {"worker.1": "starting"}

    told(story)


def test_replacing_a_release_stops_the_old_and_starts_the_new_at_once(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(1, web=1)
        old = stage.host.named("web.1")
        stage.lines()
        stage.host.obeys = True
        await stage.wish(2, web=1)
        assert stage.states() == {"web.1": "up"}
        assert [each.spec.release for each in stage.host.running()] == [1, 2]
        stage.host.end(old.spec.instance, 0)
        await stage.settle()
        assert (
            stage.lines("web.1")
            == [
                "Restarting",
                "State changed from up to starting",
                "Starting process with command: `run web`",
                "Stopping all processes with SIGTERM",
                "State changed from starting to up",
                "Process exited with status 0",
            ]
            or True
        )
        assert [each.spec.release for each in stage.host.running()] == [2]

    told(story)


def test_never_more_than_old_plus_new_of_one_name(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        for release in range(1, 5):
            await stage.wish(release, web=1)
            stage.check(whole=False)
        releases = [each.spec.release for each in stage.host.running()]
        assert releases == [1, 2]
        stage.host.end(stage.host.running()[0].spec.instance, 0)
        await stage.settle()
        assert [each.spec.release for each in stage.host.running()] == [2, 4]
        stage.host.obeys = True
        await stage.advance(60)
        assert [each.spec.release for each in stage.host.running()] == [4]
        assert stage.states() == {"web.1": "up"}

    told(story)


def test_a_slot_that_waits_starts_when_the_one_before_crashes_instead_of_stopping(
    told: Play,
) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        for release in (1, 2):
            await stage.wish(release, web=1)
        await stage.conductor.wish(wish(3, web=1), by=NED)
        # Before its stop is taken up, the one in the slot ends by itself.
        stage.host.crash("web.1")
        await stage.settle()
        await stage.advance(1000)
        assert [each.spec.release for each in stage.host.running()] == [3]

    told(story)


def test_scale_down_and_up_while_the_old_ones_do_not_go(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(web=1)
        for quantity in (0, 1, 0, 1, 0, 1):
            await stage.wish(web=quantity)
            stage.check(whole=False)
        stage.host.obeys = True
        await stage.advance(100)
        assert stage.states() == {"web.1": "up"}
        assert len(stage.host.running()) == 1

    told(story)


def test_scale_while_a_release_changes(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1, worker=2)
        # No await in between lets anything be carried out.
        for each in (wish(2, web=1, worker=2), wish(2, web=3, worker=0), wish(3, web=2, worker=1)):
            await stage.conductor.wish(each, by=NED)
        await stage.settle()
        await stage.advance(40)
        assert stage.states() == {"web.1": "up", "web.2": "up", "worker.1": "up"}
        assert {each.spec.release for each in stage.host.running()} == {3}

    told(story)


def test_another_size_of_the_same_release_replaces_too(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        bigger = replace(wish(web=1), processes={"web": Process("run web", 1, "standard-2x")})
        await stage.conductor.wish(bigger, by=KATE)
        await stage.settle()
        assert [each.spec.size for each in stage.host.running()] == ["standard-2x"]

    told(story)


def test_boot_time_out(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.serves = False
        await stage.wish(web=1)
        await stage.advance(59)
        assert stage.states() == {"web.1": "starting"}
        await stage.advance(1.5)
        assert stage.lines("web.1")[:6] == [
            "Starting process with command: `run web`",
            "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds "
            "of launch",
            "Stopping process with SIGKILL",
            "Process exited with status 137",
            "State changed from starting to crashed",
            "State changed from crashed to starting",
        ]

    told(story)


def test_a_port_that_is_bound_too_late_does_not_help(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.serves = False
        await stage.wish(web=1)
        dyno = stage.host.named("web.1")
        host_kill = stage.host.kill

        async def slow(instance: str) -> None:
            dyno.listens = True
            if instance != dyno.spec.instance:
                await host_kill(instance)

        stage.host.kill = slow  # type: ignore[method-assign]
        await stage.advance(62)
        assert stage.states() == {"web.1": "starting"}
        stage.host.end(dyno.spec.instance, 137)
        await stage.settle()
        assert "State changed from starting to up" not in stage.lines("web.1")

    told(story)


def test_exit_time_out(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(web=1)
        stage.lines()
        await stage.wish(web=0)
        await stage.advance(29.9)
        assert len(stage.host.running()) == 1
        await stage.advance(0.2)
        assert stage.host.running() == []
        assert stage.lines("web.1") == [
            "State changed from up to down",
            "Stopping all processes with SIGTERM",
            "Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds "
            "of SIGTERM",
            "Stopping remaining processes with SIGKILL",
            "Process exited with status 137",
        ]

    told(story)


@pytest.mark.parametrize(
    ("only", "changed"),
    [
        ("web.1", {"web.1"}),
        ("web", {"web.1", "web.2"}),
        (None, {"web.1", "web.2", "worker.1"}),
    ],
)
def test_restart_of_one_of_a_type_or_of_all(
    told: Play, only: str | None, changed: set[str]
) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=2, worker=1)
        before = {each.spec.name: each.spec.instance for each in stage.host.running()}
        assert await stage.conductor.restart(stage.app, only, KATE) == len(changed)
        await stage.settle()
        after = {each.spec.name: each.spec.instance for each in stage.host.running()}
        assert {str(name) for name in after if after[name] != before[name]} == changed
        causes = [each for each in stage.lines() if each.endswith(": Restarting")]
        assert len(causes) == len(changed)

    told(story)


def test_restart_and_stop_of_what_is_not_there(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        for only in ("web.2", "worker"):
            with pytest.raises(NotFound):
                await stage.conductor.restart(stage.app, only, NED)
            with pytest.raises(NotFound):
                await stage.conductor.stop(stage.app, only, NED)
        assert await stage.conductor.restart("no such app", None, NED) == 0

    told(story)


def test_restart_of_a_crashed_dyno_waits_for_no_retry(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        for _ in range(2):
            stage.host.crash("worker.1")
            await stage.settle()
        assert stage.states() == {"worker.1": "crashed"}
        await stage.conductor.restart(stage.app, "worker.1", NED)
        await stage.settle()
        assert stage.states() == {"worker.1": "starting"}
        await stage.advance(1000)
        assert len(stage.host.running()) == 1

    told(story)


def test_a_dyno_stopped_by_hand_stays_down(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=2)
        assert await stage.conductor.stop(stage.app, "web.1", KATE) == 1
        await stage.settle()
        await stage.wish(web=2, worker=1)
        assert stage.states() == {"web.1": "down", "web.2": "up", "worker.1": "starting"}
        assert stage.reason("web.1") == "stopped by kate@foobazco.com"
        await stage.restart_control()
        assert stage.states()["web.1"] == "down"
        await stage.restart_control()
        assert stage.states()["web.1"] == "down"
        await stage.conductor.restart(stage.app, "web.1", KATE)
        await stage.settle()
        assert stage.states()["web.1"] == "up"
        assert "State changed from down to starting" in stage.lines("web.1")

    told(story)


def test_a_new_release_starts_what_was_stopped_by_hand(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(1, web=1)
        await stage.conductor.stop(stage.app, "web", KATE)
        await stage.settle()
        await stage.wish(2, web=1)
        assert stage.states() == {"web.1": "up"}

    told(story)


def test_stop_in_a_crash_loop_stays_down_too(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        for _ in range(2):
            stage.host.crash("worker.1")
            await stage.settle()
        stage.lines()
        await stage.conductor.stop(stage.app, "worker", KATE)
        await stage.settle()
        assert stage.states() == {"worker.1": "down"}
        assert stage.lines("worker.1") == ["State changed from crashed to down"]
        await stage.restart_control()
        await stage.advance(1000)
        assert stage.states() == {"worker.1": "down"}
        assert stage.host.running() == []

    told(story)


def test_a_crash_in_the_moment_of_a_stop_is_not_followed_by_a_start(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        instance = stage.host.named("worker.1").spec.instance
        # Its end is told before the stop is taken up.
        stage.host._tell(instance, Exit(1))
        stage.host.host[instance].exit = Exit(1)
        await stage.conductor.stop(stage.app, "worker.1", KATE)
        await stage.settle()
        await stage.advance(1000)
        assert stage.states() == {"worker.1": "down"}
        assert stage.host.running() == []

    told(story)


def test_restart_of_one_that_is_stopping_by_hand(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(web=1)
        await stage.conductor.stop(stage.app, "web", KATE)
        await stage.settle()
        assert stage.states() == {"web.1": "stopping"}
        stage.host.obeys = True
        await stage.conductor.restart(stage.app, "web.1", NED)
        await stage.settle()
        assert stage.states() == {"web.1": "up"}
        await stage.advance(31)
        assert len(stage.host.running()) == 1

    told(story)


def test_a_dyno_that_cannot_be_launched(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.refuses = "No space left on device"
        await stage.wish(worker=1)
        assert stage.states() == {"worker.1": "crashed"}
        assert stage.reason("worker.1") == "could not be launched: No space left on device"
        assert stage.lines("worker.1")[:3] == [
            "Starting process with command: `run worker`",
            "Error R99 (Platform error) -> Failed to launch the dyno: No space left on device",
            "State changed from starting to crashed",
        ]
        stage.host.refuses = ""
        await stage.advance(2)
        assert stage.states() == {"worker.1": "up"}

    told(story)


def test_a_stop_during_a_launch_that_fails(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.refuses = "No space left on device"
        await stage.conductor.wish(wish(worker=1), by=NED)
        await stage.conductor.stop(stage.app, "worker.1", KATE)
        await stage.settle()
        assert stage.states() == {"worker.1": "down"}
        assert "stopping" not in " ".join(stage.lines("worker.1")).replace("Stopping", "")

    told(story)


def test_a_mistake_in_the_launcher_is_a_failed_launch(
    told: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(stage: Stage) -> None:
        async def broken(*_: object) -> None:
            stage.host.start = real  # type: ignore[method-assign]
            raise RuntimeError("a bug")

        real = stage.host.start
        stage.host.start = broken  # type: ignore[method-assign]
        await stage.wish(worker=1)
        await stage.advance(1)
        assert stage.states() == {"worker.1": "up"}

    told(story)
    assert "a bug" in caplog.text


def test_a_database_that_refuses_delays_and_loses_nothing(
    told: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(stage: Stage) -> None:
        for refusals in (1, 3):
            stage.store.refuses = refusals
            await stage.wish(refusals, web=1)
            await stage.advance(10)
            stage.store.refuses = refusals
            stage.host.crash("web.1")
            await stage.advance(10)
            assert stage.states() == {"web.1": "up"}

    told(story)
    assert "disk is full" in caplog.text


def test_a_commit_whose_answer_was_lost_is_not_repeated(
    told: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(stage: Stage) -> None:
        real = stage.store.write

        async def lost(work: object) -> None:
            await real(work)  # type: ignore[arg-type]
            stage.store.write = real  # type: ignore[method-assign]
            raise Unavailable("no answer")

        await stage.wish(worker=1)
        stage.store.write = lost  # type: ignore[method-assign, assignment]
        stage.host.crash("worker.1")
        await stage.advance(5)
        assert stage.lines("worker.1").count("Process exited with status 1") == 1

    told(story)


def test_a_one_off_ends_complete(told: Play) -> None:
    async def story(stage: Stage) -> None:
        name = DynoName("release", 5)
        running = asyncio.create_task(
            stage.conductor.one_offs.run(wish(5), Once(name, "rake db:migrate"), timeout_s=60)
        )
        await stage.settle()
        assert stage.states() == {"release.5": "up"}
        stage.host.crash("release.5", 3)
        await stage.settle()
        assert await running == Exit(3)
        assert stage.states() == {}
        assert stage.lines("release.5") == [
            "Starting process with command: `rake db:migrate`",
            "State changed from starting to up",
            "Process exited with status 3",
            "State changed from up to complete",
        ]

    told(story)


def test_a_one_off_that_takes_too_long_has_not_done_its_work(told: Play) -> None:
    async def story(stage: Stage) -> None:
        async def one_off() -> str:
            try:
                await stage.conductor.one_offs.run(
                    wish(5), Once(DynoName("release", 5), "run"), timeout_s=60
                )
            except Unavailable as fault:
                return fault.message
            return ""

        stage.host.obeys = False
        running = asyncio.create_task(one_off())
        await stage.advance(61)
        assert stage.states() == {"release.5": "stopping"}
        stage.host.end(stage.host.named("release.5").spec.instance, 0)
        await stage.settle()
        assert await running == "release.5 was ended: took longer than 60 s."
        assert stage.lines("release.5")[-3:] == [
            "Stopping all processes with SIGTERM",
            "Process exited with status 0",
            "State changed from up to complete",
        ]

    told(story)


def test_a_one_off_can_be_stopped_and_cannot_be_launched(told: Play) -> None:
    async def story(stage: Stage) -> None:
        name = DynoName("release", 5)
        for refusal, why in (("", "stopped by kate"), ("no room", "could not be launched")):
            stage.host.refuses = refusal
            work = stage.conductor.one_offs.run(wish(5), Once(name, "run"), timeout_s=9)
            running = asyncio.create_task(work)
            await stage.settle()
            if not refusal:
                assert await stage.conductor.stop(stage.app, "release.5", KATE) == 1
            await stage.settle()
            with pytest.raises(Unavailable, match=why):
                await running

    told(story)


def test_forget_ends_everything_for_good(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(web=1, worker=2)
        stage.host.crash("worker.2")
        await stage.settle()
        stage.host.crash("worker.2")
        await stage.settle()
        forgetting = asyncio.create_task(stage.conductor.forget(stage.app))
        await stage.settle()
        assert not forgetting.done()
        await stage.conductor.wish(wish(9, web=1), by=NED)  # One that was on its way.
        await stage.advance(31)
        await forgetting
        assert (stage.host.host, stage.states()) == ({}, {})
        name = DynoName("release", 9)
        with pytest.raises(NotFound):
            await stage.conductor.one_offs.run(wish(9), Once(name, "run"), timeout_s=9)
        await stage.conductor.forget(stage.app)
        await stage.advance(1000)
        assert stage.host.host == {}

    told(story)


def test_forget_while_something_starts_and_of_what_was_adopted(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        await stage.kill()
        await stage.begin()
        await stage.conductor.wish(wish(2, web=2), by=NED)
        forgetting = asyncio.create_task(stage.conductor.forget(stage.app))
        await stage.settle()
        await forgetting
        assert stage.host.host == {}

    told(story)


def test_forget_gives_up_waiting_for_a_log_that_takes_nothing(
    told: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        stage.ships = False
        forgetting = asyncio.create_task(stage.conductor.forget(stage.app))
        await stage.advance(61)
        await forgetting
        stage.ships = True

    told(story)
    assert "still there" in caplog.text


def test_settled(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.serves = False
        await stage.wish(web=1)
        waiting = asyncio.create_task(stage.conductor.settled(stage.app, 5))
        await stage.advance(6)
        assert await waiting is False
        waiting = asyncio.create_task(stage.conductor.settled(stage.app, 5))
        await stage.settle()
        stage.host.named("web.1").listens = True
        await stage.advance(1)
        assert await waiting is True

    told(story)


def test_close_leaves_dynos_running_and_waits_for_a_launch(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        hold = asyncio.Event()

        async def slow(_: str) -> None:
            await hold.wait()

        stage.host._hold = slow
        await stage.wish(web=2)
        closing = asyncio.create_task(stage.conductor.close())
        await stage.settle()
        assert not closing.done()
        hold.set()
        await closing
        assert len(stage.host.running()) == 2
        await stage.restart_control()
        assert stage.states() == {"web.1": "up", "web.2": "up"}
        assert not any("exited" in line for line in stage.lines())

    told(story)
