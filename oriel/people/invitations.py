"""Owns how a person gets or renews a password: a secret for one use, good for seven days.

Must not know how the secret reaches them.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from oriel.clock import new_id, new_secret
from oriel.faults import Conflict, Invalid, NotFound
from oriel.people import accounts, tables, tokens
from oriel.people.accounts import Account

LIFE = timedelta(days=7)

_invitations = tables.invitations


def invite(conn: Connection, email: str, by_email: str, now: datetime) -> tuple[Account, str]:
    """An account without a password, and the secret that sets one.

    Inviting somebody again who has not accepted gives a fresh secret and ends the old one; raises
    Conflict for an account in use.
    """
    try:
        account = accounts.by_email(conn, email)
    except NotFound:
        account = accounts.add(conn, email, now)
    if account.active:
        raise Conflict(
            f"There is an account of {account.email} already.",
            hint=f"For a new password type: oriel users:reset {account.email}",
        )
    return account, reset(conn, account.id, by_email, now)


def reset(conn: Connection, account_id: str, by_email: str, now: datetime) -> str:
    """A fresh secret for the account, ending older ones. Until it is used nothing changes."""
    accounts.by_id(conn, account_id)
    conn.execute(
        update(_invitations)
        .where(_invitations.c.account_id == account_id, _invitations.c.ended_at.is_(None))
        .values(ended_at=now)
    )
    secret = new_secret()
    conn.execute(
        insert(_invitations).values(
            id=new_id(),
            account_id=account_id,
            secret_hash=tokens.hash_secret(secret),
            by_email=by_email,
            created_at=now,
            expires_at=now + LIFE,
        )
    )
    return secret


def accept(conn: Connection, secret: str, password_hash: str, now: datetime) -> Account:
    """Set the account's password and end its tokens: whoever had them may be why it was reset.

    Raises Invalid for a secret that was used, is too old, or never was.
    """
    mine = _invitations.c.secret_hash == tokens.hash_secret(secret)
    usable = (mine, _invitations.c.ended_at.is_(None), _invitations.c.expires_at > now)
    # The update comes first and decides: of two at once only one changes the row.
    if not conn.execute(update(_invitations).where(*usable).values(ended_at=now)).rowcount:
        raise Invalid(
            "This invitation is not good: it was used, has expired, or never was.",
            hint="Ask the installation's owner for a new one.",
        )
    account_id = conn.execute(select(_invitations.c.account_id).where(mine)).scalar_one()
    accounts.set_password(conn, account_id, password_hash, now)
    tokens.revoke_all(conn, account_id, now)
    return accounts.by_id(conn, account_id)
