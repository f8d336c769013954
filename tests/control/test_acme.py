"""Automatic certificates with a real authority (pebble), a real HAProxy that answers for the hosts,
and a real ledger; and the same steps cut off everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from oriel.certificates import Issuer, machine
from oriel.certificates.machine import Refused
from oriel.control import acme, apps, certs, certs_auto, domains, running
from oriel.control.acme import Certifier
from oriel.ledger import orders
from oriel.ledger.certificates import Certificate
from oriel.ledger.orders import OrderRow
from oriel.lexicon import Actor, Address
from oriel.router import tls
from oriel.store import outbox
from tests.api.world import NED, Site, play
from tests.certificates.making import pair
from tests.certificates.real_pebble import Pebble, pebble
from tests.router.conftest import House, house  # noqa: F401 - a fixture
from tests.router.test_tls import Secure

pytestmark = pytest.mark.real


class Stage:
    """A site whose hosts are answered for by HAProxy."""

    def __init__(self, site: Site, secure: Secure, authority: Pebble) -> None:
        self.site, self.secure, self.authority = site, secure, authority
        self.world = site.world

    async def orders(self) -> dict[str, OrderRow]:
        """By host."""

        def work(conn: Connection) -> dict[str, OrderRow]:
            from oriel.ledger import domains as rows

            names = {each.id: each.hostname for each in rows.all(conn)}
            return {names[each.domain_id]: each for each in orders.all(conn)}

        return await self.world.db.read(work)

    async def states(self) -> dict[str, str]:
        return {host: each.state for host, each in (await self.orders()).items()}

    async def until(self, certifier: Certifier, **wanted: str) -> dict[str, OrderRow]:
        """Turns until the hosts (with _ for .) are in these states."""
        hosts = {host.replace("_", "."): state for host, state in wanted.items()}
        for _ in range(200):
            await certifier.turn(self.world)
            found = await self.orders()
            if all(found[host].state == state for host, state in hosts.items()):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"never {hosts}: {found}")

    async def sooner(self, host: str) -> None:
        """As if its time had come."""
        row = (await self.orders())[host]
        early = replace(row, next_at=self.world.clock.wall())
        await self.world.db.write(lambda conn: orders.put(conn, early))

    async def said(self) -> list[str]:
        def work(conn: Connection) -> list[str]:
            return [each.line.text for each in outbox.waiting(conn)]

        return await self.world.db.read(work)

    async def shown(self, host: str) -> str:
        return await asyncio.to_thread(self.secure.shown, host)


@contextlib.asynccontextmanager
async def stage(site: Site, house: House, authority: Pebble) -> AsyncIterator[Stage]:
    secure = Secure(house)
    world = site.world
    world.settings = replace(
        world.settings,
        web_tls=Address("127.0.0.1", secure.port),
        acme_directory=authority.directory,
        acme_ca=str(authority.ca),
    )
    own = "".join(reversed(pair(world.clock.wall(), "localhost")))
    world.own_certificate = lambda: own
    first = await world.db.read(lambda conn: running.routes(conn, world))
    async with secure.running(first) as router:
        world.router = router
        rerouter = running.Rerouter(router)
        world.reroute, world.routed = rerouter.ask, rerouter.settled
        rerouter.start(world)
        try:
            yield Stage(site, secure, authority)
        finally:
            await rerouter.close()


def tell(
    tmp_path: Path, house: House, story: Callable[[Stage, Actor], Awaitable[None]], **environ: str
) -> None:
    with pebble(tmp_path / "pebble", house.port, **environ) as authority:

        async def whole(site: Site) -> None:
            actor = await site.actor(NED)
            async with stage(site, house, authority) as it:
                await apps.create_app(it.world, actor, "demo")
                await story(it, actor)

        play(tmp_path / "d", whole)


def test_certificates_come_are_renewed_and_go(tmp_path: Path, house: House) -> None:
    async def story(it: Stage, ned: Actor) -> None:
        world, certifier = it.world, Certifier()
        await domains.add_domain(world, ned, "demo", "www.example.com")
        await certs_auto.enable(world, ned, "demo")
        await domains.add_domain(world, ned, "demo", "bücher.example")
        found = await it.until(certifier, www_example_com="issued")
        found = await it.until(certifier, **{"xn--bcher-kva_example": "issued"})
        await world.routed()
        row = found["www.example.com"]
        assert (row.token, row.answer, row.key_sealed, row.failures) == ("", "", b"", 0)
        cards = {each.hostname: each for each in await domains.list_domains(world, ned, "demo")}
        held = cards["www.example.com"].certificate
        assert held is not None
        assert (held.automatic, held.names) == (True, ("www.example.com",))
        assert cards["www.example.com"].status == "cert issued"
        assert await it.shown("www.example.com") == tls.print_of(held.chain)
        assert row.next_at - held.starts_at < (held.ends_at - held.starts_at) * 0.67
        # Nothing is left of the challenge.
        at = "/.well-known/acme-challenge/x"
        assert (await asyncio.to_thread(house.get, "www.example.com", at)).status == 404
        table = await world.db.read(lambda conn: running.routes(conn, world))
        assert table.apps[0].challenges == {}
        # Two thirds of its life later.
        await it.sooner("www.example.com")
        await certifier.turn(world)
        assert await it.shown("www.example.com") == tls.print_of(held.chain)
        await it.until(certifier, www_example_com="issued")
        await world.routed()
        again = (await certs.certificate(world, ned, "demo", held.name)).certificate
        assert again.chain != held.chain
        assert await it.shown("www.example.com") == tls.print_of(again.chain)
        assert world.router.status().reloads == 0
        until = f"{held.ends_at:%Y-%m-%d}"
        assert f"Certificate for www.example.com issued until {until} by oriel@localhost" in (
            await it.said()
        )
        with pytest.raises(Exception, match="kept by itself"):
            await certs.remove_certificate(world, ned, "demo", held.name)
        await domains.remove_domain(world, ned, "demo", "bücher.example")
        assert len(await certs.list_certificates(world, ned, "demo")) == 1
        await certs_auto.disable(world, ned, "demo")
        await world.routed()
        assert await certs.list_certificates(world, ned, "demo") == []
        assert await it.shown("www.example.com") != tls.print_of(again.chain)
        kept = b"".join(each.read_bytes() for each in (tmp_path / "d").glob("oriel.db*"))
        assert b"PRIVATE KEY" not in kept

    tell(tmp_path, house, story)


def test_a_host_that_does_not_lead_here_fails_alone_and_says_why(
    tmp_path: Path, house: House
) -> None:
    async def story(it: Stage, ned: Actor) -> None:
        world, certifier = it.world, Certifier()
        it.authority.fail("bad.example.com")
        await certs_auto.enable(world, ned, "demo")
        for host in ("bad.example.com", "good.example.com", "*.example.com"):
            await domains.add_domain(world, ned, "demo", host)
        found = await it.until(certifier, bad_example_com="failed", good_example_com="issued")
        row = found["bad.example.com"]
        assert "bad.example.com" in row.reason
        assert (row.failures, row.token, row.key_sealed) == (1, "", b"")
        wait = row.next_at - world.clock.wall()
        assert timedelta(minutes=4) < wait < timedelta(minutes=7)
        (line,) = [each for each in await it.said() if each.startswith("No certificate for")]
        assert line.startswith("No certificate for bad.example.com: ")
        assert " It is tried again at 20" in line
        cards = {each.hostname: each for each in await domains.list_domains(world, ned, "demo")}
        assert cards["bad.example.com"].status == "failing"
        assert cards["bad.example.com"].reason == row.reason
        assert cards["*.example.com"].status == "failed"
        # Nothing is asked again before its time, unless somebody says so.
        before = it.authority.said.read_text().count("POST /order-plz")
        wait_s = await certifier.turn(world)
        assert 240 < wait_s < 420
        assert it.authority.said.read_text().count("POST /order-plz") == before
        it.authority.heal("bad.example.com")
        await certs_auto.refresh(world, ned, "demo")
        found = await it.until(certifier, bad_example_com="issued")
        assert found["bad.example.com"].reason == ""

    tell(tmp_path, house, story)


@pytest.mark.parametrize("call", range(1, 4))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_step_costs_that_step_alone(
    tmp_path: Path, house: House, call: int, moment: str
) -> None:
    """A step is cut off when the authority was not asked yet, and when its answer was not kept."""

    class Killed(BaseException):
        pass

    class Cut(Issuer):
        left = call

        async def _step(self, work: Any) -> Any:
            Cut.left -= 1
            if Cut.left == 0 and moment == "before":
                raise Killed
            said = await super()._step(work)
            if Cut.left == 0:
                raise Killed
            return said

    async def story(it: Stage, ned: Actor) -> None:
        await certs_auto.enable(it.world, ned, "demo")
        await domains.add_domain(it.world, ned, "demo", "www.example.com")
        certifier = Certifier(Cut)
        with pytest.raises(Killed):
            await it.until(certifier, www_example_com="issued")
        await it.until(Certifier(), www_example_com="issued")
        found = await certs.list_certificates(it.world, ned, "demo")
        assert len(found) == 1
        assert not [each for each in await it.said() if each.startswith("No certificate")]

    tell(tmp_path, house, story, PEBBLE_WFE_NONCEREJECT="0")


def test_an_authority_that_has_had_enough_is_left_alone(tmp_path: Path, house: House) -> None:
    class Full(Issuer):
        asked = 0

        async def begin(self, host: str, key: str) -> Any:
            Full.asked += 1
            return Refused("too many certificates", timedelta(hours=2), limited=True)

    async def story(it: Stage, ned: Actor) -> None:
        world = it.world
        await domains.add_domain(world, ned, "demo", "www.example.com")
        await certs_auto.enable(world, ned, "demo")
        certifier = Certifier(Full)
        await it.until(certifier, www_example_com="failed")
        # Another host is not begun either.
        await domains.add_domain(world, ned, "demo", "b.example.com")
        await certifier.turn(world)
        assert (await it.states())["b.example.com"] == "due"
        assert Full.asked == 1
        # Nor are more than the authority takes within three hours.
        account = await world.db.read(
            lambda conn: orders.account(conn, world.vault, world.settings.acme_directory)
        )
        assert account is not None
        assert "PRIVATE" not in repr(account)
        assert machine.WAITS[0] < account.paused_until - world.clock.wall() < timedelta(hours=3)  # type: ignore[operator]

    tell(tmp_path, house, story)


def test_it_goes_on_by_itself_and_stops_when_told(tmp_path: Path, house: House) -> None:
    async def story(it: Stage, ned: Actor) -> None:
        world, certifier = it.world, Certifier()
        world.order_certificates = certifier.ask
        certifier.start(world)
        await certs_auto.enable(world, ned, "demo")
        hosts = [f"h{n}.example.com" for n in range(6)]
        for host in hosts:
            await domains.add_domain(world, ned, "demo", host)
        for _ in range(400):
            if set((await it.states()).values()) == {"issued"}:
                break
            await asyncio.sleep(0.05)
        assert await it.states() == dict.fromkeys(hosts, "issued")
        held: list[Certificate] = [
            each.certificate for each in await certs.list_certificates(world, ned, "demo")
        ]
        assert len(held) == 6
        await certifier.close()
        # An app that is destroyed while an order is under way leaves nothing behind.
        await domains.add_domain(world, ned, "demo", "late.example.com")
        with contextlib.suppress(Exception):
            await apps.destroy_app(world, ned, "demo")
        assert await certifier.turn(world) == acme.IDLE_S

    tell(tmp_path, house, story)
