"""How a release is made: one at a time, whole, whoever waits for it; and what a kill leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from oriel import faults
from oriel.control import apps, config, features, recovery, releases, releasing
from oriel.control import world as worlds
from oriel.ledger import releases as ledger
from oriel.lexicon import Actor
from oriel.manifold import Exit
from tests.api.world import NED, Site, play

APP = "foobaz"


class Gate:
    """A release command that ends when it is told to."""

    def __init__(self, site: Site, code: int = 0) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.code = code
        site.conductor.one_offs.run = self.run  # type: ignore[method-assign]

    async def run(self, *args: Any, **more: Any) -> Exit:
        self.begun.set()
        await self.end.wait()
        return Exit(code=self.code)


async def deployed(site: Site) -> None:
    """An app with a release command, at v2."""
    await apps.create_app(site.world, await site.actor(NED), APP)
    await site.deploy(APP, "a", web="run", release="migrate")


async def statuses(site: Site) -> list[str]:
    listed = await releases.releases(site.world, await site.actor(NED), APP, limit=9)
    return [card.release.status for card in listed]


def test_a_long_release_command_is_answered_as_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert releasing.make.__kwdefaults__ is not None
    monkeypatch.setitem(releasing.make.__kwdefaults__, "patience_s", 0.01)

    async def tell(site: Site) -> None:
        actor = await site.actor(NED)
        await apps.create_app(site.world, actor, APP)
        await site.deploy(APP, "a", web="run", release="migrate")
        await asyncio.gather(*site.world.background)
        gate = Gate(site)
        _, release = await config.set_config(site.world, actor, APP, {"A": "1"})
        assert release is not None
        assert release.status == "pending"
        assert await config.config_vars(site.world, actor, APP) == {}
        gate.end.set()
        await asyncio.gather(*site.world.background)
        assert await statuses(site) == ["succeeded"] * 3
        assert await config.config_vars(site.world, actor, APP) == {"A": "1"}

    play(tmp_path / "data", tell)


def test_another_change_waits_and_is_refused_when_that_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tell(site: Site) -> None:
        await deployed(site)
        gate = Gate(site)
        actor = await site.actor(NED)
        first = asyncio.create_task(config.set_config(site.world, actor, APP, {"A": "1"}))
        await gate.begun.wait()
        monkeypatch.setattr(worlds, "CHANGE_WAIT_S", 0.01)
        with pytest.raises(faults.ReleasePending, match=APP):
            await releases.roll_back(site.world, actor, APP, None)
        monkeypatch.setattr(worlds, "CHANGE_WAIT_S", 10)
        second = asyncio.create_task(config.set_config(site.world, actor, APP, {"B": "2"}))
        gate.end.set()
        await asyncio.gather(first, second)
        assert await config.config_vars(site.world, actor, APP) == {"A": "1", "B": "2"}

    play(tmp_path / "data", tell)


def test_once_appended_it_is_done_though_nobody_waits(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await deployed(site)
        gate = Gate(site)
        actor = await site.actor(NED)
        change = asyncio.create_task(config.set_config(site.world, actor, APP, {"A": "1"}))
        await gate.begun.wait()
        change.cancel()
        with pytest.raises(asyncio.CancelledError):
            await change
        gate.end.set()
        await asyncio.gather(*site.world.background)
        assert await statuses(site) == ["succeeded"] * 3

    play(tmp_path / "data", tell)


def test_a_failed_release_command_keeps_the_head(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await deployed(site)
        gate = Gate(site, code=3)
        gate.end.set()
        actor = await site.actor(NED)
        _, release = await config.set_config(site.world, actor, APP, {"A": "1"})
        assert release is not None
        assert (release.status, release.status_reason) == (
            "failed",
            "release command exited with status 3",
        )
        assert await config.config_vars(site.world, actor, APP) == {}
        assert site.conductor.wishes[next(iter(site.conductor.wishes))].release == 2

    play(tmp_path / "data", tell)


def test_a_kill_while_a_release_command_runs_fails_its_release(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await deployed(site)
        gate = Gate(site)
        actor = await site.actor(NED)
        change = asyncio.create_task(config.set_config(site.world, actor, APP, {"A": "1"}))
        await gate.begun.wait()
        # The next start finds a pending release that nobody settles any more.
        await site.world.db.write(lambda conn: recovery._fail_pending(conn, site.world))
        assert await statuses(site) == ["failed", "succeeded", "succeeded"]
        report = await site.world.db.read(
            lambda conn: ledger.head(conn, next(iter(site.conductor.wishes)))
        )
        assert report is not None
        assert report.version == 2
        change.cancel()
        for task in site.world.background:
            task.cancel()

    play(tmp_path / "data", tell)


async def prebooting(site: Site, why: str) -> None:
    """An app at v2 that serves, with preboot on; what comes of the next one is `why`."""
    actor = await site.actor(NED)
    await apps.create_app(site.world, actor, APP)
    await site.deploy(APP, "a", web="run", worker="work")
    await features.set_feature(site.world, actor, APP, "preboot", True)

    async def preboot(wish: Any, *, by: Any) -> str:
        site.conductor.told.append(("preboot", f"v{wish.release}"))
        assert await statuses(site) == ["pending", "succeeded", "succeeded"]
        return why

    site.conductor.preboot = preboot  # type: ignore[method-assign]


def test_with_preboot_a_release_succeeds_when_its_web_dynos_are_up(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await prebooting(site, "")
        _, release = await config.set_config(site.world, await site.actor(NED), APP, {"A": "1"})
        assert release is not None
        assert (release.version, release.status) == (3, "succeeded")
        assert site.conductor.told == [("preboot", "v3")]
        assert next(iter(site.conductor.wishes.values())).release == 3

    play(tmp_path / "data", tell)


def test_with_preboot_one_that_does_not_come_up_fails_and_the_head_stays(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await prebooting(site, "web.1 exited with status 1")
        actor = await site.actor(NED)
        _, release = await config.set_config(site.world, actor, APP, {"A": "1"})
        assert release is not None
        assert (release.status, release.status_reason) == (
            "failed",
            "preboot failed: web.1 exited with status 1",
        )
        assert next(iter(site.conductor.wishes.values())).release == 2
        assert await config.config_vars(site.world, actor, APP) == {}

    play(tmp_path / "data", tell)


@pytest.mark.parametrize("feature_is_on", [True, False])
def test_where_nothing_serves_there_is_nothing_to_keep(tmp_path: Path, feature_is_on: bool) -> None:
    async def tell(site: Site) -> None:
        actor = await site.actor(NED)
        await apps.create_app(site.world, actor, APP)
        await site.deploy(APP, "a", web="run")
        await features.set_feature(site.world, actor, APP, "preboot", feature_is_on)
        if feature_is_on:
            site.conductor.dynos = lambda app_id: ()  # type: ignore[method-assign]
        await config.set_config(site.world, actor, APP, {"A": "1"})
        assert site.conductor.told == []
        assert await statuses(site) == ["succeeded"] * 3

    play(tmp_path / "data", tell)


class Beside:
    """Web dynos that come up when they are told to, or are called off."""

    def __init__(self, site: Site) -> None:
        self.begun, self.up = asyncio.Event(), asyncio.Event()
        self.off: list[int] = []
        site.conductor.preboot = self.preboot  # type: ignore[method-assign]
        site.conductor.call_off = self.call_off  # type: ignore[attr-defined]
        self._releases: list[int] = []

    async def preboot(self, wish: Any, *, by: Any) -> str:
        self._releases.append(wish.release)
        self.begun.set()
        while not self.up.is_set() and wish.release not in self.off:
            await asyncio.sleep(0)
        return "it was called off" if wish.release in self.off else ""

    def call_off(self, app_id: str, release: int) -> None:
        self.off.append(release)


async def coming_up(site: Site) -> tuple[Beside, Actor, asyncio.Task[Any]]:
    """A release that sets A to 1, whose web dynos come up, and who makes it."""
    await prebooting(site, "")
    beside = Beside(site)
    actor = await site.actor(NED)
    making = asyncio.create_task(config.set_config(site.world, actor, APP, {"A": "1"}))
    await beside.begun.wait()
    return beside, actor, making


def test_a_newer_release_supersedes_one_whose_web_dynos_come_up(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        beside, actor, first = await coming_up(site)
        second = asyncio.create_task(config.set_config(site.world, actor, APP, {"B": "2"}))
        _, superseded = await first
        assert superseded is not None
        assert (superseded.version, superseded.status, superseded.status_reason) == (
            *(3, "failed"),
            "superseded by v4 before its web dynos were up",
        )
        beside.up.set()
        _, release = await second
        assert release is not None
        assert (release.version, release.status) == (4, "succeeded")
        assert 3 in beside.off
        assert 4 not in beside.off
        assert await config.config_vars(site.world, actor, APP) == {"A": "1", "B": "2"}
        assert next(iter(site.conductor.wishes.values())).release == 4

    play(tmp_path / "data", tell)


def test_what_appends_nothing_supersedes_nothing(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        beside, actor, first = await coming_up(site)
        _, same = await config.set_config(site.world, actor, APP, {"A": "1"})
        assert same is None
        with pytest.raises(faults.NotFound):
            await releases.roll_back(site.world, actor, APP, "v9")
        assert beside.off == []
        beside.up.set()
        _, release = await first
        assert release is not None
        assert (release.version, release.status) == (3, "succeeded")

    play(tmp_path / "data", tell)


def test_a_rollback_out_of_a_preboot_goes_to_what_runs(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        beside, actor, first = await coming_up(site)
        back = asyncio.create_task(releases.roll_back(site.world, actor, APP, None))
        await first
        beside.up.set()
        card = await back
        assert card.release.copy_of == 2
        assert await config.config_vars(site.world, actor, APP) == {}

    play(tmp_path / "data", tell)


def test_a_kill_while_web_dynos_come_up_fails_the_release(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await prebooting(site, "")
        begun = asyncio.Event()

        async def preboot(wish: Any, *, by: Any) -> str:
            begun.set()
            await asyncio.get_running_loop().create_future()
            return ""

        site.conductor.preboot = preboot  # type: ignore[method-assign]
        actor = await site.actor(NED)
        change = asyncio.create_task(config.set_config(site.world, actor, APP, {"A": "1"}))
        await begun.wait()
        await site.world.db.write(lambda conn: recovery._fail_pending(conn, site.world))
        listed = await releases.releases(site.world, actor, APP, limit=1)
        assert listed[0].release.status_reason == (
            "the platform was stopped while its web dynos came up"
        )
        change.cancel()
        for task in site.world.background:
            task.cancel()

    play(tmp_path / "data", tell)


def test_only_what_changes_is_told(tmp_path: Path) -> None:
    """Setting a var to what it is makes no release; of several, the changed ones are named."""

    async def tell(site: Site) -> None:
        actor = await site.actor(NED)
        await apps.create_app(site.world, actor, APP)
        await config.set_config(site.world, actor, APP, {"A": "1", "B": "2"})
        values, release = await config.set_config(site.world, actor, APP, {"A": "1"})
        assert (values, release) == ({"A": "1", "B": "2"}, None)
        _, release = await config.set_config(site.world, actor, APP, {"A": "1", "B": "3"})
        assert release is not None
        assert release.description == "Config add B"

    play(tmp_path / "data", tell)


@pytest.mark.parametrize("name", ["api", "oriel"])
def test_names_of_the_api_are_kept(tmp_path: Path, name: str) -> None:
    async def tell(site: Site) -> None:
        with pytest.raises(faults.Invalid, match="kept for Oriel"):
            await apps.create_app(site.world, await site.actor(NED), name)

    play(tmp_path / "data", tell)
