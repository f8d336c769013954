from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal


def domain(hostname: str, **more: Any) -> dict[str, Any]:
    return {
        "acm_status": None,
        "acm_status_reason": None,
        "cname": "foobaz.apps.example.com",
        "hostname": hostname,
        "id": "i",
        "kind": "custom",
        "sni_endpoint": None,
        "updated_at": "2011-06-19T08:25:25Z",
        "oriel": {"name": hostname, "next_try": None},
        **more,
    }


OWN = domain("foobaz.apps.example.com", kind="heroku", cname=None)
BUECHER = domain("xn--bcher-kva.example", oriel={"name": "bücher.example", "next_try": None})


def test_the_list_says_which_record_to_make(oriel: Oriel, stub: Stub) -> None:
    held = domain("www.example.com", sni_endpoint={"id": "c", "name": "strong-fire-938"})
    stub.on("GET", "/apps/foobaz/domains", [OWN, BUECHER, held])
    ended = oriel("domains", "-a", "foobaz")
    lines = ended.out.splitlines()
    assert lines[:2] == ["=== foobaz Domain", "foobaz.apps.example.com"]
    assert lines[3] == "=== foobaz Custom Domains"
    assert lines[6].split() == [
        "bücher.example", "(xn--bcher-kva.example)", "ALIAS", "or", "ANAME",
        "foobaz.apps.example.com", "none"]  # fmt: skip
    assert lines[7].split() == [
        "www.example.com", "CNAME", "foobaz.apps.example.com", "strong-fire-938"]  # fmt: skip
    assert len(json.loads(oriel("domains", "--json", "-a", "foobaz").out)) == 3


def test_add_says_what_is_left_to_do(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/apps/foobaz/domains", BUECHER)
    ended = oriel("domains:add", "bücher.example", "-a", "foobaz")
    assert ended.out == "Adding bücher.example to foobaz... done, xn--bcher-kva.example\n"
    assert "ALIAS or ANAME record" in ended.err
    assert "leads to foobaz.apps.example.com" in ended.err
    stub.on("POST", "/apps/foobaz/domains", refusal(409, "conflict", "It is taken."))
    ended = oriel("domains:add", "www.example.com", "-a", "foobaz")
    assert ended.code != 0
    assert "It is taken." in ended.err
    assert "failed" in ended.out


def test_remove_clear_update_and_info(oriel: Oriel, stub: Stub) -> None:
    where = "/apps/foobaz/domains/www.example.com"
    failing = domain(
        "www.example.com", acm_status="failing", acm_status_reason="no\x1b[31m DNS",
        oriel={"name": "www.example.com", "next_try": "2011-06-19T08:30:00.000000Z"},
    )  # fmt: skip
    stub.on("DELETE", where, failing)
    stub.on("PATCH", where, failing)
    stub.on("GET", where, failing)
    stub.on("POST", "/oriel/apps/foobaz/domains/actions/clear", [failing, failing])
    assert oriel("domains:remove", "www.example.com", "-a", "foobaz").out == (
        "Removing www.example.com from foobaz... done\n"
    )
    assert oriel("domains:clear", "-a", "foobaz").out == (
        "Removing all domains from foobaz... done, 2 removed\n"
    )
    updated = oriel("domains:update", "www.example.com", "--cert", "x", "-a", "foobaz")
    assert updated.out.startswith("Updating www.example.com to use x... done")
    shown = oriel("domains:info", "www.example.com", "-a", "foobaz").out
    assert "\x1b" not in shown
    for line in ("DNS:         CNAME foobaz.apps.example.com", "Automatic:   failing", "Next try:"):
        assert line in shown


def test_wait_ends_when_all_is_well_or_will_not_be(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oriel.cli.commands import domains

    monkeypatch.setattr(domains, "WAIT_PAUSE_S", 0.0)
    stub.on("GET", "/apps/foobaz/domains", [OWN, domain("a.b", acm_status="cert issued")])
    assert oriel("domains:wait", "-a", "foobaz").out == "All domains are ready.\n"
    failed = domain("a.b", acm_status="failed", acm_status_reason="no DNS")
    stub.on("GET", "/apps/foobaz/domains", [OWN, failed])
    ended = oriel("domains:wait", "A.B", "-a", "foobaz")
    assert ended.code != 0
    assert "No certificate for a.b: no DNS" in ended.err
    ended = oriel("domains:wait", "c.d", "-a", "foobaz")
    assert "Couldn't find that domain." in ended.err
