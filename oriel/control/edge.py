"""Owns what the web's edge needs beyond dynos: each app's domains, what a certificate authority is
to be answered, certificates by host, and which apps want https.

Whatever the records say, one app's names never reach another's requests, and the platform's own
names reach none. Must not know HAProxy.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from sqlalchemy import Connection

from oriel import faults
from oriel.control import domains
from oriel.control.world import World
from oriel.ledger import App, Vault, apps, certificates, orders, settings
from oriel.ledger import domains as ledger_domains
from oriel.ledger.certificates import Certificate
from oriel.ledger.domains import Domain
from oriel.lexicon import Malformed
from oriel.router import Certificate as Shown
from oriel.router import RouteTable

_log = logging.getLogger("oriel.control.edge")


def dressed(conn: Connection, world: World, table: RouteTable) -> RouteTable:
    """The table with all of it."""
    reserved = domains.reserved(world.settings)
    rows = _allowed(conn, table, reserved)
    challenges = _challenges(conn)
    # Without TLS there is nowhere to send anybody.
    has_tls = world.settings.web_tls is not None and world.own_certificate is not None
    to_https = settings.apps_with(conn, settings.HTTPS_REDIRECT) if has_tls else set()
    routes = tuple(
        replace(
            route,
            hosts=(*route.hosts, *(row.hostname for row in rows[route.app_id])),
            https=route.app_id in to_https,
            challenges=challenges.get(route.app_id),
        )
        for route in table.apps
    )
    if world.settings.web_tls is None or world.own_certificate is None:
        return RouteTable(routes, reserved=reserved)
    platform = tuple(name for name in reserved if not name.endswith("localhost"))
    fallback = Shown(world.own_certificate(), platform)
    shown = _shown(conn, world, table, rows)
    return RouteTable(routes, shown, fallback, reserved)


def _allowed(
    conn: Connection, table: RouteTable, reserved: tuple[str, ...]
) -> dict[str, list[Domain]]:
    """Domains by app, less those that are the platform's own: its domain may have changed since."""
    taken = {host for route in table.apps for host in route.hosts}
    parents = tuple("." + name.removeprefix("*.") for name in reserved)
    rows: dict[str, list[Domain]] = defaultdict(list)
    for row in ledger_domains.all(conn):
        plain = "." + row.hostname.removeprefix("*.")
        if row.hostname not in taken and not plain.endswith(parents):
            rows[row.app_id].append(row)
    return rows


def _challenges(conn: Connection) -> dict[str, dict[tuple[str, str], str]]:
    """By app; none at all for an app whose challenges are its own."""
    found: dict[str, dict[tuple[str, str], str]] = {each: {} for each in orders.enabled(conn)}
    under_way = [each for each in orders.all(conn) if each.token]
    if under_way:
        names = {each.id: each.hostname for each in ledger_domains.all(conn)}
        for each in under_way:
            if each.app_id in found:
                found[each.app_id][names[each.domain_id], each.token] = each.answer
    return found


def _shown(
    conn: Connection, world: World, table: RouteTable, rows: Mapping[str, list[Domain]]
) -> tuple[Shown, ...]:
    """Certificates with the hosts that they are shown to."""
    held: dict[str, list[Certificate]] = defaultdict(list)
    for each in certificates.all(conn):
        held[each.app_id].append(each)
    keys = {app.id: app for app in apps.all(conn)} if held else {}
    shown = []
    for route in table.apps:
        mine = held.get(route.app_id, [])
        hosts: dict[str, list[str]] = defaultdict(list)
        wanted = [(host, None) for host in route.hosts]
        for host, chosen in [
            *wanted,
            *((r.hostname, r.certificate_id) for r in rows[route.app_id]),
        ]:
            if (best := domains.best(host, chosen, mine)) is not None:
                hosts[best.id].append(host)
        for each in mine:
            if each.id not in hosts:
                continue
            try:
                pem = _pem(world.vault, keys[route.app_id], each)
                shown.append(Shown(pem, tuple(hosts[each.id])))
            except (faults.Fault, Malformed) as error:
                # One that cannot be opened must not keep all others from being served.
                _log.error("certificate %s of %s is not shown: %s", each.name, route.app, error)
    return tuple(shown)


@lru_cache(maxsize=4096)
def _pem(vault: Vault, app: App, certificate: Certificate) -> str:
    """Key and chain. Opened once: routes change often, certificates do not."""
    return certificates.key(vault, app, certificate) + certificate.chain
