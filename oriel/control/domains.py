"""Owns what users do to the host names of an app, and which names may be whose.

A name leads to one app. Where names overlap (`*.example.com` and `www.example.com`), both apps have
to be of one owner, as at Heroku: else a wildcard could take what another serves below it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from oriel import faults
from oriel.certificates import machine
from oriel.clock import new_id
from oriel.control import access, hostnames, record
from oriel.control.hostnames import covers
from oriel.control.world import Settings, World
from oriel.ledger import App, apps, certificates, domains, orders
from oriel.ledger.certificates import Certificate
from oriel.ledger.domains import Domain
from oriel.ledger.orders import OrderRow
from oriel.lexicon import Actor

PER_APP_MAX = 1000

WILDCARD_REASON = "a wildcard needs a certificate of yours: HTTP-01 is for single hosts"


@dataclass(frozen=True, slots=True)
class DomainCard:
    """A host name as users see it."""

    id: str
    app: App
    hostname: str
    name: str
    """As people read it."""
    target: str
    """The host that DNS should point it at."""
    custom: bool
    certificate: Certificate | None
    """What it is served with; None: the platform's own."""
    automatic: OrderRow | None
    automatic_is_on: bool
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> str | None:
        """How far its automatic certificate is, in Heroku's words; None: not so."""
        if not (self.custom and self.automatic_is_on):
            return None
        if self.hostname.startswith("*."):
            return "failed"
        if self.automatic is None:
            return "pending"
        if self.automatic.state == "failed":
            return "failed" if self.automatic.failures >= machine.HOPELESS else "failing"
        working = {"issued": "cert issued", "due": "pending"}
        return working.get(self.automatic.state, "verified")

    @property
    def reason(self) -> str | None:
        """Why there is no automatic certificate yet."""
        if self.status == "failed" and self.hostname.startswith("*."):
            return WILDCARD_REASON
        failed = self.automatic is not None and self.automatic.reason
        return failed if failed and self.status != "cert issued" else None


async def list_domains(world: World, actor: Actor, app: str) -> list[DomainCard]:
    """The app's own host, then what was added to it."""

    def work(conn: Connection) -> list[DomainCard]:
        return cards(conn, world.settings, access.find(conn, actor, app))

    return await world.db.read(work)


async def domain(world: World, actor: Actor, app: str, name: str) -> DomainCard:
    """One of them, by name (in either form) or id."""
    return await world.db.read(lambda conn: _card(conn, world, access.find(conn, actor, app), name))


async def add_domain(
    world: World, actor: Actor, app: str, typed: str, certificate: str | None = None
) -> DomainCard:
    """Have a host name lead to the app. Raises Malformed, Conflict, Forbidden, Invalid."""
    await access.app_of(world, actor, app)
    name = hostnames.ascii_of(typed)
    hostnames.refuse_platforms(name, reserved(world.settings))

    def work(conn: Connection) -> DomainCard:
        found = access.find(conn, actor, app)
        domains.hold(conn)
        _refuse_taken(conn, actor, found, name)
        if domains.count(conn, found.id) >= PER_APP_MAX:
            raise faults.Invalid(f"{found.name} has {PER_APP_MAX} domains, and may have no more.")
        chosen = certificates.get(conn, found.id, certificate) if certificate else None
        now = world.clock.wall()
        added = domains.add(conn, found.id, name, chosen.id if chosen else None, now, new_id())
        detail = {"domain": added.id, "hostname": name}
        record.act(conn, world, actor, found, "domains:add", detail, [f"Add domain {name}"])
        if found.id in orders.enabled(conn):
            order_for(conn, added, now)
        return _card(conn, world, found, name)

    made = await world.db.write(work)
    await world.routed()
    world.order_certificates()
    return made


async def remove_domain(world: World, actor: Actor, app: str, name: str) -> DomainCard:
    """The host name leads nowhere any more."""

    def work(conn: Connection) -> DomainCard:
        found = access.find(conn, actor, app)
        card = _card(conn, world, found, name)
        if not card.custom:
            raise faults.Invalid(
                f"{card.hostname} is {found.name}'s own, and goes with the app.", app=found.name
            )
        forget(conn, domains.get(conn, found.id, card.id))
        detail = {"domain": card.id, "hostname": card.hostname}
        lines = [f"Remove domain {card.hostname}"]
        record.act(conn, world, actor, found, "domains:remove", detail, lines)
        return card

    gone = await world.db.write(work)
    await world.routed()
    return gone


async def clear_domains(world: World, actor: Actor, app: str) -> list[DomainCard]:
    """The same for all at once."""

    def work(conn: Connection) -> list[DomainCard]:
        found = access.find(conn, actor, app)
        gone = [card for card in cards(conn, world.settings, found) if card.custom]
        for each in domains.of_app(conn, found.id):
            forget(conn, each)
        if gone:
            detail = {"hostnames": [card.hostname for card in gone]}
            lines = [f"Remove all domains ({len(gone)})"]
            record.act(conn, world, actor, found, "domains:clear", detail, lines)
        return gone

    gone = await world.db.write(work)
    await world.routed()
    return gone


