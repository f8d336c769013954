"""Invitations and resets: one use, seven days, the newest only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from oriel.faults import Conflict, Invalid, NotFound
from oriel.people import Account, accounts, invitations, tokens
from oriel.store import Database

NOW = datetime(2011, 6, 19, 8, 35, 18, tzinfo=UTC)
RICK = "rick@foobazco.com"


def invite(database: Database, now: datetime = NOW) -> tuple[Account, str]:
    return database.write_now(lambda conn: invitations.invite(conn, "ned@foobazco.com", RICK, now))


def accept(database: Database, secret: str, now: datetime = NOW, hash: str = "h") -> Account:
    return database.write_now(lambda conn: invitations.accept(conn, secret, hash, now))


def test_an_invitation_makes_an_account_active_once(database: Database) -> None:
    account, secret = invite(database)
    assert not account.active
    accepted = accept(database, secret)
    assert (accepted.id, accepted.active) == (account.id, True)
    with pytest.raises(Invalid, match="not good") as caught:
        accept(database, secret, hash="another")
    assert "new one" in caught.value.hint
    assert database.read_now(lambda conn: accounts.password_hash(conn, account.email)) == "h"


def test_it_ends_after_seven_days(database: Database) -> None:
    _, secret = invite(database)
    with pytest.raises(Invalid):
        accept(database, secret, NOW + timedelta(days=7))
    accept(database, secret, NOW + timedelta(days=7) - timedelta(microseconds=1))


@pytest.mark.parametrize("secret", ["", "nonsense", "\0", "\ud800"])
def test_what_never_was_one(database: Database, secret: str) -> None:
    invite(database)
    with pytest.raises(Invalid):
        accept(database, secret)


def test_inviting_again_ends_the_first(database: Database) -> None:
    account, old = invite(database)
    again, fresh = invite(database)
    assert again.id == account.id
    with pytest.raises(Invalid):
        accept(database, old)
    accept(database, fresh)
    with pytest.raises(Conflict, match="already") as caught:
        invite(database)
    assert "users:reset" in caught.value.hint


def test_a_reset_changes_nothing_until_it_is_used(database: Database) -> None:
    account, secret = invite(database)
    accept(database, secret, hash="old")
    _, token = database.write_now(lambda conn: tokens.mint(conn, account.id, "", [], None, NOW))
    secret = database.write_now(lambda conn: invitations.reset(conn, account.id, RICK, NOW))
    assert database.read_now(lambda conn: accounts.password_hash(conn, account.email)) == "old"
    assert database.read_now(lambda conn: tokens.resolve(conn, token, NOW)) is not None

    accept(database, secret, hash="new")
    assert database.read_now(lambda conn: accounts.password_hash(conn, account.email)) == "new"
    assert database.read_now(lambda conn: tokens.resolve(conn, token, NOW)) is None


def test_a_new_password_ends_a_reset_still_open(database: Database) -> None:
    account, secret = invite(database)
    database.write_now(lambda conn: accounts.set_password(conn, account.id, "h", NOW))
    with pytest.raises(Invalid):
        accept(database, secret)


def test_nobody_to_reset(database: Database) -> None:
    with pytest.raises(NotFound):
        database.write_now(lambda conn: invitations.reset(conn, "nobody", RICK, NOW))
