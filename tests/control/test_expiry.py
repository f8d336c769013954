"""Certificates of people's own that near their end: told of once a day, shown where one looks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from oriel.clock import SystemClock
from oriel.control import apps, certs, domains, expiry
from oriel.lexicon import Address
from oriel.store import outbox
from tests.api.world import NED, Site, play
from tests.certificates.making import pair

DAY = timedelta(days=1)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("left", "near", "said"),
    [
        (timedelta(days=14, seconds=1), False, "in 14 days"),
        (timedelta(days=14), True, "in 14 days"),
        (timedelta(days=9, hours=23), True, "in 9 days"),
        (timedelta(days=1), True, "in 1 day"),
        (timedelta(hours=23), True, "in less than a day"),
        (timedelta(0), True, "visitors are warned of it"),
        (timedelta(hours=-23), True, "visitors are warned of it"),
        (timedelta(days=-1), False, "visitors are warned of it"),
    ],
)
def test_when_it_is_near(left: timedelta, near: bool, said: str) -> None:
    assert expiry.is_near(NOON + left, NOON) is near
    assert expiry.when(NOON + left, NOON).endswith(said)


class Clock(SystemClock):
    """Moved by a test."""

    now = NOON

    def wall(self) -> datetime:
        return self.now


async def lines(site: Site) -> list[str]:
    def work(conn: Connection) -> list[str]:
        return [each.line.text for each in outbox.waiting(conn) if "CRT KEY" in each.line.text]

    return await site.world.db.read(work)


def test_it_is_told_once_a_day_until_it_is_replaced(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        world, ned, clock = site.world, await site.actor(NED), Clock()
        world.clock = clock
        world.settings = replace(world.settings, web_tls=Address("127.0.0.1", 8443))
        await apps.create_app(world, ned, "demo")
        await domains.add_domain(world, ned, "demo", "a.example.com")
        await domains.add_domain(world, ned, "demo", "b.example.com")
        chain, key = pair(NOON, "*.example.com", ends=20 * DAY)
        made = await certs.add_certificate(world, ned, "demo", chain, key)
        name = made.certificate.name
        # One that serves nothing is nobody's loss.
        unused = await certs.add_certificate(world, ned, "demo", *pair(NOON, "x.org", ends=3 * DAY))
        assert any("No domain of demo" in each for each in unused.warnings)
        assert made.hostnames == ("a.example.com", "b.example.com")

        for hours in range(0, 22 * 24, 6):
            clock.now = NOON + timedelta(hours=hours)
            for _ in range(2):
                await expiry.tell(world)
        said = await lines(site)
        # From the 7th, at noon, to the 21st, at noon, when it ends, and then once more.
        assert len(said) == 16
        assert said[0] == (
            f"Certificate {name} for a.example.com, b.example.com ends on 2026-06-21, in 14 days. "
            f"Replace it: oriel certs:update CRT KEY --name {name}"
        )
        assert "ends on 2026-06-21, in less than a day. " in said[14]
        assert "ended on 2026-06-21; visitors are warned of it. " in said[15]

        clock.now = NOON + 12 * DAY
        (card,) = [
            each
            for each in await certs.list_certificates(world, ned, "demo")
            if each.certificate.name == name
        ]
        assert card.warnings == ("It ends on 2026-06-21, in 8 days.",)
        fresh = await certs.update_certificate(
            world, ned, "demo", name, *pair(clock.now, "*.example.com", ends=18 * DAY)
        )
        assert fresh.warnings == ("It ends on 2026-07-01.",)
        await expiry.tell(world)
        assert len(await lines(site)) == 16
        # The new one nears its end as well.
        clock.now += 10 * DAY
        await expiry.tell(world)
        assert "ends on 2026-07-01, in 8 days" in (await lines(site))[-1]
        # Without TLS nobody meets it.
        world.settings = replace(world.settings, web_tls=None)
        clock.now += DAY
        await expiry.tell(world)
        assert len(await lines(site)) == 17

    play(tmp_path / "d", tell)
