"""Who there is: one owner, one account for an address, and nothing left behind by a removal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from oriel.faults import Conflict, Invalid, NotFound
from oriel.people import Account, accounts, invitations, memberships, tokens
from oriel.store import Database

NOW = datetime(2011, 6, 19, 8, 35, 18, tzinfo=UTC)


def owner(conn: Connection) -> Account:
    return accounts.create_owner(conn, "Rick@FooBazCo.com", "hash", NOW)


def test_the_owner(database: Database) -> None:
    rick = database.write_now(owner)
    assert (rick.email, rick.owner, rick.active) == ("rick@foobazco.com", True, True)
    assert rick.created_at == NOW
    assert database.read_now(lambda conn: accounts.by_email(conn, "RICK@foobazco.COM")) == rick
    assert database.read_now(lambda conn: accounts.by_id(conn, rick.id)) == rick
    assert database.read_now(accounts.all) == [rick]
    with pytest.raises(Conflict, match="already has an owner"):
        database.write_now(lambda conn: accounts.create_owner(conn, "ned@foobazco.com", "h", NOW))


def test_an_address_has_one_account(database: Database) -> None:
    database.write_now(owner)
    with pytest.raises(Conflict, match="already"):
        database.write_now(lambda conn: accounts.add(conn, "rick@foobazco.com", NOW))


@pytest.mark.parametrize("email", ["", "ned", "@x", "ned@", "a b@x.y", "ned@x.y\n", "x" * 400])
def test_what_is_no_address(database: Database, email: str) -> None:
    with pytest.raises(Invalid, match="not an e-mail address"):
        database.write_now(lambda conn: accounts.add(conn, email, NOW))
    with pytest.raises(NotFound) as caught:
        database.read_now(lambda conn: accounts.by_email(conn, email))
    assert caught.value.resource == "account"
    assert database.read_now(lambda conn: accounts.password_hash(conn, email)) is None


def test_passwords_are_kept_and_changed(database: Database) -> None:
    ned = database.write_now(lambda conn: accounts.add(conn, "ned@foobazco.com", NOW))
    assert not ned.active
    assert database.read_now(lambda conn: accounts.password_hash(conn, ned.email)) is None
    database.write_now(lambda conn: accounts.set_password(conn, ned.id, "hash", NOW))
    assert database.read_now(lambda conn: accounts.password_hash(conn, ned.email)) == "hash"
    assert database.read_now(lambda conn: accounts.by_id(conn, ned.id)).active


def test_a_removal_takes_everything_along(database: Database) -> None:
    def work(conn: Connection) -> tuple[Account, str, str]:
        ned, invitation = invitations.invite(conn, "ned@foobazco.com", "rick@foobazco.com", NOW)
        _, secret = tokens.mint(conn, ned.id, "laptop", ["global"], None, NOW)
        memberships.add(conn, "app", ned.id, "collaborator", "rick@foobazco.com", NOW)
        accounts.remove(conn, ned.id, NOW)
        return ned, invitation, secret

    ned, invitation, secret = database.write_now(work)
    for find in (
        lambda conn: accounts.by_email(conn, ned.email),
        lambda conn: accounts.by_id(conn, ned.id),
        lambda conn: accounts.set_password(conn, ned.id, "h", NOW),
        lambda conn: accounts.remove(conn, ned.id, NOW),
    ):
        with pytest.raises(NotFound):
            database.write_now(find)
    assert database.read_now(lambda conn: tokens.resolve(conn, secret, NOW)) is None
    assert database.read_now(lambda conn: memberships.of_app(conn, "app")) == []
    with pytest.raises(Invalid):
        database.write_now(lambda conn: invitations.accept(conn, invitation, "h", NOW))
    # The address is free, and its new account inherits nothing.
    again = database.write_now(lambda conn: accounts.add(conn, ned.email, NOW))
    assert again.id != ned.id
    assert not database.read_now(lambda conn: memberships.may(conn, again.id, "app"))


def test_the_owner_cannot_be_removed(database: Database) -> None:
    rick = database.write_now(owner)
    with pytest.raises(Conflict, match="owner cannot be removed"):
        database.write_now(lambda conn: accounts.remove(conn, rick.id, NOW + timedelta(1)))
    assert database.read_now(accounts.all) == [rick]
