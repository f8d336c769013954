"""The life of an attached one-off: up before it runs, its client's coming, going and never coming,
and what the next control makes of it. With a host in memory and a stepped clock.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from oriel.lexicon import Actor, DynoName
from oriel.manifold import Once, OneOff, Window
from oriel.manifold.machine import ATTACH_ERROR, DETACH_ERROR

from .conftest import Play
from .stage import Stage, wish

KATE = Actor("2", "kate@foobazco.com", "api")
RUN = DynoName("run", 4321)
BEGUN = ["State changed from starting to up", "Awaiting client"]
COMPLETE = "State changed from up to complete"
GONE = "Client connection closed. Sending SIGHUP to all processes"


def begin(stage: Stage, *, attached: bool = True, lives_s: float = 86_400) -> OneOff:
    until = stage.clock.wall() + timedelta(seconds=lives_s)
    once = Once(RUN, "bash", size="standard-2x", env={"X": "1"}, attached=attached, until=until)
    return stage.conductor.one_offs.begin(wish(5), once)


async def attached(stage: Stage) -> OneOff:
    instance = begin(stage)
    await stage.settle()
    coming = asyncio.create_task(instance.attach(Window(100, 30)))
    await stage.settle()
    assert await coming is not None
    return instance


def test_it_awaits_its_client_and_then_runs(told: Play) -> None:
    async def story(stage: Stage) -> None:
        instance = begin(stage)
        await stage.settle()
        assert stage.states() == {"run.4321": "up"}
        assert stage.reason("run.4321") == "awaiting its client"
        assert stage.host.running() == []
        coming = asyncio.create_task(instance.attach(Window(100, 30)))
        await stage.settle()
        assert await coming is stage.host.terminals[instance.spec.instance]
        spec = stage.host.named("run.4321").spec
        assert (spec.size, spec.env["X"]) == ("standard-2x", "1")
        stage.host.crash("run.4321", 3)
        await stage.settle()
        assert instance.exit is not None
        assert instance.exit.code == 3
        assert stage.lines("run.4321") == [
            *BEGUN,
            "Starting process with command `bash`",
            "Process exited with status 3",
            COMPLETE,
        ]
        assert stage.conductor.one_offs.count() == 0

    told(story)


def test_nobody_comes(told: Play) -> None:
    async def story(stage: Stage) -> None:
        instance = begin(stage)
        await stage.settle()
        instance.give_up_waiting(30)
        await stage.settle()
        assert stage.lines("run.4321") == [*BEGUN, ATTACH_ERROR, COMPLETE]
        assert stage.states() == {}
        assert await instance.attach(None) is None

    told(story)


def test_its_client_goes_and_it_ends_of_that(told: Play) -> None:
    async def story(stage: Stage) -> None:
        instance = await attached(stage)
        going = asyncio.create_task(instance.hang_up("its client has gone"))
        await stage.settle()
        await going
        assert stage.lines("run.4321")[3:] == [GONE, "Process exited with status 129", COMPLETE]

    told(story)


def test_its_client_goes_and_it_does_not_care(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.host.obeys = False
        instance = await attached(stage)
        going = asyncio.create_task(instance.hang_up("its client has gone"))
        await stage.advance(16)
        await going
        assert stage.lines("run.4321")[3:] == [
            *[GONE] * 3,
            DETACH_ERROR,
            "Process exited with status 137",
            COMPLETE,
        ]

    told(story)


def test_it_is_stopped_while_it_waits_and_while_it_runs(told: Play) -> None:
    async def story(stage: Stage) -> None:
        begin(stage)
        await stage.settle()
        await stage.ask(stage.conductor.stop(stage.app, "run.4321", KATE))
        await stage.settle()
        assert stage.lines("run.4321") == [*BEGUN, COMPLETE]
        await attached(stage)
        await stage.ask(stage.conductor.stop(stage.app, "run", KATE))
        await stage.settle()
        assert stage.lines("run.4321")[-3:] == [
            "Stopping all processes with SIGTERM",
            "Process exited with status 143",
            COMPLETE,
        ]

    told(story)


def test_its_time_to_live(told: Play) -> None:
    async def story(stage: Stage) -> None:
        begin(stage, attached=False, lives_s=60)
        await stage.advance(59)
        assert stage.states() == {"run.4321": "up"}
        await stage.advance(2)
        assert stage.states() == {}
        assert stage.lines("run.4321")[0] == "Starting process with command `bash`"

    told(story)


def test_a_detached_one_outlives_control_with_its_time_to_live(told: Play) -> None:
    async def story(stage: Stage) -> None:
        begin(stage, attached=False, lives_s=600)
        await stage.settle()
        await stage.kill()
        await stage.begin()
        await stage.settle()
        assert stage.states() == {"run.4321": "up"}
        assert stage.conductor.one_offs.count(stage.app) == 1
        await stage.advance(601)
        assert stage.states() == {}

    told(story)


def test_an_attached_one_is_ended_by_the_next_control(told: Play) -> None:
    async def story(stage: Stage) -> None:
        await attached(stage)
        await stage.kill()
        await stage.begin()
        await stage.settle()
        assert stage.states() == {}
        assert stage.lines("run.4321")[-1] == COMPLETE

    told(story)


def test_one_that_awaited_its_client_when_control_was_killed(told: Play) -> None:
    async def story(stage: Stage) -> None:
        begin(stage)
        await stage.settle()
        await stage.kill()
        await stage.begin()
        await stage.settle()
        assert stage.states() == {}
        assert stage.lines("run.4321") == [*BEGUN, COMPLETE]

    told(story)


def test_one_named_as_a_web_process_takes_no_requests(told: Play) -> None:
    async def story(stage: Stage) -> None:
        stage.conductor.one_offs.begin(wish(5), Once(DynoName("web", 4321), "bash"))
        await stage.settle()
        assert stage.states() == {"web.4321": "up"}
        (dyno,) = stage.conductor.dynos(stage.app)
        assert (dyno.port, dyno.serving) == (None, False)

    told(story)


def test_a_restart_stops_it_as_heroku_does(told: Play) -> None:
    async def story(stage: Stage) -> None:
        begin(stage, attached=False)
        await stage.settle()
        assert await stage.ask(stage.conductor.restart(stage.app, "run.4321", KATE)) == 1
        await stage.settle()
        assert stage.states() == {}
        assert stage.host.running() == []

    told(story)


def test_a_client_that_is_quicker_than_the_disk(told: Play) -> None:
    async def story(stage: Stage) -> None:
        instance = begin(stage)
        coming = asyncio.create_task(instance.attach(None))
        await stage.settle()
        assert await coming is stage.host.terminals[instance.spec.instance]
        stage.host.crash("run.4321", 0)
        await stage.settle()
        assert stage.lines("run.4321") == [
            *BEGUN,
            "Starting process with command `bash`",
            "Process exited with status 0",
            COMPLETE,
        ]

    told(story)


def test_it_is_stopped_before_it_could_await_anybody(told: Play) -> None:
    async def story(stage: Stage) -> None:
        begin(stage)
        await stage.ask(stage.conductor.stop(stage.app, "run.4321", KATE))
        await stage.settle()
        assert stage.states() == {}
        assert stage.lines("run.4321") == ["State changed from starting to complete"]

    told(story)
