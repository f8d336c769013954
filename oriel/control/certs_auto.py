"""Owns automatic certificates as users switch them: on, off, try again. `acme` does the rest."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from oriel import faults
from oriel.certificates import machine
from oriel.control import access, domains, record
from oriel.control.acme import order_of
from oriel.control.domains import DomainCard
from oriel.control.world import World
from oriel.ledger import App, certificates, orders
from oriel.ledger import domains as ledger_domains
from oriel.lexicon import Actor


async def enable(world: World, actor: Actor, app: str) -> App:
    """Have a certificate for each domain, now and from now on. Twice is the same as once."""
    await access.app_of(world, actor, app)
    if world.settings.web_tls is None:
        raise faults.Invalid(
            "This platform does not serve apps with TLS, so no certificate would be of use.",
            hint="Its administrator types: oriel up --web-tls 0.0.0.0:443",
        )

    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        now = world.clock.wall()
        if found.id not in orders.enabled(conn):
            orders.enable(conn, found.id, now)
            lines = ["Enable automatic certificates"]
            record.act(conn, world, actor, found, "certs:auto:enable", {}, lines)
        for each in ledger_domains.of_app(conn, found.id):
            domains.order_for(conn, each, now)
        return found

    found = await world.db.write(work)
    world.reroute()
    world.order_certificates()
    return found


async def disable(world: World, actor: Actor, app: str) -> App:
    """Have them no longer: those that there are go at once."""

    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        if found.id not in orders.enabled(conn):
            return found
        orders.disable(conn, found.id)
        for each in certificates.of_app(conn, found.id):
            if each.automatic:
                ledger_domains.unchoose(conn, each.id, world.clock.wall())
                certificates.remove(conn, each.id)
        lines = ["Disable automatic certificates"]
        record.act(conn, world, actor, found, "certs:auto:disable", {}, lines)
        return found

    found = await world.db.write(work)
    world.reroute()
    return found


async def refresh(world: World, actor: Actor, app: str) -> list[DomainCard]:
    """Try those again that failed, without waiting (for long)."""

    def work(conn: Connection) -> list[DomainCard]:
        found = access.find(conn, actor, app)
        if found.id not in orders.enabled(conn):
            raise faults.Invalid(
                f"Automatic certificates are off for {found.name}.",
                hint=f"Type: oriel certs:auto:enable -a {found.name}",
                app=found.name,
            )
        now = world.clock.wall()
        for row in orders.of_app(conn, found.id).values():
            anew = machine.begin_anew(order_of(row), row.updated_at, now)
            orders.put(conn, replace(row, next_at=anew.next_at))
        lines = ["Refresh automatic certificates"]
        record.act(conn, world, actor, found, "certs:auto:refresh", {}, lines)
        return domains.cards(conn, world.settings, found)

    cards = await world.db.write(work)
    world.order_certificates()
    return cards
