"""Owns API tokens: minted once, kept as a hash, revoked for ever. Must not know what a scope is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Update, bindparam, insert, or_, select, update

from oriel.clock import new_id, new_secret
from oriel.faults import NotFound
from oriel.people import tables
from oriel.people.accounts import Account, account

SECRET_START = "oriel-"  # noqa: S105 - how every secret begins, so that scanners can find one
PREFIX_LENGTH = 8
USE_NOTED_EVERY = timedelta(hours=1)

_tokens = tables.tokens
_token_insert = insert(_tokens)


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without its secret."""

    id: str
    account_id: str
    description: str
    prefix: str
    """The first eight characters after `oriel-`: enough to know it by, too little to use it."""
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


def mint(
    conn: Connection,
    account_id: str,
    description: str,
    scopes: Iterable[str],
    expires_at: datetime | None,
    now: datetime,
) -> tuple[Token, str]:
    """A new token and its secret, which is shown this once and kept only as a hash."""
    secret = SECRET_START + new_secret()
    token = Token(
        id=new_id(),
        account_id=account_id,
        description=description,
        prefix=secret.removeprefix(SECRET_START)[:PREFIX_LENGTH],
        scopes=tuple(scopes),
        created_at=now,
        expires_at=expires_at,
        last_used_at=None,
    )
    values = {field: getattr(token, field) for field in Token.__slots__}
    values |= {"scopes": list(token.scopes), "secret_hash": hash_secret(secret)}
    conn.execute(_token_insert, values)
    return token, secret


def resolve(conn: Connection, secret: str, now: datetime) -> tuple[Account, Token] | None:
    """Whose token this is; None when it is not known, revoked, or its time is over."""
    row = conn.execute(_resolution, {"hash": hash_secret(secret), "now": now}).first()
    return (account(row), _token(row, "token_")) if row is not None else None


def use_is_news(token: Token, now: datetime) -> bool:
    """Whether a use is worth a write: it is noted to the hour."""
    return token.last_used_at is None or now - token.last_used_at >= USE_NOTED_EVERY


def note_use(conn: Connection, token: Token, now: datetime) -> None:
    """Remember when a token was last used, to the hour."""
    if use_is_news(token, now):
        conn.execute(update(_tokens).where(_tokens.c.id == token.id).values(last_used_at=now))


def of(conn: Connection, account_id: str) -> list[Token]:
    """An account's tokens that are not revoked, expired ones too, oldest first."""
    statement = (
        select(*_columns()).where(*_of(account_id)).order_by(_tokens.c.created_at, _tokens.c.id)
    )
    return [_token(row) for row in conn.execute(statement)]


def by_id(conn: Connection, account_id: str, token_id: str) -> Token:
    """One of the account's tokens; raises NotFound when it has no such one, or revoked it."""
    statement = select(*_columns()).where(*_of(account_id), _tokens.c.id == token_id)
    row = conn.execute(statement).first()
    if row is None:
        raise _missing()
    return _token(row)


def revoke(conn: Connection, account_id: str, token_id: str, now: datetime) -> None:
    """End one of the account's tokens; raises NotFound when it has no such token."""
    changed = conn.execute(_revocation(now).where(*_of(account_id), _tokens.c.id == token_id))
    if not changed.rowcount:
        raise _missing()


def revoke_all(conn: Connection, account_id: str, now: datetime) -> int:
    """End every token of the account; gives how many."""
    return conn.execute(_revocation(now).where(*_of(account_id))).rowcount


def hash_secret(secret: str) -> str:
    """A secret as it is kept. It is random and long, so no salt and no slow hash are needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _of(account_id: str) -> tuple[Any, ...]:
    return (_tokens.c.account_id == account_id, _tokens.c.revoked_at.is_(None))


def _revocation(now: datetime) -> Update:
    return update(_tokens).values(revoked_at=now)


def _columns(label: str = "") -> list[Any]:
    return [_tokens.c[field].label(label + field) for field in Token.__slots__]


def _token(row: Row[Any], label: str = "") -> Token:
    values = {field: getattr(row, label + field) for field in Token.__slots__}
    return Token(**{**values, "scopes": tuple(values["scopes"])})


def _missing() -> NotFound:
    return NotFound("Couldn't find that authorization.", resource="authorization")


# Made once: each call to the API asks this.
_resolution = (
    select(tables.accounts, *_columns("token_"))
    .join(_tokens, _tokens.c.account_id == tables.accounts.c.id)
    .where(_tokens.c.secret_hash == bindparam("hash"))
    .where(_tokens.c.revoked_at.is_(None))
    .where(or_(_tokens.c.expires_at.is_(None), _tokens.c.expires_at > bindparam("now")))
    .where(tables.accounts.c.removed_at.is_(None))
)
