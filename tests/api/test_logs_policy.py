"""An app's log settings, through the API."""

from __future__ import annotations

from pathlib import Path

from tests.api.test_app import body, ok, play, refused
from tests.api.world import Site

PATH = "/oriel/apps/demo/log-policy"


def test_log_settings_are_read_changed_and_told(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        found = await ok(site, "GET", PATH, 200)
        assert (found["max_bytes"], found["flood"], found["bytes"]) == (1 << 30, "drop", 300)
        made = await ok(site, "PATCH", PATH, 200, body=body(flood="block", max_age_s=3600))
        assert (made["flood"], made["max_age_s"]) == ("block", 3600)
        await refused(site, "PATCH", PATH, 422, body=body())
        await refused(site, "PATCH", PATH, 422, body=body(max_bytes="much"))
        await refused(site, "GET", "/oriel/apps/other/log-policy", 404)
        checked = await ok(site, "POST", "/oriel/apps/demo/log-checks", 200)
        assert checked["damage"][0]["bytes"] == 7

    play(tmp_path / "d", tell)
