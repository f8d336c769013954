"""Who waits for a release the official way is told when it has failed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_app import body, ok, play
from tests.api.world import Site

NEWEST = {"range": "version ..; max=1, order=desc"}
RELEASES, DYNOS = "/apps/demo/releases", "/apps/demo/dynos"


@pytest.mark.parametrize("why", ["web.1 crashed", ""])
def test_one_that_waits_for_a_release_that_fails_is_told(tmp_path: Path, why: str) -> None:
    comes_out = asyncio.Event()

    async def preboot(wish: Any, *, by: Any) -> str:
        await comes_out.wait()
        return why

    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        await site.deploy("demo", "a", web="run")
        await ok(site, "PATCH", "/apps/demo/features/preboot", body=body(enabled=True))
        site.conductor.preboot = preboot  # type: ignore[method-assign]
        before = await site.send("GET", RELEASES, headers=NEWEST)
        assert "awaits" not in before.headers["request-id"], "it has succeeded"
        change = asyncio.create_task(site.send("PATCH", "/apps/demo/config-vars", body=body(A="1")))
        while (first := await site.send("GET", RELEASES, headers=NEWEST)).json[0]["version"] != 3:
            await asyncio.sleep(0)
        assert first.json[0]["status"] == "pending"
        waits = {"request-id": f"a-newer-one,{first.headers['request-id']}, an-older-one"}
        await ok(site, "GET", DYNOS, headers=waits)
        comes_out.set()
        await change
        if not why:
            await ok(site, "GET", DYNOS, headers=waits)
            return
        told = await site.send("GET", DYNOS, headers=waits)
        assert told.status == 409
        assert told.json["message"].startswith(
            "Release v3 of demo failed: preboot failed: web.1 crashed."
        )
        # Whoever only looks sees what runs, also one who has listed more than the newest.
        await ok(site, "GET", DYNOS)
        more = await site.send("GET", RELEASES, headers={"range": "version ..; max=9, order=desc"})
        await ok(site, "GET", DYNOS, headers={"request-id": more.headers["request-id"]})

    play(tmp_path, tell)
