"""Owns how far each host's automatic certificate is, and the accounts at authorities.

What a row means is decided elsewhere; keys are sealed. Must not know ACME.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from oriel.ledger.apps import App
from oriel.ledger.tables import acme_accounts, acme_orders, app_acme
from oriel.ledger.vault import Vault

_all = select(acme_orders).order_by(acme_orders.c.next_at, acme_orders.c.domain_id)


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One domain's order."""

    domain_id: str
    app_id: str
    state: str
    failures: int
    reason: str
    next_at: datetime
    began_at: datetime | None
    url: str
    token: str
    answer: str
    key_sealed: bytes = field(repr=False)
    certificate_id: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """Who Oriel is at an authority; `paused_until`: it was asked too much before."""

    directory: str
    key: str = field(repr=False)
    paused_until: datetime | None


def enable(conn: Connection, app_id: str, now: datetime) -> None:
    """From now on the app's certificates are got by themselves."""
    conn.execute(insert(app_acme).values(app_id=app_id, enabled_at=now))


def disable(conn: Connection, app_id: str) -> None:
    """No longer; its orders go too."""
    conn.execute(delete(acme_orders).where(acme_orders.c.app_id == app_id))
    conn.execute(delete(app_acme).where(app_acme.c.app_id == app_id))


def enabled(conn: Connection) -> dict[str, datetime]:
    """The apps for which it is on, and since when."""
    return {row.app_id: row.enabled_at for row in conn.execute(select(app_acme))}


def all(conn: Connection) -> list[OrderRow]:
    """Every order, the next to be looked at first."""
    return [_order(row) for row in conn.execute(_all)]


def of_app(conn: Connection, app_id: str) -> dict[str, OrderRow]:
    """An app's orders by domain id."""
    rows = conn.execute(_all.where(acme_orders.c.app_id == app_id))
    return {row.domain_id: _order(row) for row in rows}


def get(conn: Connection, domain_id: str) -> OrderRow | None:
    """A domain's order; None: there is none (any more)."""
    row = conn.execute(_all.where(acme_orders.c.domain_id == domain_id)).first()
    return _order(row) if row else None


def put(conn: Connection, order: OrderRow) -> None:
    """Keep it, in place of the one that there was."""
    values = {name: getattr(order, name) for name in OrderRow.__slots__}
    where = acme_orders.c.domain_id == order.domain_id
    if not conn.execute(update(acme_orders).where(where).values(values)).rowcount:
        conn.execute(insert(acme_orders), values)


def remove(conn: Connection, domain_id: str) -> None:
    """The domain goes."""
    conn.execute(delete(acme_orders).where(acme_orders.c.domain_id == domain_id))


def begun_since(conn: Connection, since: datetime) -> int:
    """How many orders were begun since then, as far as is known."""
    statement = select(func.count()).select_from(acme_orders)
    return int(conn.execute(statement.where(acme_orders.c.began_at >= since)).scalar_one())


def seal(vault: Vault, app: App, domain_id: str, key: str) -> bytes:
    """The key (PEM) of a certificate that is ordered."""
    return vault.seal(app.wrapped_key, key.encode(), _context(domain_id))


def key(vault: Vault, app: App, order: OrderRow) -> str:
    """The same, opened."""
    return vault.open(app.wrapped_key, order.key_sealed, _context(order.domain_id)).decode()


def account(conn: Connection, vault: Vault, directory: str) -> Account | None:
    """The account at an authority, if there is one."""
    row = conn.execute(select(acme_accounts).where(acme_accounts.c.directory == directory)).first()
    if row is None:
        return None
    opened = vault.open(row.wrapped_key, row.key_sealed, _account(directory)).decode()
    return Account(directory, opened, row.paused_until)


def add_account(conn: Connection, vault: Vault, directory: str, key: str, now: datetime) -> None:
    """Keep the key (PEM) of a new account, sealed with a key of its own."""
    wrapped = vault.new_app_key()
    values = {
        "directory": directory,
        "wrapped_key": wrapped,
        "key_sealed": vault.seal(wrapped, key.encode(), _account(directory)),
        "paused_until": None,
        "created_at": now,
    }
    conn.execute(insert(acme_accounts), values)


def pause(conn: Connection, directory: str, until: datetime) -> None:
    """The authority wants to be left alone until then."""
    where = acme_accounts.c.directory == directory
    conn.execute(update(acme_accounts).where(where).values(paused_until=until))


def _context(domain_id: str) -> bytes:
    return f"key ordered for domain {domain_id}".encode()


def _account(directory: str) -> bytes:
    return f"account at {directory}".encode()


def _order(row: Row[Any]) -> OrderRow:
    return OrderRow(**{name: getattr(row, name) for name in OrderRow.__slots__})
