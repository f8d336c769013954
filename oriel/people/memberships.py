"""Owns who may work on which app. Must not know what an app is: an id is all it sees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select

from oriel.faults import Conflict, NotFound
from oriel.people import accounts, tables
from oriel.people.accounts import Account

_memberships = tables.memberships
_role = select(_memberships.c.role).where(
    _memberships.c.app_id == bindparam("app"), _memberships.c.account_id == bindparam("account")
)


@dataclass(frozen=True, slots=True)
class Member:
    """An account's part in an app."""

    account: Account
    role: str
    created_at: datetime


def add(
    conn: Connection, app_id: str, account_id: str, role: str, by_email: str, now: datetime
) -> Member:
    """Let the account work on the app; raises Conflict when it may already."""
    account = accounts.by_id(conn, account_id)
    if may(conn, account_id, app_id):
        raise Conflict(f"{account.email} already has access.")
    conn.execute(
        insert(_memberships).values(
            app_id=app_id, account_id=account_id, role=role, by_email=by_email, created_at=now
        )
    )
    return Member(account, role, now)


def remove(conn: Connection, app_id: str, account_id: str) -> None:
    """Take the account off the app; raises NotFound when it was not on it."""
    mine = (_memberships.c.app_id == app_id, _memberships.c.account_id == account_id)
    if not conn.execute(delete(_memberships).where(*mine)).rowcount:
        raise NotFound("Couldn't find that collaborator.", resource="collaborator")


def remove_all(conn: Connection, app_id: str) -> None:
    """Take everybody off an app that is being destroyed."""
    conn.execute(delete(_memberships).where(_memberships.c.app_id == app_id))


def of_app(conn: Connection, app_id: str) -> list[Member]:
    """Who works on the app, the longest first."""
    statement = (
        select(tables.accounts, _memberships.c.role, _memberships.c.created_at.label("since"))
        .join(_memberships, _memberships.c.account_id == tables.accounts.c.id)
        .where(_memberships.c.app_id == app_id)
        .order_by(_memberships.c.created_at, tables.accounts.c.email)
    )
    return [Member(accounts.account(row), row.role, row.since) for row in conn.execute(statement)]


def apps_of(conn: Connection, account_id: str) -> set[str]:
    """The ids of the apps that the account works on."""
    statement = select(_memberships.c.app_id).where(_memberships.c.account_id == account_id)
    return set(conn.execute(statement).scalars())


def may(conn: Connection, account_id: str, app_id: str) -> bool:
    """Whether the account works on the app. The installation's owner is nothing special here."""
    return conn.execute(_role, {"app": app_id, "account": account_id}).first() is not None
