"""Owns what users do with the certificates of an app. Keys are sealed, and never come back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from oriel import faults
from oriel.certificates import Chain, read
from oriel.certificates.chain import is_trusted
from oriel.clock import new_id
from oriel.control import access, domains, expiry, names, record
from oriel.control.hostnames import covers
from oriel.control.world import World
from oriel.ledger import App, certificates, orders
from oriel.ledger import domains as ledger_domains
from oriel.ledger.certificates import Certificate
from oriel.lexicon import Actor

PER_APP_MAX = 50
"""Certificates that people uploaded; automatic ones are bounded by the domains."""


@dataclass(frozen=True, slots=True)
class CertificateCard:
    """A certificate as users see it; no key."""

    certificate: Certificate
    app: App
    domains: tuple[str, ...]
    """Ids of the domains that are served with it."""
    hostnames: tuple[str, ...]
    trusted: bool
    warnings: tuple[str, ...] = ()


async def list_certificates(world: World, actor: Actor, app: str) -> list[CertificateCard]:
    """The app's certificates, oldest first."""

    def work(conn: Connection) -> list[CertificateCard]:
        found = access.find(conn, actor, app)
        return [_card(conn, world, found, each) for each in certificates.of_app(conn, found.id)]

    return await world.db.read(work)


async def certificate(world: World, actor: Actor, app: str, name: str) -> CertificateCard:
    """One of them, by name or id."""

    def work(conn: Connection) -> CertificateCard:
        found = access.find(conn, actor, app)
        return _card(conn, world, found, _one(conn, found, name))

    return await world.db.read(work)


async def add_certificate(
    world: World, actor: Actor, app: str, chain: str, key: str
) -> CertificateCard:
    """Serve those domains of the app that it fits with this certificate. Raises Invalid."""
    await access.app_of(world, actor, app)
    loaded = read(chain, key, world.clock.wall())

    def work(conn: Connection) -> CertificateCard:
        found = access.find(conn, actor, app)
        held = [each for each in certificates.of_app(conn, found.id) if not each.automatic]
        if len(held) >= PER_APP_MAX:
            raise faults.Invalid(
                f"{found.name} has {PER_APP_MAX} certificates, and may have no more.",
                hint="Replace one: oriel certs:update",
            )
        made = new(world, found, loaded, automatic=False)
        certificates.add(conn, made)
        lines = [f"Add certificate {made.name} for {_short(loaded.names)}"]
        record.act(conn, world, actor, found, "certs:add", _detail(made), lines)
        return _card(conn, world, found, made, loaded.warnings)

    made = await world.db.write(work)
    await world.routed()
    return made


async def update_certificate(
    world: World, actor: Actor, app: str, name: str, chain: str, key: str
) -> CertificateCard:
    """Put another certificate in the place of one: its domains are served with the new one."""
    await access.app_of(world, actor, app)
    loaded = read(chain, key, world.clock.wall())

    def work(conn: Connection) -> CertificateCard:
        found = access.find(conn, actor, app)
        old = _one(conn, found, name)
        if old.automatic:
            raise faults.Invalid(
                f"{old.name} is renewed by itself.",
                hint="Add your own beside it, and it is preferred: oriel certs:add CERT KEY",
                app=found.name,
            )
        made = content(world, found, old, loaded)
        certificates.change(conn, made)
        lines = [f"Update certificate {made.name} for {_short(loaded.names)}"]
        record.act(conn, world, actor, found, "certs:update", _detail(made), lines)
        return _card(conn, world, found, made, loaded.warnings)

    made = await world.db.write(work)
    await world.routed()
    return made


async def remove_certificate(world: World, actor: Actor, app: str, name: str) -> CertificateCard:
    """Serve with it no longer; its key is deleted."""

    def work(conn: Connection) -> CertificateCard:
        found = access.find(conn, actor, app)
        it = _one(conn, found, name)
        if it.automatic and found.id in orders.enabled(conn):
            raise faults.Invalid(
                f"{it.name} is kept by itself.",
                hint=f"To end that: oriel certs:auto:disable -a {found.name}",
                app=found.name,
            )
        card = _card(conn, world, found, it)
        ledger_domains.unchoose(conn, it.id, world.clock.wall())
        certificates.remove(conn, it.id)
        lines = [f"Remove certificate {it.name}"]
        record.act(conn, world, actor, found, "certs:remove", _detail(it), lines)
        return card

    gone = await world.db.write(work)
    await world.routed()
    return gone


def new(world: World, app: App, loaded: Chain, *, automatic: bool) -> Certificate:
    """A row for what was read."""
    now = world.clock.wall()
    blank = Certificate(
        id=new_id(),
        app_id=app.id,
        name=names.any_name(),
        chain="",
        key_sealed=b"",
        names=(),
        issuer="",
        subject="",
        starts_at=now,
        ends_at=now,
        automatic=automatic,
        created_at=now,
        updated_at=now,
    )
    return content(world, app, blank, loaded)


def content(world: World, app: App, old: Certificate, loaded: Chain) -> Certificate:
    """The same row with what was read in it."""
    return Certificate(
        id=old.id,
        app_id=old.app_id,
        name=old.name,
        chain=loaded.chain,
        key_sealed=certificates.seal(world.vault, app, old.id, loaded.key),
        names=loaded.names,
        issuer=loaded.issuer,
        subject=loaded.subject,
        starts_at=loaded.starts_at,
        ends_at=loaded.ends_at,
        automatic=old.automatic,
        created_at=old.created_at,
        updated_at=world.clock.wall(),
    )


def _card(
    conn: Connection,
    world: World,
    app: App,
    it: Certificate,
    warnings: tuple[str, ...] = (),
) -> CertificateCard:
    served = [
        each
        for each in domains.cards(conn, world.settings, app)
        if each.certificate is not None and each.certificate.id == it.id
    ]
    if not served and not it.automatic:
        warnings = (
            *warnings,
            f"No domain of {app.name} is served with it: it is for {_short(it.names)}.",
        )
    now = world.clock.wall()
    if it.ends_at - now <= expiry.NEAR:
        said = [each for each in warnings if not each.startswith("It ends on ")]
        warnings = (*said, f"It {expiry.when(it.ends_at, now)}.")
    wrong = [
        each.hostname
        for each in served
        if not any(covers(name, each.hostname) for name in it.names)
    ]
    if wrong:
        warnings = (*warnings, f"It is not for {_short(tuple(wrong))}, which is served with it.")
    return CertificateCard(
        certificate=it,
        app=app,
        domains=tuple(each.id for each in served if each.custom),
        hostnames=tuple(each.hostname for each in served),
        trusted=bool(it.names) and is_trusted(it.chain, it.names[0], _day(now)),
        warnings=warnings,
    )


def _one(conn: Connection, app: App, name: str) -> Certificate:
    try:
        return certificates.get(conn, app.id, name)
    except faults.NotFound:
        raise faults.NotFound(
            "Couldn't find that certificate.",
            hint=f"See them with: oriel certs -a {app.name}",
            resource="sni_endpoint",
            app=app.name,
        ) from None


def _detail(it: Certificate) -> dict[str, object]:
    return {"certificate": it.id, "name": it.name, "names": list(it.names)}


def _short(found: tuple[str, ...]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return (", ".join(found[:3]) or "no host") + more


def _day(now: datetime) -> datetime:
    """To the day: what is asked for again is remembered."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
