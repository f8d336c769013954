"""An app's features and its check, through the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api import schema
from tests.api.test_app import body, ok, play, refused
from tests.api.world import Site

FEATURES = "/apps/demo/features"
CHECK = "/oriel/apps/demo/check"


def test_features_are_listed_switched_and_told(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        listed = await ok(site, "GET", FEATURES)
        assert {each["name"]: each["enabled"] for each in listed} == {
            "preboot": False,
            "daily-cycling": False,
            "https-redirect": False,
        }
        for each in listed:
            schema.check("app-feature", each)
            assert each["state"] == "general", "the official command line lists no others"
        made = await ok(site, "PATCH", f"{FEATURES}/preboot", 200, body=body(enabled=True))
        schema.check("app-feature", made)
        assert made["enabled"] is True
        by_id = await ok(site, "GET", f"{FEATURES}/{made['id']}")
        assert by_id == made
        await ok(site, "PATCH", f"{FEATURES}/preboot", 200, body=body(enabled=False))
        assert (await ok(site, "GET", f"{FEATURES}/preboot"))["enabled"] is False
        await refused(site, "GET", f"{FEATURES}/http-end-to-end", 404)
        await refused(site, "PATCH", f"{FEATURES}/preboot", 422, body=body())
        await refused(site, "GET", "/apps/other/features", 404)

    play(tmp_path / "d", tell)


def test_a_check_is_set_shown_and_unset(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        default = {"app": "demo", "path": None, "boot_timeout_s": 60, "is_default": True}
        assert await ok(site, "GET", CHECK) == default
        await ok(site, "PATCH", CHECK, 200, body=body(path="/health?deep=1"))
        made = await ok(site, "PATCH", CHECK, 200, body=body(boot_timeout_s=90))
        assert (made["path"], made["boot_timeout_s"]) == ("/health?deep=1", 90)
        await site.deploy("demo", "a", web="run")
        wish = next(iter(site.conductor.wishes.values()))
        assert (wish.check.path, wish.check.boot_timeout_s) == ("/health?deep=1", 90)
        assert wish.check.host == "demo.localhost"
        assert await ok(site, "DELETE", CHECK) == default
        assert await ok(site, "GET", CHECK) == default

    play(tmp_path / "d", tell)


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"path": "health"},
        {"path": ""},
        {"path": "/a b"},
        {"path": "/a\r\nHost: evil"},
        {"path": "/" + "x" * 2000},
        {"path": "/\u00e9"},
        {"boot_timeout_s": 0},
        {"boot_timeout_s": 601},
        {"boot_timeout_s": "long"},
    ],
)
def test_what_can_be_no_check(tmp_path: Path, wish: dict[str, object]) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        await refused(site, "PATCH", CHECK, 422, body=body(**wish))

    play(tmp_path / "d", tell)
