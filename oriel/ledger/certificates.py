"""Owns the certificates of apps, their keys sealed. Must not know X.509 or who serves with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from oriel.faults import NotFound
from oriel.ledger.apps import App
from oriel.ledger.tables import certificates
from oriel.ledger.vault import Vault

_all = select(certificates).order_by(certificates.c.created_at, certificates.c.id)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain (PEM) and its sealed key."""

    id: str
    app_id: str
    name: str
    chain: str
    key_sealed: bytes = field(repr=False)
    names: tuple[str, ...]
    """The host names that it is good for."""
    issuer: str
    subject: str
    starts_at: datetime
    ends_at: datetime
    automatic: bool
    created_at: datetime
    updated_at: datetime


def seal(vault: Vault, app: App, certificate_id: str, key: str) -> bytes:
    """A private key (PEM), for this certificate's row only."""
    return vault.seal(app.wrapped_key, key.encode(), _context(app.id, certificate_id))


def key(vault: Vault, app: App, certificate: Certificate) -> str:
    """The private key (PEM); raises Broken when the row was changed."""
    context = _context(app.id, certificate.id)
    return vault.open(app.wrapped_key, certificate.key_sealed, context).decode()


def add(conn: Connection, certificate: Certificate) -> None:
    """Keep a new one."""
    conn.execute(insert(certificates), _values(certificate))


def change(conn: Connection, certificate: Certificate) -> None:
    """Keep another content under the same id and name."""
    statement = update(certificates).where(certificates.c.id == certificate.id)
    conn.execute(statement.values(_values(certificate)))


def all(conn: Connection) -> list[Certificate]:
    """Every certificate of every app, oldest first."""
    return [_certificate(row) for row in conn.execute(_all)]


def of_app(conn: Connection, app_id: str) -> list[Certificate]:
    """An app's certificates, oldest first."""
    return [_certificate(row) for row in conn.execute(_all.where(certificates.c.app_id == app_id))]


def get(conn: Connection, app_id: str, name: str) -> Certificate:
    """The app's certificate of this name or id; raises NotFound."""
    wanted = or_(certificates.c.name == name, certificates.c.id == name)
    row = conn.execute(_all.where(certificates.c.app_id == app_id, wanted)).first()
    if row is None:
        raise NotFound("Couldn't find that certificate.", resource="sni_endpoint")
    return _certificate(row)


def remove(conn: Connection, certificate_id: str) -> None:
    """Its key is gone with it."""
    conn.execute(delete(certificates).where(certificates.c.id == certificate_id))


def forget(conn: Connection, app_id: str) -> None:
    """All of an app."""
    conn.execute(delete(certificates).where(certificates.c.app_id == app_id))


def _context(app_id: str, certificate_id: str) -> bytes:
    return f"key of certificate {certificate_id} of app {app_id}".encode()


def _values(certificate: Certificate) -> dict[str, Any]:
    values = {name: getattr(certificate, name) for name in Certificate.__slots__}
    return {**values, "names": list(certificate.names)}


def _certificate(row: Row[Any]) -> Certificate:
    values = {name: getattr(row, name) for name in Certificate.__slots__}
    return Certificate(**{**values, "names": tuple(values["names"])})
