"""An app's idling through the API: set, shown, unset, and refused from each wrong side."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from oriel.store import outbox
from tests.api.test_app import body, ok, play, refused
from tests.api.world import KATE, NED, Site

IDLING = "/oriel/apps/demo/idling"
NEVER = {"app": "demo", "after_s": None, "asleep": False}
SHAPE = {"app": str, "after_s": int | None, "asleep": bool}


def check(answer: Any) -> None:
    """The form that docs/api.md gives."""
    assert set(answer) == set(SHAPE)
    for key, kind in SHAPE.items():
        assert isinstance(answer[key], kind), key


async def ready(site: Site, *, lua: bool = True) -> list[str]:
    """An app, a router that can wake or not; gives whom the conductor was told to wake."""
    woken: list[str] = []

    async def unidle(app_id: str) -> None:
        woken.append(app_id)

    site.world.router = cast(Any, SimpleNamespace(can_wake=lua))
    cast(Any, site.conductor).unidle = unidle
    await ok(site, "POST", "/apps", 201, body=body(name="demo"))
    return woken


async def said(site: Site) -> list[str]:
    def work(conn: Connection) -> list[str]:
        return [each.line.text for each in outbox.waiting(conn) if "idling" in each.line.text]

    return await site.world.db.read(work)


def test_it_is_set_shown_and_unset(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        woken = await ready(site)
        looked: list[str] = []
        site.world.idling_changed = lambda: looked.append("x")
        assert await ok(site, "GET", IDLING) == NEVER
        made = await ok(site, "PUT", IDLING, body=body(after_s=1800))
        check(made)
        assert made == {**NEVER, "after_s": 1800}
        assert await ok(site, "PUT", IDLING, body=body(after_s="1800")) == made
        assert await ok(site, "GET", IDLING) == made
        await site.deploy("demo", "a")
        site.conductor.states["web.1"] = ("idle", "")
        asleep = await ok(site, "GET", IDLING)
        check(asleep)
        assert asleep["asleep"] is True
        site.conductor.states.clear()
        # Asked for twice, done and told once; and woken in any case.
        for _ in range(2):
            assert await ok(site, "DELETE", IDLING) == NEVER
        assert len(woken) == 2
        assert await ok(site, "GET", IDLING) == NEVER
        assert await said(site) == [f"Set idling after 1800 s by {NED}", f"Unset idling by {NED}"]
        assert looked

    play(tmp_path / "d", tell)


@pytest.mark.parametrize(
    ("sent", "status", "sentence"),
    [
        (b"{}", 422, "after_s"),
        (body(after_s=None), 422, "after_s"),
        (body(after_s=59), 422, "use 1 minute to 30 days"),
        (body(after_s=0), 422, "use 1 minute to 30 days"),
        (body(after_s=30 * 86400 + 1), 422, "use 1 minute to 30 days"),
        (body(after_s=-60), 422, "whole number"),
        (body(after_s=60.5), 422, "whole number"),
        (body(after_s=True), 422, "whole number"),
        (body(after_s="30m"), 422, "whole number"),
        (body(after_s="٦٠"), 422, "whole number"),
        (body(after_s=[1800]), 422, "whole number"),
        (body(after_s=10**30), 422, "whole number"),
        (b"[]", 400, "object"),
        (b"nonsense", 400, ""),
        (b'{"after_s": 60, "after_s": 90}', 400, "twice"),
    ],
)
def test_what_is_no_duration_is_refused_and_changes_nothing(
    tmp_path: Path, sent: bytes, status: int, sentence: str
) -> None:
    async def tell(site: Site) -> None:
        await ready(site)
        await ok(site, "PUT", IDLING, body=body(after_s=60))
        refusal = await refused(site, "PUT", IDLING, status, body=sent)
        assert sentence in refusal["message"]
        assert (await ok(site, "GET", IDLING))["after_s"] == 60
        assert len(await said(site)) == 1

    play(tmp_path / "d", tell)


def test_the_longest_and_the_shortest_are_taken(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ready(site)
        for after_s in (60, 30 * 86400):
            assert (await ok(site, "PUT", IDLING, body=body(after_s=after_s)))["after_s"] == after_s

    play(tmp_path / "d", tell)


def test_only_members_may_and_a_token_for_reading_may_look(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        woken = await ready(site)
        wanted = body(after_s=1800)
        calls = (("GET", b""), ("PUT", wanted), ("DELETE", b""))
        for method, sent in calls:
            await refused(site, method, IDLING, 401, by=None, body=sent)
            stranger = await refused(site, method, IDLING, 404, by=KATE, body=sent)
            nothing = await refused(site, method, "/oriel/apps/nowhere/idling", 404, body=sent)
            assert stranger["message"] == nothing["message"]
        made = await ok(site, "POST", "/oauth/authorizations", 201, body=body(scope=["read"]))
        site.tokens["viewer"] = made["access_token"]["token"]
        assert await ok(site, "GET", IDLING, by="viewer") == NEVER
        for method, sent in calls[1:]:
            await refused(site, method, IDLING, 403, by="viewer", body=sent)
        await refused(site, "POST", IDLING, 405, body=wanted)
        assert (woken, await said(site)) == ([], [])
        # A collaborator is a member as its owner is.
        await ok(site, "POST", "/apps/demo/collaborators", 201, body=body(user=KATE))
        assert (await ok(site, "PUT", IDLING, by=KATE, body=wanted))["after_s"] == 1800
        assert await said(site) == [f"Set idling after 1800 s by {KATE}"]

    play(tmp_path / "d", tell, NED, KATE)


def test_where_nothing_could_wake_an_app_none_goes_idle(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ready(site, lua=False)
        refusal = await refused(site, "PUT", IDLING, 503, body=body(after_s=1800))
        assert "without Lua" in refusal["message"]
        assert await ok(site, "GET", IDLING) == NEVER
        assert await ok(site, "DELETE", IDLING) == NEVER

    play(tmp_path / "d", tell)
