"""Control is killed, anywhere: the next one finds what runs, and tells each end once."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from oriel.faults import Unavailable
from oriel.lexicon import DynoName
from oriel.manifold import Once
from oriel.manifold.cause import Cause
from oriel.manifold.launcher import Launched, LaunchSpec

from .conftest import Play
from .stage import KATE, NED, Stage, wish

Act = Callable[[Stage], Awaitable[None]]
DAY = timedelta(days=1)


async def deploy(stage: Stage) -> None:
    await stage.wish(1, web=1, worker=1)
    await stage.advance(1)


async def redeploy(stage: Stage) -> None:
    await stage.wish(1, web=1)
    await stage.wish(2, web=1)


async def scale_down(stage: Stage) -> None:
    await stage.wish(1, web=2)
    await stage.wish(1, web=1)


async def crash(stage: Stage) -> None:
    await stage.wish(1, web=1)
    if not stage.life.is_dead:
        stage.host.crash("web.1")
        await stage.settle()
        await stage.advance(3)


async def restart(stage: Stage) -> None:
    await stage.wish(1, web=1)
    await stage.or_death(stage.conductor.restart(stage.app, None, KATE))
    await stage.settle()


async def crash_and_scale_down(stage: Stage) -> None:
    await stage.wish(1, worker=1)
    for _ in range(2):
        if stage.host.running() and not stage.life.is_dead:
            stage.host.crash("worker.1")
            await stage.settle()
    await stage.wish(1, worker=0)


async def deploy_one_by_one(stage: Stage) -> None:
    stage.host.toils = True
    await stage.wish(1, worker=5)  # Four at once: the fifth waits.
    stage.host.toils = False
    for each in stage.host.running():
        each.busy = False
    await stage.advance(1)


ACTS = [deploy, redeploy, scale_down, crash, restart, crash_and_scale_down, deploy_one_by_one]


@pytest.mark.parametrize("act", ACTS)
def test_a_kill_at_each_step(told: Play, act: Act) -> None:
    """At each moment before or after a write or a call of the launcher."""
    for dies_at in itertools.count():
        survived = False

        async def story(stage: Stage, dies_at: int = dies_at) -> None:
            nonlocal survived
            await stage.kill()
            stage.host.boots_max = 1 if act is deploy_one_by_one else 1000
            await stage.begin(dies_at)
            await act(stage)
            survived = not stage.life.is_dead
            await stage.restart_control()
            await stage.advance(40)
            assert stage.wished is not None
            live = Counter(each.spec.type for each in stage.host.running())
            assert live == Counter(stage.wished.quantities), f"killed at step {dies_at}"
            assert {each.spec.release for each in stage.host.running()} <= {stage.wished.release}
            assert set(stage.states().values()) <= {"up"}

        told(story)
        if survived:
            break
    assert dies_at >= 5, "the kills came at no step"


@pytest.mark.parametrize("end", ["by itself", "hangs up", "stopped"])
def test_a_kill_at_each_step_of_an_attached_one_off(told: Play, end: str) -> None:
    """Whenever it comes, it ends, is told to have ended once, and nothing of it is left."""
    for dies_at in itertools.count():
        survived = False

        async def story(stage: Stage, dies_at: int = dies_at) -> None:
            nonlocal survived
            await stage.kill()
            await stage.begin(dies_at)
            stage.wished = wish(1)
            once = Once(DynoName("run", 7), "bash", attached=True, until=stage.clock.wall() + DAY)
            instance = stage.conductor.one_offs.begin(stage.wished, once)
            await stage.settle()
            await stage.or_death(instance.attach(None))
            if not stage.life.is_dead and end == "by itself":
                stage.host.crash("run.7", 3)
            elif not stage.life.is_dead and end == "stopped":
                await stage.or_death(stage.conductor.stop(stage.app, "run.7", KATE))
            elif not stage.life.is_dead:
                await stage.or_death(instance.hang_up("it is gone"))
            await stage.settle()
            survived = not stage.life.is_dead
            await stage.restart_control()
            await stage.advance(40)
            assert stage.host.running() == [], f"killed at step {dies_at}"
            assert stage.states() == {}
            lives = list(stage.record().values())
            assert [states[-1] for states in lives] in ([], ["complete"])
            assert stage.lines().count("run.7: State changed from up to complete") <= 1

        told(story)
        if survived:
            break
    assert dies_at >= 5, "the kills came at no step"


def test_a_kill_at_each_step_of_going_to_sleep_and_waking(told: Play) -> None:
    """It sleeps or is up, as it was begun; asked again, it wakes."""
    for dies_at in itertools.count():
        survived = False

        async def story(stage: Stage, dies_at: int = dies_at) -> None:
            nonlocal survived
            await stage.wish(1, web=1)
            await stage.kill()
            await stage.begin(dies_at)
            assert stage.wished is not None
            await stage.or_death(stage.conductor.wish(stage.wished, by=KATE))
            for work in (stage.conductor.idle, stage.conductor.unidle):
                await stage.settle()
                if not stage.life.is_dead:
                    await stage.or_death(work(stage.app))
            await stage.settle()
            survived = not stage.life.is_dead
            await stage.restart_control()
            await stage.advance(1)
            assert stage.states()["web.1"] in ("idle", "up"), f"killed at step {dies_at}"
            await stage.conductor.unidle(stage.app)
            await stage.settle()
            assert stage.states() == {"web.1": "up"}
            assert len(stage.host.running()) == 1

        told(story)
        if survived:
            break
    assert dies_at >= 5, "the kills came at no step"


def test_two_starts_in_a_row(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=2)
        instances = {each.spec.instance for each in stage.host.running()}
        stage.lines()
        for _ in range(3):
            await stage.kill()
            await stage.begin()
        await stage.restart_control()
        assert {each.spec.instance for each in stage.host.running()} == instances
        assert stage.states() == {"web.1": "up", "web.2": "up"}
        assert stage.lines() == []

    told(story)


def test_an_exit_while_control_is_dead_is_told_with_its_code(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        await stage.kill()
        stage.host.crash("web.1", 7)
        stage.lines()
        await stage.begin()
        await stage.settle()
        assert stage.states() == {"web.1": "crashed"}
        assert stage.reason("web.1") == "exited with status 7"
        assert stage.lines("web.1") == [
            "Process exited with status 7",
            "State changed from up to crashed",
        ]
        await stage.restart_control()
        assert stage.states() == {"web.1": "up"}
        assert stage.lines("web.1")[0] == "State changed from crashed to starting"

    told(story)


def test_the_host_restarts(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=2, worker=1)
        await stage.kill()
        stage.host.reboot()
        await stage.restart_control()
        await stage.advance(1)
        assert stage.states() == {"web.1": "up", "web.2": "up", "worker.1": "up"}
        assert stage.lines("web.1").count("Process exited") == 1

    told(story)


def test_a_directory_that_is_gone_is_an_end_too(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        await stage.kill()
        stage.host.host.clear()
        await stage.restart_control()
        assert stage.states() == {"web.1": "up"}
        assert stage.lines("web.1").count("Process exited") == 1

    told(story)


def test_sigterm_is_sent_again_to_one_found_stopping(told: Play) -> None:
    """A kill comes between the record of a stop and the SIGTERM itself."""

    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(web=1)
        dyno = stage.host.named("web.1")
        await stage.conductor.stop(stage.app, "web.1", KATE)
        await stage.settle()
        await stage.kill()
        dyno.deaf = False
        await stage.restart_control()
        assert dyno.exit is not None
        assert stage.states() == {"web.1": "down"}
        await stage.wish(web=1, worker=1)
        assert stage.states()["web.1"] == "down", "it was stopped by hand"

    told(story)


def test_the_exit_time_out_goes_on_where_it_was(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(web=1)
        await stage.wish(web=0)
        await stage.advance(20)
        await stage.restart_control()
        await stage.advance(9)
        assert len(stage.host.running()) == 1
        await stage.advance(2)
        assert stage.host.running() == []

    told(story)


def test_the_boot_time_out_goes_on_where_it_was(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.serves = False
        await stage.wish(web=1)
        first = stage.host.named("web.1")
        await stage.advance(50)
        await stage.restart_control()
        assert stage.states() == {"web.1": "starting"}
        await stage.advance(11)
        assert first.exit is not None

    told(story)


def test_one_that_was_being_killed_is_killed(told: Play) -> None:
    """A kill comes between the record of R10 and the SIGKILL itself."""

    async def story(stage: Stage) -> None:
        stage.host.serves = False
        await stage.wish(web=1)
        first = stage.host.named("web.1")
        kill = stage.host.kill

        async def late(_: str) -> None:
            await asyncio.get_running_loop().create_future()

        stage.host.kill = late  # type: ignore[method-assign]
        await stage.advance(61)
        await stage.kill()
        stage.host.kill = kill  # type: ignore[method-assign]
        first.listens = stage.host.serves = True
        await stage.restart_control()
        assert first.exit is not None
        assert stage.states() == {"web.1": "up"}
        assert sum("R10" in line for line in stage.lines("web.1")) == 1

    told(story)


def test_a_stop_by_hand_of_one_that_is_on_its_way_out_is_remembered(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(worker=1)
        for _ in range(2):
            await stage.conductor.restart(stage.app, "worker.1", NED)
        await stage.conductor.stop(stage.app, "worker.1", KATE)
        await stage.settle()
        await stage.kill()
        stage.host.reboot()
        await stage.restart_control()
        await stage.advance(100)
        assert stage.states() == {"worker.1": "down"}

    told(story)


@pytest.mark.parametrize("type_", ["web", "worker"])
@pytest.mark.parametrize("ends_first", [True, False])
def test_a_stop_before_the_first_instance_of_a_name_is_remembered(
    told: Play, type_: str, ends_first: bool
) -> None:
    """It was scaled away, deployed, and scaled back while the old one took its time to end."""

    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        many = 2 if type_ == "web" else 1
        await stage.wish(1, **{type_: 1})
        for _ in range(many):
            await stage.wish(1, **{type_: 0})
            await stage.wish(2, **{type_: 1})
        name = f"{type_}.1"
        assert len(stage.host.running()) == many, "it waits for those before it"
        await stage.ask(stage.conductor.stop(stage.app, name, KATE))
        if ends_first:
            for each in stage.host.running():
                stage.host.end(each.spec.instance, 0)
            await stage.settle()
        for _ in range(2):
            await stage.restart_control()
            await stage.advance(100)
            assert stage.host.running() == []
            assert stage.states() == {name: "down"}
        assert stage.reason(name).startswith("stopped by kate@foobazco.com")
        await stage.wish(2, **{type_: 1, "web" if type_ == "worker" else "worker": 1})
        assert stage.states()[name] == "down", "scaling another type does not start it"
        await stage.conductor.restart(stage.app, name, KATE)
        await stage.advance(1)
        assert stage.states()[name] == "up"

    told(story)


def test_a_stop_of_an_old_one_s_successor_outlasts_the_old_one(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(1, web=1)
        old = stage.host.running()[0].spec.instance
        await stage.wish(2, web=1)
        new = next(e.spec.instance for e in stage.host.running() if e.spec.instance != old)
        await stage.ask(stage.conductor.stop(stage.app, "web.1", KATE))
        stage.host.end(new, 0)
        await stage.settle()
        stage.host.end(old, 0)  # Its end is the last entry of that name.
        await stage.settle()
        await stage.restart_control()
        await stage.advance(100)
        assert stage.states() == {"web.1": "down"}

    told(story)


def test_one_that_became_ready_while_control_was_dead_is_not_timed_out(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.serves = False
        await stage.wish(web=1)
        await stage.kill()
        stage.host.named("web.1").listens = True
        await stage.clock.advance(500, stage.settle)
        await stage.restart_control()
        await stage.advance(2)
        assert stage.states() == {"web.1": "up"}
        assert len(stage.lines("web.1")) == 2

    told(story)


def test_a_restart_that_was_cut_short_is_finished(told: Play) -> None:
    """The old one's stop is recorded, the new one's start is not."""

    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        await stage.wish(web=1)
        old = stage.host.named("web.1")
        old.deaf = True
        instance = stage.conductor._seats.apps[stage.app].slots[DynoName("web", 1)].instance
        assert instance is not None
        instance.stop("restart", Cause("restarted", by=KATE.email))
        await stage.settle()
        stage.host.obeys = True
        await stage.restart_control()
        assert stage.states() == {"web.1": "up"}
        assert len(stage.host.running()) == 2
        await stage.advance(31)
        assert old.exit is not None
        assert stage.states() == {"web.1": "up"}

    told(story)


def test_a_release_command_is_ended_after_a_kill(told: Play) -> None:
    async def story(stage: Stage) -> None:
        work = stage.conductor.one_offs.run(
            wish(3), Once(DynoName("release", 3), "run"), timeout_s=60
        )
        task = asyncio.ensure_future(work)
        await stage.settle()
        await stage.restart_control()
        assert stage.host.running() == []
        assert stage.states() == {}
        assert stage.lines("release.3")[-3:] == [
            "Stopping all processes with SIGTERM",
            "Process exited with status 143",
            "State changed from up to complete",
        ]
        assert task.cancelled()
        await stage.restart_control()

    told(story)


def test_a_release_command_that_ended_meanwhile_or_vanished(told: Play) -> None:
    async def story(stage: Stage) -> None:
        for number in (1, 2):
            name = DynoName("release", number)
            work = stage.conductor.one_offs.run(wish(1), Once(name, "run"), timeout_s=60)
            task = asyncio.ensure_future(work)
            await stage.settle()
            await stage.kill()
            stage.host.crash(str(name), 0)
            if number == 2:
                stage.host.host.clear()
            await stage.begin()
            await stage.settle()
            assert task.cancelled()
            assert stage.states() == {}
            assert stage.lines(str(name))[-1] == "State changed from up to complete"

    told(story)


def test_what_was_never_recorded_is_ended_and_cleared(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.kill()
        spec = LaunchSpec(
            instance="0123456789abcdef",
            app_id=stage.app,
            app="sushi",
            channel="c",
            type="web",
            number=1,
            release=1,
            uid=1,
            command="run",
            size="standard-1x",
            slug=wish().slug,  # type: ignore[arg-type]
            env={},
        )
        await stage.host.start(spec, Launched("127.0.0.1", 20_000))
        await stage.begin()
        await stage.settle()
        assert stage.host.host == {}
        assert stage.states() == {}

    told(story)


def test_a_kill_between_drain_and_clean(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        real = stage.host.clean

        async def never(_: str) -> None:
            await asyncio.get_running_loop().create_future()

        stage.host.clean = never  # type: ignore[method-assign]
        stage.host.crash("web.1")
        settling = asyncio.create_task(stage.settle())
        while not any("exited" in line for line in stage.said):
            await asyncio.sleep(0)
        await stage.kill()
        assert settling.cancelled()
        stage.host.clean = real  # type: ignore[method-assign]
        await stage.restart_control()
        assert len(stage.host.host) == 1

    told(story)


def test_what_waits_to_be_read_is_not_cleared(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.ships = False
        await stage.wish(web=1)
        ended = stage.host.crash("web.1")
        await stage.settle()
        for _ in range(2):
            await stage.restart_control()
            assert ended in stage.host.host
        stage.ships = True
        await stage.settle()
        assert ended not in stage.host.host

    told(story)


def test_a_launcher_that_cannot_look_stops_the_start(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(web=1)
        await stage.kill()
        real = stage.host.adopt

        async def blind() -> None:
            raise Unavailable("too many open files")

        stage.host.adopt = blind  # type: ignore[method-assign, assignment]
        with pytest.raises(Unavailable):
            await stage.begin()
        stage.host.adopt = real  # type: ignore[method-assign]
        await stage.restart_control()
        assert stage.states() == {"web.1": "up"}
        assert len(stage.host.host) == 1

    told(story)


def test_a_crash_loop_is_remembered(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.wish(worker=1)
        for _ in range(4):
            stage.host.crash("worker.1")
            await stage.settle()
            if not stage.host.running():
                break
        await stage.kill()
        await stage.begin()
        assert stage.states() == {"worker.1": "crashed"}
        assert stage.reason("worker.1") == "exited with status 1"
        await stage.conductor.wish(wish(worker=1), by=NED)
        await stage.settle()
        assert stage.states() == {"worker.1": "starting"}
        stage.host.crash("worker.1")
        await stage.settle()
        assert stage.states() == {"worker.1": "crashed"}, "not its first crash"

    told(story)
