"""Owns who there is. Must not know which apps they work on.

A removed account's row stays, because acts name it; its e-mail address is free for a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from oriel.clock import new_id
from oriel.faults import Conflict, Invalid, NotFound
from oriel.lexicon import Email, Malformed
from oriel.people import tables

_accounts = tables.accounts
_account_insert = insert(_accounts)
_present = select(_accounts).where(_accounts.c.removed_at.is_(None))


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may log in."""

    id: str
    email: str
    name: str
    owner: bool
    """The installation's owner: invites, resets and removes others."""
    created_at: datetime
    active: bool
    """Whether a password is set: an invitation was accepted."""


def create_owner(conn: Connection, email: str, password_hash: str, now: datetime) -> Account:
    """The first account, the installation's owner; raises Conflict when there is one."""
    if conn.execute(_present.where(_accounts.c.owner)).first():
        raise Conflict("This installation already has an owner.", hint="Type: oriel login")
    return add(conn, email, now, owner=True, password_hash=password_hash)


def add(
    conn: Connection,
    email: str,
    now: datetime,
    *,
    owner: bool = False,
    password_hash: str | None = None,
) -> Account:
    """A new account; raises Invalid for what is no address, Conflict for one in use."""
    try:
        address = str(Email(email))
    except Malformed as error:
        raise Invalid(str(error)) from None
    if _find(conn, address) is not None:
        raise Conflict(f"There is an account of {address} already.")
    values = {
        "id": new_id(),
        "email": address,
        "name": "",
        "owner": owner,
        "password_hash": password_hash,
        "created_at": now,
    }
    conn.execute(_account_insert, values)
    return by_id(conn, str(values["id"]))


def by_email(conn: Connection, email: str) -> Account:
    """The account of this address, in any case of letters; raises NotFound."""
    row = _find(conn, email)
    if row is None:
        raise _missing()
    return account(row)


def by_id(conn: Connection, id: str) -> Account:
    """The account of this id; raises NotFound."""
    row = conn.execute(_present.where(_accounts.c.id == id)).first()
    if row is None:
        raise _missing()
    return account(row)


def all(conn: Connection) -> list[Account]:
    """Every account there is, by address."""
    return [account(row) for row in conn.execute(_present.order_by(_accounts.c.email))]


def password_hash(conn: Connection, email: str) -> str | None:
    """The hash to compare with; None for no such account and for one without a password."""
    row = _find(conn, email)
    return row.password_hash if row is not None else None


def set_password(conn: Connection, account_id: str, password_hash: str, now: datetime) -> None:
    """Give the account a password, which ends every invitation and reset still open."""
    _change(conn, account_id, password_hash=password_hash)
    open_ = tables.invitations.c.ended_at.is_(None)
    mine = tables.invitations.c.account_id == account_id
    conn.execute(update(tables.invitations).where(mine, open_).values(ended_at=now))


def remove(conn: Connection, account_id: str, now: datetime) -> None:
    """Take the account away, with its tokens, invitations and memberships.

    Raises Conflict for the owner: the installation would be nobody's.
    """
    if by_id(conn, account_id).owner:
        raise Conflict("The installation's owner cannot be removed.")
    _change(conn, account_id, removed_at=now, password_hash=None)
    tokens, invitations, memberships = tables.tokens, tables.invitations, tables.memberships
    conn.execute(
        update(tokens)
        .where(tokens.c.account_id == account_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    conn.execute(
        update(invitations)
        .where(invitations.c.account_id == account_id, invitations.c.ended_at.is_(None))
        .values(ended_at=now)
    )
    conn.execute(delete(memberships).where(memberships.c.account_id == account_id))


def account(row: Row[Any]) -> Account:
    """A row of `accounts` as a value."""
    return Account(
        id=row.id,
        email=row.email,
        name=row.name,
        owner=row.owner,
        created_at=row.created_at,
        active=row.password_hash is not None,
    )


def _find(conn: Connection, email: str) -> Row[Any] | None:
    try:
        address = str(Email(email))
    except Malformed:
        return None
    return conn.execute(_present.where(_accounts.c.email == address)).first()


def _change(conn: Connection, account_id: str, **values: Any) -> None:
    changed = conn.execute(
        update(_accounts)
        .where(_accounts.c.id == account_id, _accounts.c.removed_at.is_(None))
        .values(**values)
    )
    if not changed.rowcount:
        raise _missing()


def _missing() -> NotFound:
    return NotFound("Couldn't find that account.", resource="account")
