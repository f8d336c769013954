"""Owns which host names were added to which app. Must not know who may have which, or DNS.

A name is kept as it is matched: lower case, ASCII, `*.` in front for all that is below. It leads
to one app at most; the row is the fold of the acts, and goes with the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, text, update

from oriel.faults import NotFound
from oriel.ledger.tables import domains

_all = select(domains).order_by(domains.c.hostname)


@dataclass(frozen=True, slots=True)
class Domain:
    """A host name of an app."""

    id: str
    app_id: str
    hostname: str
    certificate_id: str | None
    """The certificate that was chosen for it; None: whichever of the app's fits."""
    created_at: datetime
    updated_at: datetime


def hold(conn: Connection) -> None:
    """Hold off whoever else adds a domain. SQLite's writers are alone anyway."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("LOCK TABLE domains IN SHARE ROW EXCLUSIVE MODE"))


def add(
    conn: Connection,
    app_id: str,
    hostname: str,
    certificate_id: str | None,
    now: datetime,
    id: str,
) -> Domain:
    """A name that nobody has: `hold` was called and `named` looked."""
    added = Domain(id, app_id, hostname, certificate_id, now, now)
    conn.execute(insert(domains), {field: getattr(added, field) for field in Domain.__slots__})
    return added


def of_app(conn: Connection, app_id: str) -> list[Domain]:
    """An app's names, in order."""
    return [_domain(row) for row in conn.execute(_all.where(domains.c.app_id == app_id))]


def all(conn: Connection) -> list[Domain]:
    """Every name of every app."""
    return [_domain(row) for row in conn.execute(_all)]


def count(conn: Connection, app_id: str) -> int:
    """How many names an app has."""
    statement = select(func.count()).select_from(domains).where(domains.c.app_id == app_id)
    return int(conn.execute(statement).scalar_one())


def named(conn: Connection, hostnames: Sequence[str]) -> list[Domain]:
    """Those of these names that are somebody's."""
    return [_domain(row) for row in conn.execute(_all.where(domains.c.hostname.in_(hostnames)))]


def below(conn: Connection, parent: str) -> list[Domain]:
    """Every name below `parent`, wildcards too."""
    # LIKE takes _ for any character, and a host name has none; nothing else of it is special.
    return [
        _domain(row) for row in conn.execute(_all.where(domains.c.hostname.like(f"%.{parent}")))
    ]


def get(conn: Connection, app_id: str, name: str) -> Domain:
    """The app's domain of this name or id; raises NotFound."""
    wanted = or_(domains.c.hostname == name, domains.c.id == name)
    row = conn.execute(_all.where(domains.c.app_id == app_id, wanted)).first()
    if row is None:
        raise NotFound("Couldn't find that domain.", resource="domain")
    return _domain(row)


def choose(conn: Connection, domain: Domain, certificate_id: str | None, now: datetime) -> None:
    """From now on this certificate, or None for whichever fits."""
    statement = update(domains).where(domains.c.id == domain.id)
    conn.execute(statement.values(certificate_id=certificate_id, updated_at=now))


def unchoose(conn: Connection, certificate_id: str, now: datetime) -> None:
    """No domain has this certificate any more: it goes."""
    statement = update(domains).where(domains.c.certificate_id == certificate_id)
    conn.execute(statement.values(certificate_id=None, updated_at=now))


def remove(conn: Connection, domain: Domain) -> None:
    """The name leads nowhere."""
    conn.execute(delete(domains).where(domains.c.id == domain.id))


def forget(conn: Connection, app_id: str) -> None:
    """No name leads to the app any more."""
    conn.execute(delete(domains).where(domains.c.app_id == app_id))


def _domain(row: Row[Any]) -> Domain:
    return Domain(**{field: getattr(row, field) for field in Domain.__slots__})
