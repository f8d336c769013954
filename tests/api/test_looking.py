"""What Oriel says of dynos beyond Heroku, through the API."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from oriel.manifold.tables import dyno_events
from oriel.manifold.watch import Watchers
from tests.api import schema
from tests.api.test_app import body, ok, play, refused
from tests.api.world import KATE, NED, Site
from tests.manifold.wording import because

OWN = "/oriel/apps/demo"
DETAIL = {"command": "run", "size": "standard-1x", "channel": "c", "once": False}
WATCH = f"{OWN}/dynos"


async def demo(site: Site) -> str:
    """The app of these tests, with a release and a past; returns its id."""
    app = await ok(site, "POST", "/apps", 201, body=body(name="demo"))
    await site.deploy("demo", "a")
    await site.deploy("demo", "b")
    begun = site.world.clock.wall() - timedelta(minutes=30)
    for after_s, instance, name, release, state, cause in (
        (0, "1" * 32, "web.1", 2, "starting", ""),
        (1, "1" * 32, "web.1", 2, "up", ""),
        (0, "9" * 32, "web.2", 2, "starting", ""),
        (1, "9" * 32, "web.2", 2, "up", ""),
        (60, "9" * 32, "web.2", 2, "down", "scaled down by ned@foobazco.com"),
        (600, "1" * 32, "web.1", 2, "stopping", "replaced by v3"),
        (600, "2" * 32, "web.1", 3, "starting", ""),
        (601, "1" * 32, "web.1", 2, "down", "replaced by v3"),
        (602, "2" * 32, "web.1", 3, "crashed", "exited with status 1"),
        (602, f"{101:032x}", "web.1", 3, "starting", ""),
        (604, f"{101:032x}", "web.1", 3, "up", ""),
    ):
        row = {
            "app_id": app["id"],
            "instance": instance,
            "name": name,
            "type": "web",
            "number": int(name[-1]),
            "release": release,
            "state": state,
            "at": begun + timedelta(seconds=after_s),
            "cause": cause,
            "detail": {**DETAIL, "cause": because(cause).kept()},
        }
        await site.world.db.write(lambda conn, row=row: conn.execute(insert(dyno_events), row))
    return str(app["id"])


def test_a_card(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await demo(site)
        found = await ok(site, "GET", f"{OWN}/dynos/web.1")
        schema.check("dyno", found)
        own = found["oriel"]
        assert own["restarts_last_hour"] == 2
        assert own["last_exit"]["reason"] == "exited with status 1"
        assert own["last_exit"]["release"] == {"version": 3}
        assert own["usage"]["memory_bytes"] == 300 << 20
        assert own["usage"]["memory_quota_bytes"] == 512 << 20
        assert (own["usage"]["cpu"], own["usage"]["processes"]) == (0.0, 4)
        assert [each["text"] for each in own["lines"]] == [
            "State changed from starting to up", "Listening"]  # fmt: skip
        assert site.logplex.asked[-1].lines == 10
        site.logplex.away = True
        assert (await ok(site, "GET", f"{OWN}/dynos/web.1"))["oriel"]["lines"] is None
        none = await refused(site, "GET", f"{OWN}/dynos/web.2", 404)
        assert none["message"] == "demo has no dyno web.2: it has web.1."
        assert "oriel why web.2" in none["hint"]
        # What all of them take is looked at only where it is asked for.
        plain = await ok(site, "GET", "/apps/demo/dynos")
        assert "usage" not in plain[0]["oriel"]
        told = await ok(site, "GET", "/apps/demo/dynos", query="usage=true")
        schema.check("dyno", told)
        assert told[0]["oriel"]["usage"]["memory_bytes"] == 300 << 20

    play(tmp_path / "d", tell)


def test_the_past_is_the_same_query(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await demo(site)
        answer = await site.send("GET", "/apps/demo/dynos", query="at=25m")
        found = answer.json
        schema.check("dyno", found)
        assert [(each["name"], each["state"], each["release"]) for each in found] == [
            ("web.1", "up", {"version": 2})]  # fmt: skip
        at = datetime.fromisoformat(answer.headers["oriel-at"])
        assert abs(site.world.clock.wall() - timedelta(minutes=25) - at) < timedelta(seconds=20)
        now = (await ok(site, "GET", "/apps/demo/dynos"))[0]
        assert set(found[0]) == set(now)
        assert set(found[0]["oriel"]) == set(now["oriel"])
        early = await ok(site, "GET", "/apps/demo/dynos", query="at=2000-01-01T00:00:00Z")
        assert early == []
        for wrong, status in (("at=soon", 422), ("at=2999-01-01", 422), ("at=v99", 404)):
            await refused(site, "GET", "/apps/demo/dynos", status, query=wrong)

    play(tmp_path / "d", tell)


def test_who_was_stopped_and_then_scaled_away_is_gone(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        app_id = await demo(site)
        row = {
            "app_id": app_id, "instance": "7" * 32, "name": "worker.2", "type": "worker",
            "number": 2, "release": 3, "state": "down", "at": site.world.clock.wall(),
            "cause": "stopped by ned@foobazco.com",
            "detail": {**DETAIL, "cause": because("stopped by ned@foobazco.com").kept()},
        }  # fmt: skip
        await site.world.db.write(lambda conn: conn.execute(insert(dyno_events), row))

        async def there() -> list[str]:
            found = await ok(site, "GET", "/apps/demo/dynos", query="at=0s")
            return [each["name"] for each in found]

        assert await there() == ["web.1", "worker.2"]
        path = "/apps/demo/formation/worker"
        await ok(site, "PATCH", path, body=body(quantity=2))
        assert await there() == ["web.1", "worker.2"]
        await ok(site, "PATCH", path, body=body(quantity=1))
        assert await there() == ["web.1"]

    play(tmp_path / "d", tell)


def test_transitions_page_by_page(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await demo(site)
        path = f"{OWN}/dyno-events"
        whole = await ok(site, "GET", path)
        assert len(whole) == 11
        assert (whole[0]["from"], whole[0]["to"], whole[0]["lasted_s"]) == ("starting", "up", 2.0)
        assert whole[-1]["from"] is None
        some = await ok(site, "GET", path, query=f"limit=4&before={whole[3]['id']}")
        assert some == whole[4:8]
        assert len(await ok(site, "GET", path, query="ps=web.2")) == 3
        assert len(await ok(site, "GET", path, query="ps=web&since=21m")) == 6
        assert len(await ok(site, "GET", path, query="ps=web&until=21m")) == 5
        assert await ok(site, "GET", path, query="ps=web&since=1m") == []
        for wrong, status in (
            ("ps=web.3", 404),
            ("ps=clock", 404),
            ("ps=web.x", 422),
            ("limit=0", 422),
            ("limit=1001", 422),
            ("limit=x", 422),
            ("before=-1", 422),
            ("since=soon", 422),
            ("until=v99", 404),
        ):
            await refused(site, "GET", path, status, query=wrong)
        never = await refused(site, "GET", path, 404, query="ps=web.3")
        assert never["message"] == (
            "demo never had a dyno web.3: there is, or was, web.1, web.2.")  # fmt: skip

    play(tmp_path / "d", tell)


def test_why(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await demo(site)
        found = await ok(site, "GET", f"{OWN}/dynos/web.1/why")
        assert (found["kind"], found["crashes"], found["release"]) == ("exit", 1, 3)
        assert found["was"] == "up for 9m on v2, then replaced by v3"
        assert found["ended"] == "exited with status 1, 2s after its start"
        assert found["said"] == ["State changed from starting to up", "Listening"]
        asked = site.logplex.asked[-1]
        assert (asked.sources, asked.ps, asked.until_us is not None) == (("app",), ("web.1",), True)
        gone = await ok(site, "GET", f"{OWN}/dynos/web.2/why")
        assert (gone["state"], gone["kind"]) == ("gone", "scaled")
        assert gone["steps"] == [{"kind": "undo", "command": "oriel ps:scale web=2"}]
        never = await refused(site, "GET", f"{OWN}/dynos/web.3/why", 404)
        assert never["message"].startswith("demo never had a dyno web.3: there is, or was, web.1")
        await refused(site, "GET", f"{OWN}/dynos/web/why", 422)

    play(tmp_path / "d", tell)


def test_why_knows_what_was_changed_and_how_to_undo_it(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        app_id = await demo(site)
        config = "/apps/demo/config-vars"
        await ok(site, "PATCH", config, body=body(FOO="s3cret"))
        row = {
            "app_id": app_id, "instance": "5" * 32, "name": "web.1", "type": "web",
            "number": 1, "release": 4, "cause": "",
            "detail": {"command": "run", "size": "standard-1x", "channel": "c", "once": False},
        }  # fmt: skip
        for state, cause in (("starting", ""), ("crashed", "exited with status 1")):
            entry = {**row, "state": state, "cause": cause, "at": site.world.clock.wall()}
            await site.world.db.write(lambda conn, e=entry: conn.execute(insert(dyno_events), e))
        site.conductor.states["web.1"] = ("crashed", "exited with status 1")
        found = await ok(site, "GET", f"{OWN}/dynos/web.1/why")
        assert found["changes"][0]["text"] == "Config add FOO"
        assert (found["changes"][0]["by"], found["changes"][0]["release"]) == (NED, 4)
        assert [each["command"] for each in found["steps"]] == [
            "oriel rollback v3", "oriel config:remove FOO"]  # fmt: skip
        assert "s3cret" not in json.dumps(found)

    play(tmp_path / "d", tell)


def test_why_knows_what_a_scale_was_before(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        app_id = await demo(site)
        await ok(site, "PATCH", "/apps/demo/formation/web", body=body(size="standard-2x"))
        row = {
            "app_id": app_id, "instance": "5" * 32, "name": "web.1", "type": "web",
            "number": 1, "release": 3, "cause": "exited with status 1",
            "detail": {"command": "run", "size": "standard-2x", "channel": "c", "once": False},
        }  # fmt: skip
        for state in ("starting", "crashed"):
            entry = {**row, "state": state, "at": site.world.clock.wall()}
            await site.world.db.write(lambda conn, e=entry: conn.execute(insert(dyno_events), e))
        site.conductor.states["web.1"] = ("crashed", "exited with status 1")
        found = await ok(site, "GET", f"{OWN}/dynos/web.1/why")
        assert found["changes"][0]["text"] == "Scale web standard-1x to standard-2x"
        assert found["steps"] == [{"kind": "undo", "command": "oriel ps:type web=standard-1x"}]
        await ok(site, "PATCH", "/apps/demo/formation/web", body=body(quantity=3))
        # What came after it turned is no cause of it.
        again = await ok(site, "GET", f"{OWN}/dynos/web.1/why")
        assert again["changes"] == found["changes"]

    play(tmp_path / "d", tell)


def test_a_change_is_told_to_who_waits_for_it(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        app_id = await demo(site)
        first = await ok(site, "GET", WATCH)
        assert (first["release"], first["newest"]) == (3, {"version": 3, "status": "succeeded"})
        schema.check("dyno", first["dynos"])
        query = f"after={first['tag']}&wait_s=15"
        held = asyncio.create_task(ok(site, "GET", WATCH, query=query))
        while not site.conductor.watchers:
            await asyncio.sleep(0.001)
        # Something was told, but nothing is as `after` does not say: it is held on.
        site.conductor.watchers.tell(app_id)
        await asyncio.sleep(0.1)
        assert not held.done()
        site.conductor.states["web.1"] = ("crashed", "exited with status 1")
        began_s = time.monotonic()
        site.conductor.watchers.tell(app_id)
        second = await held
        assert time.monotonic() - began_s < 5
        assert second["dynos"][0]["state"] == "crashed"
        assert second["tag"] != first["tag"]
        # Who asks late has missed nothing; who asks without waiting gets what is.
        assert (await ok(site, "GET", WATCH, query=query))["tag"] == second["tag"]
        again = await ok(site, "GET", WATCH, query=f"after={second['tag']}&wait_s=0")
        assert again["tag"] == second["tag"]
        assert len(site.conductor.watchers) == 0
        await refused(site, "GET", WATCH, 422, query="wait_s=long")

    play(tmp_path / "d", tell)


def test_a_waiter_that_goes_is_forgotten_and_too_many_are_refused(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await demo(site)
        site.conductor.watchers = Watchers(most=1)
        tag = (await ok(site, "GET", WATCH))["tag"]
        query = f"after={tag}&wait_s=15"
        held = asyncio.create_task(site.send("GET", WATCH, query=query))
        while not site.conductor.watchers:
            await asyncio.sleep(0.001)
        busy = await refused(site, "GET", WATCH, 503, query=query)
        assert busy["id"] == "unavailable"
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        assert len(site.conductor.watchers) == 0

    play(tmp_path / "d", tell)


@pytest.mark.parametrize(
    "path",
    [
        WATCH,
        f"{OWN}/dynos/web.1",
        f"{OWN}/dynos/web.1/why",
        f"{OWN}/dyno-events",
        "/apps/demo/dynos?at=1h",
        "/apps/demo/dynos?usage=true",
    ],
)
def test_none_of_it_is_for_strangers(tmp_path: Path, path: str) -> None:
    async def tell(site: Site) -> None:
        await demo(site)
        path_, _, query = path.partition("?")
        more: dict[str, Any] = {"query": query} if query else {}
        await refused(site, "GET", path_, 401, by=None, **more)
        hidden = await refused(site, "GET", path_, 404, by=KATE, **more)
        assert hidden["message"] == "Couldn't find that app."
        other = path_.replace("/demo/", "/nothere/")
        assert await refused(site, "GET", other, 404, by=KATE, **more) == hidden
        await ok(site, "POST", "/apps/demo/collaborators", 201, body=body(user=KATE))
        await ok(site, "GET", path_, by=KATE, **more)

    play(tmp_path / "d", tell, NED, KATE)


def test_sizes(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        sizes = await ok(site, "GET", "/dyno-sizes")
        schema.check("dyno-size", sizes)
        assert not schema.missing("dyno-size", sizes[0])
        assert {each["name"]: each["memory"] for each in sizes}["Standard-2X"] == 1.0
        await refused(site, "GET", "/dyno-sizes", 401, by=None)

    play(tmp_path / "d", tell)


def test_a_restart_says_whom(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await demo(site)
        await ok(site, "PATCH", "/apps/demo/formation/web", body=body(quantity=2))
        told = await ok(site, "DELETE", "/apps/demo/formations/web", 202)
        assert told == {"oriel": {"dynos": ["web.1", "web.2"]}}
        stopped = await ok(site, "POST", "/apps/demo/dynos/web.2/actions/stop", 202)
        assert stopped == {"oriel": {"dynos": ["web.2"]}}
        none = await refused(site, "DELETE", "/apps/demo/dynos/web.3", 404)
        assert none["message"] == "demo has no dyno web.3: it has web.1, web.2."

    play(tmp_path / "d", tell)
