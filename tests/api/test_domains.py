"""Domains and certificates through the API, held against Heroku's schema."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Connection

from oriel.clock import SystemClock
from oriel.control import running
from oriel.ledger import certificates
from oriel.ledger import domains as ledger_domains
from oriel.lexicon import Address
from oriel.router import RouteTable
from oriel.store import outbox
from tests.certificates.making import certificate, key, key_text, pair, text

from . import schema
from .world import KATE, NED, Site, play

NOW = SystemClock().wall()


def body(**values: Any) -> bytes:
    return json.dumps(values).encode()


async def ok(site: Site, method: str, path: str, status: int = 200, **more: Any) -> Any:
    answer = await site.send(method, path, **more)
    assert answer.status == status, answer.body
    return answer.json


async def refused(site: Site, method: str, path: str, status: int, **more: Any) -> str:
    return str((await ok(site, method, path, status, **more))["message"])


async def said(site: Site) -> list[str]:
    def work(conn: Connection) -> list[str]:
        return [each.line.text for each in outbox.waiting(conn)]

    return await site.world.db.read(work)


async def table(site: Site) -> RouteTable:
    site.world.settings = replace(site.world.settings, web_tls=Address("127.0.0.1", 8443))
    site.world.own_certificate = lambda: "".join(reversed(pair(NOW, "localhost")))
    return await site.world.db.read(lambda conn: running.routes(conn, site.world))


async def add(site: Site, app: str, hostname: str, status: int = 201, **more: Any) -> Any:
    sent = body(hostname=hostname, sni_endpoint=more.pop("cert", None))
    return await ok(site, "POST", f"/apps/{app}/domains", status, body=sent, **more)


def test_a_domain_from_birth_to_death(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        own = (await ok(site, "GET", "/apps/demo/domains"))[0]
        assert (own["hostname"], own["kind"], own["cname"]) == ("demo.localhost", "heroku", None)
        made = await add(site, "demo", "Bücher.Example")
        both = [own, made]
        schema.check("domain", [{k: v for k, v in each.items() if k != "oriel"} for each in both])
        assert schema.missing("domain", made) == set()
        assert made["hostname"] == "xn--bcher-kva.example"
        assert made["oriel"]["name"] == "bücher.example"
        assert (made["kind"], made["cname"], made["status"]) == ("custom", "demo.localhost", "none")
        assert made["acm_status"] is None
        wild = await add(site, "demo", "*.example.com")
        listed = await ok(site, "GET", "/apps/demo/domains")
        assert [each["kind"] for each in listed] == ["custom", "heroku", "custom"]
        assert [each["hostname"] for each in listed] == sorted(each["hostname"] for each in listed)
        for name in ("xn--bcher-kva.example", "B%C3%BCcher.example", made["id"], "BÜCHER.example"):
            one = await ok(site, "GET", f"/apps/demo/domains/{quote(name, safe='%')}")
            assert one["id"] == made["id"]
        routed = await table(site)
        assert routed.apps[0].hosts == ("demo.localhost", "*.example.com", "xn--bcher-kva.example")
        await ok(site, "DELETE", "/apps/demo/domains/*.example.com")
        await refused(site, "DELETE", f"/apps/demo/domains/{wild['id']}", 404)
        assert "goes with the app" in await refused(
            site, "DELETE", "/apps/demo/domains/demo.localhost", 422
        )
        await add(site, "demo", "www.example.com")
        gone = await ok(site, "POST", "/oriel/apps/demo/domains/actions/clear")
        assert len(gone) == 2
        assert (await table(site)).apps[0].hosts == ("demo.localhost",)
        lines = await said(site)
        for line in (
            "Add domain xn--bcher-kva.example", "Add domain *.example.com",
            "Remove domain *.example.com", "Remove all domains (2)",
        ):  # fmt: skip
            assert f"{line} by {NED}" in lines

    play(tmp_path / "d", tell)


def test_a_name_leads_to_one_app_and_overlaps_are_for_one_owner(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        for app, by in (("neds", NED), ("more", NED), ("kates", KATE)):
            await ok(site, "POST", "/apps", 201, body=body(name=app), by=by)
        await add(site, "neds", "www.example.com")
        await add(site, "neds", "*.wild.com")
        for app, by in (("neds", NED), ("more", NED), ("kates", KATE)):
            await add(site, app, "WWW.example.com.", 409, by=by)
        # A wildcard and what is below it: only where both are one's own.
        for name in ("*.example.com", "*.com.example.com", "a.wild.com", "b.a.wild.com",
                     "*.a.wild.com", "wild.com"):  # fmt: skip
            await add(site, "kates", name, 409 if name != "*.com.example.com" else 201, by=KATE)
        await add(site, "more", "*.example.com", 409)  # below it is one of Kate's
        await ok(site, "DELETE", "/apps/kates/domains/*.com.example.com", by=KATE)
        await add(site, "more", "*.example.com")
        await add(site, "more", "shop.wild.com")
        await add(site, "kates", "deep.shop.wild.com", 409, by=KATE)
        await add(site, "kates", "xwww.example.org", by=KATE)
        # Whoever is no member has no app to look at.
        for method, path in (
            ("GET", "/apps/neds/domains"), ("DELETE", "/apps/neds/domains/www.example.com"),
            ("GET", "/apps/neds/sni-endpoints"), ("POST", "/apps/neds/acm"),
            ("DELETE", "/apps/neds/acm"), ("POST", "/oriel/apps/neds/domains/actions/clear"),
        ):  # fmt: skip
            await refused(site, method, path, 404, by=KATE)
        await refused(site, "DELETE", "/apps/kates/domains/www.example.com", 404, by=KATE)
        # A destroyed app's names are free at once; a renamed one keeps them.
        await ok(site, "PATCH", "/apps/neds", body=body(name="renamed"))
        hosts = {each.app: each.hosts for each in (await table(site)).apps}
        assert hosts["renamed"] == ("renamed.localhost", "*.wild.com", "www.example.com")
        await ok(site, "DELETE", "/apps/renamed")
        await ok(site, "DELETE", "/apps/more")
        await add(site, "kates", "www.example.com", by=KATE)

    play(tmp_path / "d", tell, NED, KATE)


@pytest.mark.parametrize("domain", [None, "apps.example.com"])
def test_the_platforms_names_cannot_be_captured(tmp_path: Path, domain: str | None) -> None:
    async def tell(site: Site) -> None:
        address = Address("api.example.net", 5050)
        site.world.settings = replace(site.world.settings, domain=domain, api=address)
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        below = domain or "localhost"
        names = [f"other.{below}", f"a.b.{below}", f"*.x.{below}", "api.example.net", "x.localhost"]
        if domain:
            names += [domain, f"*.{domain}", f"api.{domain}", f"oriel.{domain}"]
        for name in names:
            await add(site, "demo", name, 403)
        await add(site, "demo", "*.example.com")
        assert {below, f"*.{below}"} <= set((await table(site)).reserved)
        # Whatever was added before the platform's domain changed leads nowhere now.
        site.world.settings = replace(site.world.settings, domain="example.com")
        assert (await table(site)).apps[0].hosts == ("demo.example.com",)

    play(tmp_path / "d", tell)


def test_bad_names_and_too_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        for name in ("com", "a b.c", "1.2.3.4", "a.b\n", "xn--a.b", "*.*.b.c", "http://x.y"):
            assert await refused(
                site, "POST", "/apps/demo/domains", 422, body=body(hostname=name)
            ), name
        await refused(site, "POST", "/apps/demo/domains", 422, body=body())
        await add(site, "demo", "a.example.com", 404, cert="none")
        from oriel.control import domains

        monkeypatch.setattr(domains, "PER_APP_MAX", 2)
        await add(site, "demo", "a.example.com")
        await add(site, "demo", "b.example.com")
        await add(site, "demo", "c.example.com", 422)

    play(tmp_path / "d", tell)


def test_a_certificate_from_birth_to_death(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        chain, private = pair(NOW, "www.example.com", "*.shop.example.com")
        sent = body(certificate_chain=chain, private_key=private)
        where = "/apps/demo/sni-endpoints"
        made = await ok(site, "POST", where, 201, body=sent)
        schema.check("sni-endpoint", {k: v for k, v in made.items() if k != "oriel"})
        assert schema.missing("sni-endpoint", made) == set()
        assert made["ssl_cert"]["cert_domains"] == ["www.example.com", "*.shop.example.com"]
        assert made["ssl_cert"]["self_signed?"] is True
        assert (made["ssl_cert"]["ca_signed?"], made["ssl_cert"]["acm"]) == (False, False)
        assert made["domains"] == []
        assert "No domain of demo" in made["oriel"]["warnings"][0]
        # It serves what it is for, and only the app's own names.
        www = await add(site, "demo", "www.example.com")
        assert www["sni_endpoint"] == {"id": made["id"], "name": made["name"]}
        await add(site, "demo", "a.shop.example.com")
        await add(site, "demo", "other.example.com")
        shown = await table(site)
        assert [each.hosts for each in shown.certificates] == [
            ("a.shop.example.com", "www.example.com")
        ]
        assert shown.fallback is not None
        found = await ok(site, "GET", f"{where}/{made['name']}")
        assert (len(found["domains"]), found["oriel"]["warnings"]) == (2, [])
        # Another one is chosen for one domain, though it is not for it.
        second = await ok(site, "POST", where, 201, body=body(
            certificate_chain=pair(NOW, "x.y")[0], private_key=pair(NOW, "x.y")[1]))  # fmt: skip
        path = "/apps/demo/domains/www.example.com"
        changed = await ok(site, "PATCH", path, body=body(sni_endpoint=second["name"]))
        assert changed["sni_endpoint"]["name"] == second["name"]
        warned = (await ok(site, "GET", f"{where}/{second['id']}"))["oriel"]["warnings"]
        assert warned == ["It is not for www.example.com, which is served with it."]
        assert (await ok(site, "PATCH", path, body=body(sni_endpoint=None)))["sni_endpoint"][
            "name"
        ] == made["name"]
        await refused(site, "PATCH", path, 404, body=body(sni_endpoint="none"))
        await refused(site, "PATCH", path, 422, body=body())
        # Renewed in its place: same name, new content.
        later = pair(NOW, "www.example.com", ends=timedelta(days=200), number=1)
        sent = body(certificate_chain=later[0], private_key=later[1])
        renewed = await ok(site, "PATCH", f"{where}/{made['name']}", body=sent)
        assert (renewed["id"], renewed["name"]) == (made["id"], made["name"])
        assert renewed["ssl_cert"]["expires_at"] > made["ssl_cert"]["expires_at"]
        assert later[0] in (await table(site)).certificates[0].pem
        assert len(await ok(site, "GET", where)) == 2
        for each in (made, second):
            await ok(site, "DELETE", f"{where}/{each['name']}")
        assert (await ok(site, "GET", where), (await table(site)).certificates) == ([], ())
        await refused(site, "GET", f"{where}/{made['name']}", 404)
        lines = await said(site)
        assert (
            f"Add certificate {made['name']} for www.example.com, *.shop.example.com by {NED}"
            in (lines)
        )
        assert f"Remove certificate {made['name']} by {NED}" in lines

    play(tmp_path / "d", tell)


def test_what_cannot_serve_is_refused_and_no_key_comes_back(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        chain, private = pair(NOW, "www.example.com")
        where = "/apps/demo/sni-endpoints"
        for wrong, word in (
            ((chain, pair(NOW, "x.y", number=2)[1]), "does not belong"),
            ((chain, key_text(key(), b"secret")), "encrypted"),
            ((text(certificate(NOW, "x.y", ends=timedelta(hours=-1))), private), "expired"),
            (("", private), "no certificate"),
        ):
            sent = body(certificate_chain=wrong[0], private_key=wrong[1])
            assert word in await refused(site, "POST", where, 422, body=sent)
        await refused(site, "POST", where, 422, body=body(certificate_chain=chain))
        sent = body(certificate_chain=chain, private_key=private)
        answer = await site.send("POST", where, body=sent)
        secret = private.splitlines()[1]
        pages = [answer.body, (await site.send("GET", where)).body]
        assert all(secret.encode() not in page and b"PRIVATE" not in page for page in pages)
        kept = b"".join(each.read_bytes() for each in (tmp_path / "d").glob("oriel.db*"))
        assert secret.encode() not in kept
        assert secret not in repr(await table(site))

        # One that was tampered with is not shown, and holds up nothing else.
        def moved(conn: Connection) -> None:
            it = certificates.get(conn, answer.json["app"]["id"], answer.json["id"])
            certificates.change(
                conn, replace(it, key_sealed=it.key_sealed[:-1] + bytes([it.key_sealed[-1] ^ 1]))
            )

        await site.world.db.write(moved)
        await add(site, "demo", "www.example.com")
        routed = await table(site)
        assert routed.certificates == ()
        assert "www.example.com" in routed.apps[0].hosts

    play(tmp_path / "d", tell)


def test_one_app_cannot_show_its_certificate_for_anothers_host(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        for app, by in (("neds", NED), ("kates", KATE)):
            await ok(site, "POST", "/apps", 201, body=body(name=app), by=by)
        await add(site, "neds", "www.example.com")
        chain, private = pair(NOW, "www.example.com", "neds.localhost", "*.localhost")
        sent = body(certificate_chain=chain, private_key=private)
        await ok(site, "POST", "/apps/kates/sni-endpoints", 201, body=sent, by=KATE)
        shown = (await table(site)).certificates
        assert [each.hosts for each in shown] == [("kates.localhost",)]

    play(tmp_path / "d", tell, NED, KATE)


def test_automatic_certificates_need_tls_and_make_an_order_for_each_host(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        assert "does not serve apps with TLS" in await refused(site, "POST", "/apps/demo/acm", 422)
        await table(site)
        await add(site, "demo", "www.example.com")
        app = await ok(site, "POST", "/apps/demo/acm", body=body())
        assert app["acm"] is True
        await ok(site, "POST", "/apps/demo/acm", body=body())
        await add(site, "demo", "*.example.com")
        await add(site, "demo", "b.example.com")
        found = {each["hostname"]: each for each in await ok(site, "GET", "/apps/demo/domains")}
        assert found["www.example.com"]["acm_status"] == "pending"
        assert found["b.example.com"]["acm_status"] == "pending"
        assert found["*.example.com"]["acm_status"] == "failed"
        assert "wildcard" in found["*.example.com"]["acm_status_reason"]
        assert found["demo.localhost"]["acm_status"] is None
        assert (await table(site)).apps[0].challenges == {}
        await ok(site, "PATCH", "/apps/demo/acm", body=body(acm_refresh=True))
        await ok(site, "DELETE", "/apps/demo/domains/b.example.com")
        app = await ok(site, "DELETE", "/apps/demo/acm")
        assert app["acm"] is False
        assert (await table(site)).apps[0].challenges is None
        await ok(site, "DELETE", "/apps/demo/acm")
        assert "are off" in await refused(site, "PATCH", "/apps/demo/acm", 422, body=body())
        lines = await said(site)
        for word in ("Enable", "Disable", "Refresh"):
            assert lines.count(f"{word} automatic certificates by {NED}") == 1
        await ok(site, "POST", "/apps/demo/acm", body=body())
        await ok(site, "DELETE", "/apps/demo")

        def left(conn: Connection) -> int:
            return len(ledger_domains.all(conn)) + len(certificates.all(conn))

        assert await site.world.db.read(left) == 0

    play(tmp_path / "d", tell)


def test_http_is_sent_to_https_by_feature(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        where = "/apps/demo/features/https-redirect"
        await ok(site, "PATCH", where, body=body(enabled=True))
        plain = await site.world.db.read(lambda conn: running.routes(conn, site.world))
        assert plain.apps[0].https is False  # There is no TLS to be sent to.
        assert (await table(site)).apps[0].https is True
        await ok(site, "PATCH", where, body=body(enabled=False))
        assert (await table(site)).apps[0].https is False

    play(tmp_path / "d", tell)
