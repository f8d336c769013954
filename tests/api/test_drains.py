"""Log drains through the API, with a real logplex behind it: answers held against the schema."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from oriel.control import drains
from oriel.ledger import acts
from oriel.ledger import apps as ledger_apps
from oriel.logplex.client import Logplex
from oriel.logplex.process import SOCKET, serve
from oriel.store import outbox

from . import schema
from .world import KATE, NED, Site, play

URL = "https://user:topsecret@127.0.0.1:9/in?format=rfc5424&k=v#insecure"
SHOWN = URL.replace("topsecret", "****")


def body(**values: Any) -> bytes:
    return json.dumps(values).encode()


@contextlib.asynccontextmanager
async def logplex(site: Site, data: Path) -> AsyncIterator[Logplex]:
    """The site with a real logplex."""
    task = asyncio.create_task(serve(data, None, allowed=["127.0.0.1"]))
    client = Logplex(data / SOCKET)
    site.world.logplex = client
    while not (data / SOCKET).exists():
        assert not task.done() or task.result()
        await asyncio.sleep(0.002)
    try:
        yield client
    finally:
        await client.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def said(site: Site) -> list[str]:
    def work(conn: Connection) -> list[str]:
        return [each.line.text for each in outbox.waiting(conn)]

    return await site.world.db.read(work)


def test_a_drain_from_birth_to_death(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        async with logplex(site, tmp_path / "plex"):
            await site.send("POST", "/apps", body=body(name="demo"))
            answer = await site.send("POST", "/apps/demo/log-drains", body=body(url=URL))
            assert answer.status == 201, answer.body
            made = answer.json
            schema.check("log-drain", made)
            assert schema.missing("log-drain", made) == set()
            assert (made["url"], made["addon"]) == (SHOWN, None)
            assert made["token"].startswith("d.")
            own = made["oriel"]
            assert (own["state"], own["lost"], own["lag"]["lines"]) == ("new", 0, 0)
            listed = (await site.send("GET", "/apps/demo/log-drains")).json
            assert [each["id"] for each in listed] == [made["id"]]
            for name in (made["id"], made["token"], quote(URL, safe=""), quote(SHOWN, safe="")):
                one = await site.send("GET", f"/apps/demo/log-drains/{name}")
                assert (one.status, one.json["id"]) == (200, made["id"]), name
            where = f"/oriel/apps/demo/log-drains/{made['token']}/actions"
            tested = (await site.send("POST", f"{where}/test")).json
            assert tested["taken"] is False
            assert "refused" in tested["answer"]
            for since in ("2h", "v1", "2011-06-19T08:35:21Z"):
                again = await site.send("POST", f"{where}/replay", body=body(since=since))
                assert (again.status, again.json["drain"]["id"]) == (200, made["id"])
            gone = await site.send("DELETE", f"/apps/demo/log-drains/{quote(URL, safe='')}")
            assert (gone.status, gone.json["id"]) == (200, made["id"])
            assert (await site.send("GET", "/apps/demo/log-drains")).json == []
            lines = await said(site)
            assert f"Add log drain {SHOWN} by {NED}" in lines
            assert f"Remove log drain {SHOWN} by {NED}" in lines
            assert any(
                each.startswith(f"Replay log drain {made['token']} since ") for each in lines
            )
            assert "topsecret" not in "\n".join(lines)

            def written(conn: Connection) -> str:
                app = ledger_apps.by_name_or_id(conn, "demo")
                return repr(acts.of_app(conn, app.id))

            assert "topsecret" not in await site.world.db.read(written)

    play(tmp_path / "d", tell, NED)


def test_refusals(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        async with logplex(site, tmp_path / "plex"):
            await site.send("POST", "/apps", body=body(name="demo"))
            where = "/apps/demo/log-drains"
            table = [
                ("POST", where, body(), 422),
                ("POST", where, body(url=5), 422),
                ("POST", where, body(url="ftp://a.example"), 422),
                ("POST", where, body(url="http://169.254.169.254/"), 422),
                ("POST", where, body(url=URL), 201),
                ("POST", where, body(url=URL), 409),
                ("GET", f"{where}/d.nothing", b"", 404),
                ("DELETE", f"{where}/https%3A%2F%2Fa.example", b"", 404),
                ("POST", "/oriel/apps/demo/log-drains/x/actions/replay", body(), 422),
                ("POST", "/oriel/apps/demo/log-drains/x/actions/test", b"", 404),
            ]
            for method, path, sent, status in table:
                answer = await site.send(method, path, body=sent)
                assert answer.status == status, (method, path, answer.body)
                assert b"topsecret" not in answer.body
            assert (await site.send("GET", where, by=KATE)).status == 404

    play(tmp_path / "d", tell, NED, KATE)


def test_what_a_kill_left_half_done_is_settled(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        async with logplex(site, tmp_path / "plex") as client:
            await site.send("POST", "/apps", body=body(name="demo"))
            kept = (await site.send("POST", "/apps/demo/log-drains", body=body(url=URL))).json
            gone = (
                await site.send(
                    "POST", "/apps/demo/log-drains", body=body(url="http://127.0.0.1:9")
                )
            ).json
            app = await site.world.db.read(lambda conn: ledger_apps.by_name_or_id(conn, "demo"))
            ids = [f"{n}0000000-0000-0000-0000-000000000000" for n in range(4)]
            # Killed before the act was written; killed after the act of a removal was.
            await client.add_drain(app.channel, "http://127.0.0.1:9/unwritten", ids[0], ids[1])
            await site.send("DELETE", f"/apps/demo/log-drains/{gone['id']}")
            await client.add_drain(app.channel, "http://127.0.0.1:9", gone["id"], ids[2])
            await client.add_drain("nobodys", "http://127.0.0.1:9", ids[3], ids[3])
            await drains.settle(site.world)
            left = {each["id"] for each in await client.drains()}
            assert left == {kept["id"], ids[3]}

    play(tmp_path / "d", tell, NED)


def test_settling_waits_for_a_logplex_that_is_away(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        site.world.logplex = Logplex(tmp_path / "nothing.sock")
        await drains.settle(site.world)
        await site.send("POST", "/apps", body=body(name="demo"))
        answer = await site.send("POST", "/apps/demo/log-drains", body=body(url=URL))
        assert answer.status == 503

    play(tmp_path / "d", tell, NED)