async def choose_certificate(
    world: World, actor: Actor, app: str, name: str, certificate: str | None
) -> DomainCard:
    """Serve a domain with a certificate of the app; None: with whichever fits best."""

    def work(conn: Connection) -> DomainCard:
        found = access.find(conn, actor, app)
        card = _card(conn, world, found, name)
        if not card.custom:
            raise faults.Invalid(
                f"{card.hostname} is served with whichever certificate fits.", app=found.name
            )
        chosen = certificates.get(conn, found.id, certificate) if certificate else None
        it = domains.get(conn, found.id, card.id)
        domains.choose(conn, it, chosen.id if chosen else None, world.clock.wall())
        said = chosen.name if chosen else "whichever certificate fits"
        detail = {"domain": it.id, "hostname": it.hostname, "certificate": said}
        lines = [f"Serve domain {it.hostname} with {said}"]
        record.act(conn, world, actor, found, "domains:update", detail, lines)
        return _card(conn, world, found, it.id)

    changed = await world.db.write(work)
    await world.routed()
    return changed


def reserved(settings: Settings) -> tuple[str, ...]:
    """The hosts, and `*.` for all below, that no app may have."""
    own = [f"*.{settings.domain or 'localhost'}", settings.domain or "localhost", "localhost"]
    own += ["*.localhost"]
    for host in sorted(settings.known_hosts):
        with contextlib.suppress(ValueError):  # An address, or a name that nobody could add.
            own.append(hostnames.ascii_of(host))
    return tuple(dict.fromkeys(own))


def cards(conn: Connection, settings: Settings, app: App) -> list[DomainCard]:
    """Every host name of an app, its own first."""
    rows = domains.of_app(conn, app.id)
    held = certificates.of_app(conn, app.id)
    automatic = orders.of_app(conn, app.id)
    is_on = app.id in orders.enabled(conn)
    own = settings.app_host(app.name)
    moments = (app.created_at, app.updated_at)
    first = DomainCard(
        app.id, app, own, own, own, False, best(own, None, held), None, is_on, *moments
    )
    return [
        first,
        *[
            DomainCard(
                id=row.id,
                app=app,
                hostname=row.hostname,
                name=hostnames.unicode_of(row.hostname),
                target=own,
                custom=True,
                certificate=best(row.hostname, row.certificate_id, held),
                automatic=automatic.get(row.id),
                automatic_is_on=is_on,
                created_at=row.created_at,
                updated_at=automatic[row.id].updated_at if row.id in automatic else row.updated_at,
            )
            for row in rows
        ],
    ]


def best(hostname: str, chosen: str | None, held: list[Certificate]) -> Certificate | None:
    """What a host is served with: what was chosen, else what fits; people's own before automatic
    ones, and of these the one that ends last."""
    fitting = [
        each
        for each in held
        if each.id == chosen or any(covers(name, hostname) for name in each.names)
    ]
    if not fitting:
        return None
    return max(fitting, key=lambda each: (each.id == chosen, not each.automatic, each.ends_at))


def order_for(conn: Connection, domain: Domain, now: datetime) -> None:
    """Have an automatic certificate ordered for a domain, where that can be."""
    if domain.hostname.startswith("*.") or orders.get(conn, domain.id) is not None:
        return
    orders.put(
        conn,
        OrderRow(domain.id, domain.app_id, "due", 0, "", now, None, "", "", "", b"", None, now),
    )


def forget(conn: Connection, domain: Domain) -> None:
    """A domain with its order and its automatic certificate."""
    order = orders.get(conn, domain.id)
    orders.remove(conn, domain.id)
    domains.remove(conn, domain)
    if order is not None and order.certificate_id is not None:
        domains.unchoose(conn, order.certificate_id, domain.updated_at)
        certificates.remove(conn, order.certificate_id)


def forget_app(conn: Connection, app_id: str) -> None:
    """All names, certificates and keys of an app that goes: its names are free at once."""
    orders.disable(conn, app_id)
    domains.forget(conn, app_id)
    certificates.forget(conn, app_id)


def _card(conn: Connection, world: World, app: App, name: str) -> DomainCard:
    wanted = {name}
    with contextlib.suppress(ValueError):  # An id, or a name that nothing has.
        wanted.add(hostnames.ascii_of(name))
    for card in cards(conn, world.settings, app):
        if card.id in wanted or card.hostname in wanted:
            return card
    raise faults.NotFound(
        "Couldn't find that domain.",
        hint=f"See them with: oriel domains -a {app.name}",
        resource="domain",
        app=app.name,
    )


def _refuse_taken(conn: Connection, actor: Actor, app: App, name: str) -> None:
    """Raise Conflict where the name is somebody's, or overlaps with a stranger's."""
    for same in domains.named(conn, [name]):
        if same.app_id == app.id:
            raise faults.Conflict(f"{name} is a domain of {app.name} already.", app=app.name)
        raise faults.Conflict(
            f"{name} is a domain of another app.",
            hint="It has to be removed there first: oriel domains:remove.",
            app=app.name,
        )
    parent = name.removeprefix("*.")
    near = domains.named(conn, [*hostnames.suffixes(name), f"*.{parent}"])
    if parent != name:
        near += domains.below(conn, parent) + domains.named(conn, [parent])
    for other in near:
        if other.app_id == app.id:
            continue
        if apps.by_name_or_id(conn, other.app_id).owner_id != actor.account_id:
            raise faults.Conflict(
                f"{name} overlaps with a domain of an app that is somebody else's.",
                hint="Only the owner of the one may add the other.",
                app=app.name,
            )
