from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub

from .test_domains import OWN, domain


def cert(name: str = "strong-fire-938", **more: Any) -> dict[str, Any]:
    return {
        "domains": ["d"],
        "id": "c",
        "name": name,
        "updated_at": "2011-06-19T08:25:25Z",
        "ssl_cert": {
            "acm": False,
            "ca_signed?": False,
            "cert_domains": ["www.example.com", "*.example.org"],
            "expires_at": "2027-01-01T00:00:00Z",
            "issuer": "/CN=x",
            "self_signed?": True,
            "starts_at": "2026-01-01T00:00:00Z",
            "subject": "/CN=x",
            **more,
        },
        "oriel": {"hostnames": ["www.example.com"], "warnings": ["It ends on 2027-01-01."]},
    }


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "c.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "c.key").write_text("-----BEGIN PRIVATE KEY-----\n")
    return str(tmp_path / "c.crt"), str(tmp_path / "c.key")


def test_list_and_info(oriel: Oriel, stub: Stub) -> None:
    where = "/apps/foobaz/sni-endpoints"
    stub.on("GET", where, [cert()])
    listed = oriel("certs", "-a", "foobaz")
    assert "Warning: strong-fire-938: It ends on 2027-01-01." in listed.err
    row = listed.out.splitlines()[2]
    assert row.split() == [
        "strong-fire-938", "www.example.com,", "*.example.org", "2027-01-01T00:00:00Z", "no", "own",
        "1"]  # fmt: skip
    shown = oriel("certs:info", "-a", "foobaz")
    for line in ("=== strong-fire-938", "Serves:      www.example.com", "self-signed", "by you"):
        assert line in shown.out
    assert "Warning: It ends on 2027-01-01." in shown.err
    assert json.loads(oriel("certs:info", "--json", "-a", "foobaz").out)["name"] == (
        "strong-fire-938"
    )
    stub.on("GET", where, [])
    assert "oriel certs:add CRT KEY" in oriel("certs", "-a", "foobaz").out
    assert oriel("certs:info", "-a", "foobaz").code == 4
    stub.on("GET", where, [cert(), cert("other")])
    ended = oriel("certs:remove", "-a", "foobaz")
    assert "foobaz has 2 certificates." in ended.err


def test_add_update_and_remove(oriel: Oriel, stub: Stub, files: tuple[str, str]) -> None:
    where = "/apps/foobaz/sni-endpoints"
    stub.on("POST", where, cert())
    stub.on("GET", where, [cert(), cert("by-itself", acm=True)])
    stub.on("PATCH", f"{where}/strong-fire-938", cert())
    added = oriel("certs:add", *files, "-a", "foobaz")
    assert added.out.startswith("Adding certificate to foobaz... done, strong-fire-938\n")
    updated = oriel("certs:update", *files, "-a", "foobaz")
    assert updated.out.startswith("Updating certificate strong-fire-938 of foobaz... done")
    stub.on("GET", f"{where}/strong-fire-938", cert())
    stub.on("DELETE", f"{where}/strong-fire-938", cert())
    removed = oriel("certs:remove", "--name", "strong-fire-938", "-a", "foobaz")
    assert removed.out == "Removing certificate strong-fire-938 from foobaz... done\n"


def test_files_that_are_none(oriel: Oriel, files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "der").write_bytes(b"\x30\x82\xff")
    (tmp_path / "big").write_bytes(b"x" * 200_000)
    for wrong, word in (
        ("der", "is no PEM file"),
        ("big", "too large"),
        ("none", "cannot be read"),
    ):
        ended = oriel("certs:add", str(tmp_path / wrong), files[1], "-a", "foobaz")
        assert ended.code != 0
        assert word in ended.err


def test_automatic_ones(oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    from oriel.cli.commands import certs

    monkeypatch.setattr(certs, "WAIT_PAUSE_S", 0.0)
    stub.on("GET", "/apps/foobaz", {"acm": False})
    stub.on("GET", "/apps/foobaz/domains", [OWN, domain("a.b", acm_status="cert issued")])
    assert oriel("certs:auto", "-a", "foobaz").out == (
        "=== Automatic certificates are disabled on foobaz\n"
    )
    stub.on("GET", "/apps/foobaz", {"acm": True})
    shown = oriel("certs:auto:info", "-a", "foobaz").out.splitlines()
    assert shown[3].split()[:3] == ["a.b", "cert", "issued"]
    for method in ("POST", "DELETE", "PATCH"):
        stub.on(method, "/apps/foobaz/acm", {"acm": True})
    enabled = oriel("certs:auto:enable", "--wait", "-a", "foobaz").out
    assert enabled.endswith("done\nEvery domain has its certificate.\n")
    assert oriel("certs:auto:disable", "-a", "foobaz").out.endswith("done\n")
    assert oriel("certs:auto:refresh", "-a", "foobaz").out.endswith("done\n")
    failed = domain("a.b", acm_status="failed", acm_status_reason="no DNS")
    stub.on("GET", "/apps/foobaz/domains", [OWN, failed])
    ended = oriel("certs:auto", "--wait", "-a", "foobaz")
    assert "No certificate for a.b: no DNS" in ended.err
