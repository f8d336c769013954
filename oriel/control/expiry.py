"""Owns telling an app, in its log, that a certificate of its people's own nears its end.

Once a day in the last fourteen, and once when it has ended; what was told is in the acts, so that a
restart repeats nothing. Automatic certificates tell of themselves, when they fail. Must not know
who serves with them.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from oriel.control import domains, record
from oriel.control.world import World
from oriel.ledger import App, acts, apps, certificates
from oriel.ledger.certificates import Certificate
from oriel.lexicon import PLATFORM

NEAR = timedelta(days=14)
_DAY = timedelta(days=1)
_VERB = "certs:ending"


def is_near(ends_at: datetime, now: datetime) -> bool:
    """Whether its end is to be told of: near, or of the day that has just been."""
    return -_DAY < ends_at - now <= NEAR


def when(ends_at: datetime, now: datetime) -> str:
    """As in `It ends on 2026-12-06, in 9 days`."""
    left = ends_at - now
    if left <= timedelta(0):
        return f"ended on {ends_at:%Y-%m-%d}; visitors are warned of it"
    days = left // _DAY
    rest = "in less than a day" if not days else f"in {days} day{'s' if days > 1 else ''}"
    return f"ends on {ends_at:%Y-%m-%d}, {rest}"


async def tell(world: World) -> None:
    """Say what is due today."""
    now = world.clock.wall()
    if world.settings.web_tls is None or not await world.db.read(lambda conn: _due(conn, now)):
        return

    def work(conn: Connection) -> None:
        for each in _due(conn, now):
            app = apps.by_name_or_id(conn, each.app_id)
            hosts = _served(conn, world, app, each)
            if hosts:
                _say(conn, world, app, each, hosts, now)

    await world.db.write(work)


def _due(conn: Connection, now: datetime) -> list[Certificate]:
    """Those near their end of which nothing was said today."""
    return [
        each
        for each in certificates.all(conn)
        if not each.automatic and is_near(each.ends_at, now) and not _told(conn, each, now)
    ]


def _told(conn: Connection, it: Certificate, now: datetime) -> bool:
    """Whether today's was said; of one that has ended: whether that was said."""
    key = _key(it, now)
    return any(act.detail.get("key") == key for act in acts.with_verbs(conn, it.app_id, [_VERB]))


def _key(it: Certificate, now: datetime) -> str:
    day = "ended" if it.ends_at <= now else f"{now:%Y-%m-%d}"
    return f"{it.id} {it.ends_at:%Y-%m-%dT%H:%M:%S} {day}"


def _served(conn: Connection, world: World, app: App, it: Certificate) -> list[str]:
    return [
        card.hostname
        for card in domains.cards(conn, world.settings, app)
        if card.certificate is not None and card.certificate.id == it.id
    ]


def _say(
    conn: Connection, world: World, app: App, it: Certificate, hosts: list[str], now: datetime
) -> None:
    detail = {"certificate": it.id, "name": it.name, "key": _key(it, now)}
    acts.append(conn, PLATFORM, app.id, _VERB, detail, now)
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    text = (
        f"Certificate {it.name} for {', '.join(hosts[:3])}{more} {when(it.ends_at, now)}. "
        f"Replace it: oriel certs:update CRT KEY --name {it.name}"
    )
    record.say(conn, world, app, "api", text, {"certificate": it.name})
