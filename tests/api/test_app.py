"""The API as a whole: stories through every door, answers held against Heroku's schema."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from oriel.api.app import DOORS
from oriel.builder import builds

from . import schema
from .asgi import Answer
from .world import KATE, NED, PASSWORD, Site, play


def body(**values: Any) -> bytes:
    return json.dumps(values).encode()


async def ok(site: Site, method: str, path: str, status: int = 200, **more: Any) -> Any:
    answer = await site.send(method, path, **more)
    assert answer.status == status, (method, path, answer.status, answer.body)
    return answer.json


async def refused(site: Site, method: str, path: str, status: int, **more: Any) -> Any:
    answer = await site.send(method, path, **more)
    said = answer.json
    assert (answer.status, set(said) >= {"id", "message"}) == (status, True), (path, said)
    assert said["message"].endswith("."), said
    return said


def test_an_app_from_birth_to_death(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        born = await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        schema.check("app", born)
        assert not schema.missing("app", born)
        for member in ("build_stack", "stack", "region", "owner"):
            assert all(born[member].values()), member
        assert isinstance(born["repo_size"], int)
        assert isinstance(born["slug_size"], int)
        assert (born["create_status"], born["generation"]["name"]) == ("complete", "cedar")
        assert (born["team"], born["region"]["name"]) == (None, "us")
        unnamed = await ok(site, "POST", "/apps", 201)
        await ok(site, "DELETE", f"/apps/{unnamed['name']}")
        await ok(site, "POST", "/apps", 201, body=body(name="zulu", region={"name": "us"}))
        for wrong in ({"name": "A"}, {"name": "demo2", "region": "eu"}, {"team": "t"}, {"name": 7}):
            await refused(site, "POST", "/apps", 422, body=body(**wrong))
        await refused(site, "POST", "/apps", 409, body=body(name="demo"))

        schema.check("app", await ok(site, "GET", "/apps"))
        assert len(await ok(site, "GET", "/users/~/apps")) == 2
        assert (await ok(site, "GET", f"/apps/{born['id']}"))["name"] == "demo"
        named = await site.send("GET", "/apps", headers={"range": "name ..; max=1"})
        assert (named.status, named.headers["next-range"]) == (
            206, "name ]demo..; max=1, order=asc")  # fmt: skip
        rest = await ok(site, "GET", "/apps", headers={"range": named.headers["next-range"]})
        assert len(rest) == 1

        renamed = await ok(site, "PATCH", "/apps/demo", body=body(name="other"))
        assert "other" in renamed["web_url"]
        still = await ok(site, "PATCH", "/apps/other", body=body(maintenance=True))
        assert still["maintenance"] is True
        assert (await ok(site, "PATCH", "/apps/other", body=body(build_stack="oriel-1")))["id"]
        for wrong in ({}, {"build_stack": "heroku-24"}, {"maintenance": "on"}, {"name": "-"}):
            await refused(site, "PATCH", "/apps/other", 422, body=body(**wrong))
        schema.check("domain", _without_nulls((await ok(site, "GET", "/apps/other/domains"))[0]))
        await ok(site, "DELETE", "/apps/other")
        gone = await refused(site, "GET", "/apps/other", 404)
        assert (gone["resource"], gone["message"]) == ("app", "Couldn't find that app.")

    play(tmp_path / "d", tell)


def test_the_ledger_through_its_doors(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        assert await site.deploy("demo", "a") == 2
        assert await site.deploy("demo", "b") == 3
        listed = await ok(site, "GET", "/apps/demo/releases")
        schema.check("release", [each for each in listed if each["slug"]])
        assert [each["version"] for each in listed] == [1, 2, 3]
        assert [each["current"] for each in listed] == [False, False, True]
        newest = await site.send(
            "GET", "/apps/demo/releases", headers={"range": "version ..; max=2, order=desc"}
        )
        assert newest.status == 206
        assert [each["version"] for each in newest.json] == [3, 2]
        following = {"range": newest.headers["next-range"]}
        last = await ok(site, "GET", "/apps/demo/releases", headers=following)
        assert [each["version"] for each in last] == [1]
        ranged = {"range": "version 3..2; order=desc"}
        part = await ok(site, "GET", "/apps/demo/releases", headers=ranged)
        assert [each["version"] for each in part] == [3, 2]

        by_id = await ok(site, "GET", f"/apps/demo/releases/{listed[1]['id']}")
        assert by_id["version"] == 2
        back = await ok(site, "POST", "/apps/demo/releases", 201, body=body(release=by_id["id"]))
        assert (back["version"], back["description"]) == (4, "Rollback to v2")
        assert (back["oriel"]["copy_of"], back["oriel"]["previous"]) == (2, 3)
        await ok(site, "POST", "/apps/demo/releases", 201, body=body(release="v3"))
        bare = await ok(site, "POST", "/apps/demo/releases", 201, body=b"{}")
        assert bare["description"] == "Rollback to v2"
        again = body(slug="b" * 64, description="Retry of v3: Deploy bbbbbbb")
        retried = await ok(site, "POST", "/apps/demo/releases", 201, body=again)
        assert retried["slug"]["id"] == "b" * 64

        await ok(site, "PATCH", "/apps/demo/config-vars", body=body(FOO="bar"))
        assert await ok(site, "GET", "/apps/demo/releases/v8/config-vars") == {"FOO": "bar"}
        diff = await ok(site, "GET", "/oriel/apps/demo/releases/v2/diff/v8")
        assert diff["config"]["added"].keys() == {"FOO"}
        assert "bar" not in json.dumps(diff)
        assert diff["commits"] == {"before": "a" * 40, "after": "b" * 40}
        shown = await ok(site, "GET", "/oriel/apps/demo/releases/v2/diff/v8", query="reveal=true")
        assert shown["config"]["added"] == {"FOO": "bar"}
        for ref in ("99", "v0", "nonsense", "0" * 8 + "-0000-0000-0000-" + "0" * 12):
            answer = await site.send("GET", f"/apps/demo/releases/{ref}")
            assert answer.status in (404, 422), (ref, answer.status)

    play(tmp_path / "d", tell)


def test_config_is_a_flat_object_and_each_change_a_release(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        where = "/apps/demo/config-vars"
        assert await ok(site, "GET", where) == {}
        values = {"FOO": "bar", "EMPTY": "", "LONG": "ü\n" * 5000}
        assert await ok(site, "PATCH", where, body=body(**values)) == values
        assert (await ok(site, "PATCH", where, body=body(LONG=None, NONE=None))).keys() == {
            "FOO", "EMPTY"}  # fmt: skip
        newest = {"range": "version ..; order=desc,max=1"}
        assert (await ok(site, "GET", "/apps/demo/releases", 206, headers=newest))[0][
            "version"] == 3  # fmt: skip
        for wrong in (body(), b"", body(FOO=1), body(FOO=["a"]), body(**{"1A": "x"})):
            await refused(site, "PATCH", where, 422, body=wrong)

    play(tmp_path / "d", tell)


def test_scaling_takes_numbers_in_every_form(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        assert await ok(site, "GET", "/apps/demo/formation") == []
        await site.deploy("demo", "a")
        where = "/apps/demo/formation"
        schema.check("formation", await ok(site, "GET", where))
        updates = [
            {"type": "web", "quantity": "4"},
            {"type": "worker", "quantity": "+1", "size": "standard-2x"},
        ]
        changed = await ok(site, "PATCH", where, body=body(updates=updates))
        assert [(each["type"], each["quantity"], each["size"]) for each in changed] == [
            ("web", 4, "Standard-1X"), ("worker", 1, "Standard-2X")]  # fmt: skip
        one = await ok(site, "PATCH", where + "/web", body=body(quantity="-1"))
        assert one["quantity"] == 3
        sized = body(updates=[{"type": "web", "size": "basic", "quantity": 2}])
        assert (await ok(site, "PATCH", where, body=sized))[0]["size"] == "Basic"
        byname = body(dyno_size={"name": "Standard-1X"})
        assert (await ok(site, "PATCH", where + "/web", body=byname))["size"] == "Standard-1X"
        wrong: list[Any] = [
            {}, {"updates": []}, {"updates": {}}, {"updates": [{}]}, {"updates": [{"type": "web"}]},
            {"updates": [{"type": "web", "quantity": "many"}]},
            {"updates": [{"type": "web", "quantity": True}]},
            {"updates": [{"type": "web", "quantity": -1}]},
            {"updates": [{"type": "web", "quantity": ""}]},
            {"updates": [{"type": "web", "size": "huge"}]},
            {"updates": [{"type": "web", "quantity": 1}] * 101},
        ]  # fmt: skip
        for values in wrong:
            await refused(site, "PATCH", where, 422, body=body(**values))
        await refused(site, "GET", where + "/nope", 404)

    play(tmp_path / "d", tell)


def test_dynos_are_shown_restarted_and_stopped(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        await site.deploy("demo", "a")
        listed = await ok(site, "GET", "/apps/demo/dynos")
        schema.check("dyno", listed)
        dyno = listed[0]
        assert (dyno["name"], dyno["state"], dyno["size"]) == ("web.1", "up", "Standard-1X")
        assert dyno["oriel"]["since"] == "2011-06-19T08:35:19.250000Z"
        assert await ok(site, "GET", "/apps/demo/dynos/web.1") == dyno
        assert await ok(site, "GET", f"/apps/demo/dynos/{dyno['id']}") == dyno
        long = await ok(site, "GET", "/apps/demo/dynos", query="extended=true")
        assert long[0]["extended"]["port"] == 20101
        await ok(site, "DELETE", "/apps/demo/dynos", 202)
        await ok(site, "DELETE", "/apps/demo/dynos/web.1", 202)
        await ok(site, "DELETE", "/apps/demo/formations/web", 202, body=b'{"any": "body"}')
        await ok(site, "POST", "/apps/demo/dynos/web.1/actions/stop", 202)
        await ok(site, "POST", "/apps/demo/formations/web/actions/stop", 202)
        assert site.conductor.told == [
            ("restart", None), ("restart", "web.1"), ("restart", "web"),
            ("stop", "web.1"), ("stop", "web"),
        ]  # fmt: skip
        await refused(site, "DELETE", "/apps/demo/dynos/web.7", 404)
        await refused(site, "GET", "/apps/demo/dynos/web.7", 404)

    play(tmp_path / "d", tell)


def test_logs_are_read_by_the_url_alone(tmp_path: Path) -> None:
    async def session(site: Site, **values: Any) -> str:
        made = await ok(site, "POST", "/apps/demo/log-sessions", 201, body=body(**values))
        schema.check("log-session", made)
        return str(made["logplex_url"]).removeprefix("http://127.0.0.1:5050")

    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        sse = {"accept": "text/event-stream"}
        path = await session(site, lines=100, tail=False)
        answer = await site.send("GET", path, by=None, headers=sse)
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.body.startswith(b"retry: 1\n\nid: 0\ndata: 2011-06-19T08:35:19.000001+00:00")
        plain = await site.send("GET", path, by=None)
        assert plain.body.decode().splitlines() == site.logplex.lines
        resumed = await site.send("GET", path, by=None, headers={**sse, "last-event-id": "0"})
        assert resumed.body.count(b"data:") == 1

        await site.send("GET", await session(site, source="app", lines="50", dyno="web"), by=None)
        asked = site.logplex.asked[-1]
        assert (asked.sources, asked.lines, asked.ps) == (("app",), 50, ("web",))
        await site.send("GET", await session(site, dyno_name="run.4321", format="json"), by=None)
        asked = site.logplex.asked[-1]
        assert (asked.ps, asked.format, asked.lines) == (("run.4321",), "json", 100)

        tail = site.client("GET", await session(site, tail=True), by=None, headers=sse)
        running = asyncio.create_task(tail.run())
        while b"Listening" not in tail.answer.body:
            tail.arrived.clear()
            await tail.arrived.wait()
        assert b"retry" not in tail.answer.body
        tail.gone.set()
        await running

        forged = path[:-4] + "AAAA"
        await refused(site, "GET", forged, 404, by=None, headers=sse)
        await refused(site, "POST", path, 405, by=None)
        await refused(site, "GET", path, 400, by=None, headers={"last-event-id": "x" * 500})
        site.logplex.away = True
        await refused(site, "GET", path, 503, by=None, headers=sse)
        for wrong in ({"lines": "many"}, {"tail": "yes"}, {"dyno": 7}, {"format": "xml"}):
            await refused(site, "POST", "/apps/demo/log-sessions", 422, body=body(**wrong))

    play(tmp_path / "d", tell)


def test_a_session_reads_a_part_of_a_log(tmp_path: Path) -> None:
    async def asked(site: Site, **values: Any) -> Any:
        made = await ok(site, "POST", "/apps/demo/log-sessions", 201, body=body(**values))
        path = str(made["logplex_url"]).removeprefix("http://127.0.0.1:5050")
        await site.send("GET", path, by=None)
        return site.logplex.asked[-1]

    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        query = await asked(site, since="2011-06-19T10:35:00+02:00", until="2011-06-19T08:35:21Z")
        assert (query.since_us, query.until_us) == (1_308_472_500_000_000, 1_308_472_521_999_999)
        assert query.lines is None
        query = await asked(site, since="v1", lines=5, grep="x" * 500, regex=True, raw=True)
        assert query.since_us > 0
        assert (query.lines, query.grep, query.regex, query.raw) == (5, "x" * 500, True, True)
        query = await asked(site, release="v1", grep="ü")
        assert (query.release, query.grep, query.lines) == (1, "ü", 100)
        assert query.since_us > 0
        refused_ones: list[tuple[int, dict[str, Any]]] = [
            (422, {"since": "soon"}),
            (404, {"since": "v99"}),
            (404, {"release": "v99"}),
            (422, {"release": "74"}),
            (422, {"until": "2h", "tail": True}),
            (422, {"grep": "ü" * 400}),
            (422, {"grep": "a\nb"}),
            (422, {"grep": 5}),
        ]
        for status, wrong in refused_ones:
            await refused(site, "POST", "/apps/demo/log-sessions", status, body=body(**wrong))

    play(tmp_path / "d", tell)


def test_who_may_touch_an_app(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        where = "/apps/demo/collaborators"
        schema.check("collaborator", await ok(site, "GET", where))
        await refused(site, "GET", "/apps/demo", 404, by=KATE)
        made = await ok(site, "POST", where, 201, body=body(user=KATE))
        schema.check("collaborator", made)
        assert made["role"] == "collaborator"
        await ok(site, "GET", "/apps/demo", by=KATE)
        assert (await ok(site, "GET", where + "/kate@foobazco.com"))["id"] == made["id"]
        gone = await ok(site, "DELETE", where + "/kate@foobazco.com")
        assert gone["user"]["email"] == KATE
        await refused(site, "GET", "/apps/demo", 404, by=KATE)
        await ok(site, "POST", where, 201, body=body(user={"email": KATE}))
        await refused(site, "DELETE", where + "/ned@foobazco.com", 422)
        await refused(site, "DELETE", where + "/nobody@foobazco.com", 404)
        await refused(site, "POST", where, 404, body=body(user="nobody@foobazco.com"))
        for wrong in ({}, {"user": 7}, {"user": {}}, {"user": "no address"}):
            await refused(site, "POST", where, 422, body=body(**wrong))

    play(tmp_path / "d", tell, NED, KATE)


def test_nothing_of_anothers_app_can_be_seen_or_touched(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        await site.deploy("demo", "a")
        before = await ok(site, "GET", "/apps/demo/releases")
        valid = {
            "/apps/{app}": body(name="mine", maintenance=True),
            "/apps/{app}/config-vars": body(FOO="bar"),
            "/apps/{app}/formation": body(updates=[{"type": "web", "quantity": 9}]),
            "/apps/{app}/formation/{type}": body(quantity=9),
            "/apps/{app}/collaborators": body(user=KATE),
            "/apps/{app}/log-drains": body(url="http://a.example"),
            "/oriel/apps/{app}/log-drains/{drain}/actions/replay": body(since="2h"),
            "/apps/{app}/domains": body(hostname="www.example.com"),
            "/apps/{app}/domains/{domain}": body(sni_endpoint=None),
            "/apps/{app}/sni-endpoints": body(certificate_chain="x", private_key="x"),
            "/apps/{app}/sni-endpoints/{cert}": body(certificate_chain="x", private_key="x"),
            "/apps/{app}/features/{feature}": body(enabled=True),
        }
        parts = {"type": "web", "dyno": "web.1", "release": "2", "other": "1", "email": NED,
                 "build": "0" * 36, "feature": "preboot", "drain": "d.1",
                 "domain": "demo.localhost", "cert": "x"}  # fmt: skip
        for door in DOORS:
            if "{app}" not in door.path:
                continue
            path = door.path.replace(":path", "").format(app="demo", **parts)
            sent = valid.get(door.path, b"{}") if door.method != "GET" else b""
            answer = await site.send(door.method, path, by=KATE, body=sent)
            assert (answer.status, answer.json["message"]) == (
                404, "Couldn't find that app."), (door.method, path, answer.body)  # fmt: skip
        assert await ok(site, "GET", "/apps/demo/releases") == before
        assert await ok(site, "GET", "/apps", by=KATE) == []

    play(tmp_path / "d", tell, NED, KATE)


def basic(user: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


def test_tokens_come_and_go(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        where = "/oauth/authorizations"
        wanted = body(description="Heroku CLI login from x", expires_in=2592000, scope=["global"])
        made = await ok(
            site, "POST", where, 201, by=None, headers=basic(NED, PASSWORD), body=wanted
        )
        schema.check("oauth-authorization", _without_nulls(made))
        assert (made["user"]["email"], made["access_token"]["expires_in"]) == (NED, 2592000)
        site.tokens["new"] = made["access_token"]["token"]
        account = await ok(site, "GET", "/account", by="new")
        schema.check("account", _without_nulls(account))
        assert (account["email"], account["verified"]) == (NED, True)

        listed = {each["id"]: each for each in await ok(site, "GET", where, by="new")}
        assert listed[made["id"]]["access_token"]["token"] == site.tokens["new"]
        shown = json.dumps([each for key, each in listed.items() if key != made["id"]])
        assert site.tokens[NED] not in shown
        assert "**********" in shown
        assert (await refused(site, "GET", where + "/~", 404))["resource"] == "authorization"
        assert (await refused(site, "DELETE", "/oauth/sessions/~", 404))["resource"] == "session"

        second = await ok(
            site, "POST", where, 201, body=body(scope=["read"], expires_in="3600", description="ci")
        )
        site.tokens["ci"] = second["access_token"]["token"]
        assert (second["scope"], second["description"]) == (["read"], "ci")
        await ok(site, "GET", "/apps", by="ci")
        await refused(site, "POST", "/apps", 403, by="ci")
        await refused(site, "GET", where, 403, by="ci")
        await ok(site, "DELETE", f"{where}/{made['id']}")
        await refused(site, "GET", "/account", 401, by="new")
        await refused(site, "DELETE", f"{where}/{made['id']}", 404)
        for headers in ({}, basic(NED, "wrong password"), basic("nobody@x.example", PASSWORD)):
            await refused(site, "POST", where, 401, by=None, headers=headers)
        for wrong in (
            {"scope": ["all"]},
            {"scope": "global"},
            {"expires_in": 0},
            {"expires_in": 1.5},
        ):
            await refused(site, "POST", where, 422, body=body(**wrong))
        # curl -n sends a token as the password of any user.
        await ok(site, "GET", "/account", by=None, headers=basic("", site.tokens[NED]))

    play(tmp_path / "d", tell)


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """Heroku leaves out objects that are not there; it means the same."""
    return {key: inner for key, inner in value.items() if inner is not None}


def test_people_come_by_invitation(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        invited = await ok(site, "POST", "/oriel/users", 201, body=body(email=KATE))
        assert (invited["email"], invited["oriel"]["active"]) == (KATE, False)
        chosen = body(token=invited["invitation"], password=PASSWORD)
        assert (await ok(site, "POST", "/oriel/invitations", 201, by=None, body=chosen))["email"]
        await refused(site, "POST", "/oriel/invitations", 422, by=None, body=chosen)
        login = await ok(
            site, "POST", "/oauth/authorizations", 201, by=None, headers=basic(KATE, PASSWORD)
        )
        site.tokens[KATE] = login["access_token"]["token"]
        assert {each["email"] for each in await ok(site, "GET", "/oriel/users")} == {NED, KATE}
        await refused(site, "POST", "/oriel/users", 403, by=KATE, body=body(email="x@y.example"))
        again = await ok(site, "POST", f"/oriel/users/{KATE}/actions/reset", 201)
        assert again["invitation"] != invited["invitation"]
        await ok(site, "DELETE", f"/oriel/users/{KATE}")
        await refused(site, "GET", "/account", 401, by=KATE)
        for path in ("/oriel/users", "/oriel/setup", "/oriel/invitations"):
            answer = await site.send("POST", path, body=b"{}")
            assert answer.status == 422, (path, answer.body)

    play(tmp_path / "d", tell)


def test_builds_and_what_they_said(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        made = await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        actor = await site.actor(NED)
        ids = [f"{digit}" * 8 + "-0000-4000-8000-" + digit * 12 for digit in "123"]
        for build_id in ids:
            await site.world.db.write(
                lambda conn, build_id=build_id: builds.start(
                    conn,
                    build_id=build_id,
                    app_id=made["id"],
                    commit="a" * 40,
                    by_id=actor.account_id,
                    by_email=NED,
                    now=site.world.clock.wall(),
                )
            )
        listed = await ok(site, "GET", "/apps/demo/builds")
        schema.check("build", [_without_nulls(each) for each in listed])
        assert [each["id"] for each in listed] == ids[::-1]
        part = await ok(site, "GET", "/apps/demo/builds", 206, headers={"range": "id ..; max=1"})
        assert [each["id"] for each in part] == ids[2:]
        one = await ok(site, "GET", f"/apps/demo/builds/{ids[0]}")
        assert (one["status"], one["source_blob"]["version"]) == ("pending", "a" * 40)
        output = one["output_stream_url"].removeprefix("http://127.0.0.1:5050")
        assert (await site.send("GET", output)).body == b""
        transcript = site.world.settings.data / "builds" / f"{ids[0]}.log"
        transcript.parent.mkdir(exist_ok=True)
        transcript.write_bytes(b"-----> Python app detected\n" * 10_000)
        assert (await site.send("GET", output)).body == transcript.read_bytes()
        await refused(site, "GET", output, 404, by=KATE)
        await refused(site, "GET", "/apps/demo/builds/" + "9" * 36, 404)

    play(tmp_path / "d", tell, NED, KATE)


def test_what_there_is_one_or_none_of(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        schema.check("region", await ok(site, "GET", "/regions"))
        schema.check("region", await ok(site, "GET", "/regions/us"))
        schema.check("stack", await ok(site, "GET", "/stacks"))
        schema.check("stack", await ok(site, "GET", "/stacks/oriel-1"))
        for path in ("/addons", "/apps/demo/addons", "/account/features",
                     "/apps/demo/sni-endpoints", "/account/keys", "/apps/demo/builds"):  # fmt: skip
            assert await ok(site, "GET", path) == [], path
        await refused(site, "GET", "/apps/demo/pipeline-couplings", 404)
        await refused(site, "GET", "/account/features/x", 404)
        await refused(site, "GET", "/stacks/heroku-24", 404)
        await refused(site, "GET", "/regions/eu", 404)

    play(tmp_path / "d", tell)


WRONG_BODIES = (b"nonsense", b"[]", b'"text"', b'{"a": 1, "a": 2}', b"\xff", b"[" * 5000)


def test_every_door_that_changes_something_refuses_what_is_no_object(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        parts = dict.fromkeys(
            ("type", "dyno", "release", "email", "id", "drain", "domain", "cert", "feature"), "x"
        )
        for door in DOORS:
            if door.method in ("GET", "DELETE"):
                continue
            path = door.path.format(app="demo", **parts)
            for wrong in WRONG_BODIES:
                await refused(site, door.method, path, 400, body=wrong)
            empty = await site.send(door.method, path, body=b"{}")
            assert empty.status < 500, (door, empty.body)
        too_much = b'{"a": "' + b"x" * 2_000_000 + b'"}'
        await refused(site, "PATCH", "/apps/demo/config-vars", 413, body=too_much)

    play(tmp_path / "d", tell)


def test_where_there_is_no_door(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        for path in ("/", "/nothing", "/apps/demo/nothing", "/apps/", "//apps", "/apps/a/b/c/d/e"):
            assert (await refused(site, "GET", path, 404))["id"] == "not_found"
        assert (await refused(site, "PUT", "/apps", 405))["hint"] == "Possible: GET, POST."
        assert (await site.send("PUT", "/apps")).headers["allow"] == "GET, POST"
        await refused(site, "GET", "/apps", 401, by=None)
        await refused(site, "GET", "/apps", 401, by=None, headers={"authorization": "Bearer x"})
        await refused(site, "GET", "/apps/a\0b", 400)
        await refused(site, "GET", "/apps", 421, host="evil.example")
        assert (await site.send("HEAD", "/account")).status == 200

    play(tmp_path / "d", tell)


def test_a_call_that_is_sent_again_is_done_once(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        await site.deploy("demo", "a")
        await site.deploy("demo", "b")
        same = {"request-id": "11111111-2222-3333-4444-555555555555,older-request-id"}

        async def back(**more: str) -> Answer:
            headers = {**same, **more}
            return await site.send("POST", "/apps/demo/releases", headers=headers, body=b"{}")

        answers = await asyncio.gather(*[back() for _ in range(6)])
        assert {answer.json["version"] for answer in answers} == {4}
        assert all(answer.status == 201 for answer in answers)
        other = await back(**{"request-id": "99999999-2222-3333-4444-555555555555"})
        assert (other.status, other.json.get("version")) in ((201, 5), (422, None))

    play(tmp_path / "d", tell)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.method} {door.path}")
def test_doors_are_open_only_where_nobody_can_have_a_token(door: Any) -> None:
    open_doors = {"/oriel/setup", "/oriel/invitations", "/oauth/authorizations"}
    assert door.open == (door.method == "POST" and door.path in open_doors)
