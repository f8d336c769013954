"""What the conductor says of a moment: what its dynos take, and that something changed."""

from __future__ import annotations

from oriel.manifold.launcher import Usage

from .conftest import Play
from .stage import NED, Stage


def test_what_running_dynos_take(told: Play) -> None:
    async def story(stage: Stage) -> None:
        looked: list[str] = []

        async def look(instance: str) -> Usage | None:
            looked.append(instance)
            if stage.host.host[instance].spec.name.number == 2:
                raise OSError("its files are gone")
            return Usage(memory_bytes=300, swap_bytes=0, cpu_s=1.0, processes=2)

        stage.conductor._launcher.look = look  # type: ignore[method-assign]
        await stage.wish(web=3)
        names = {each.instance: str(each.name) for each in stage.conductor.dynos(stage.app)}
        usage = await stage.conductor.usage(stage.app)
        # One that cannot be looked at is left out; the others are told of all the same.
        assert sorted(names[each] for each in usage) == ["web.1", "web.3"]
        assert {each.memory_bytes for each in usage.values()} == {300}
        looked.clear()
        assert [names[each] for each in await stage.conductor.usage(stage.app, "web.3")] == [
            "web.3"
        ]
        assert [names[each] for each in looked] == ["web.3"]
        assert await stage.conductor.usage("another app") == {}
        # What has ended takes nothing, and is not looked at.
        await stage.ask(stage.conductor.stop(stage.app, None, NED))
        looked.clear()
        assert (await stage.conductor.usage(stage.app), looked) == ({}, [])

    told(story)


def test_whoever_watches_is_told_of_each_change(told: Play) -> None:
    async def story(stage: Stage) -> None:
        with stage.conductor.watchers.watching(stage.app) as watch:
            await stage.wish(web=1)
            assert await watch.changed(0)
            assert not await watch.changed(0)
            [dyno] = stage.conductor.dynos(stage.app)
            stage.host.end(dyno.instance, 1)
            await stage.settle()
            assert await watch.changed(0)

    told(story)
