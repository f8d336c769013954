"""Who may work on which app."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from oriel.faults import Conflict, NotFound
from oriel.people import Account, Member, accounts, memberships
from oriel.store import Database

NOW = datetime(2011, 6, 19, 8, 35, 18, tzinfo=UTC)


def people(conn: Connection) -> tuple[Account, Account]:
    rick = accounts.create_owner(conn, "rick@foobazco.com", "h", NOW)
    return rick, accounts.add(conn, "ned@foobazco.com", NOW)


def test_members_come_and_go(database: Database) -> None:
    rick, ned = database.write_now(people)
    later = NOW + timedelta(seconds=1)

    def add(account: Account, app: str, role: str, now: datetime) -> Member:
        return database.write_now(
            lambda conn: memberships.add(conn, app, account.id, role, rick.email, now)
        )

    members = [add(rick, "app", "owner", NOW), add(ned, "app", "collaborator", later)]
    add(ned, "other", "owner", NOW)
    assert database.read_now(lambda conn: memberships.of_app(conn, "app")) == members
    assert database.read_now(lambda c: memberships.apps_of(c, ned.id)) == {"app", "other"}
    with pytest.raises(Conflict, match="ned@foobazco.com already has access"):
        add(ned, "app", "collaborator", later)

    database.write_now(lambda conn: memberships.remove(conn, "app", ned.id))
    assert not database.read_now(lambda conn: memberships.may(conn, ned.id, "app"))
    assert database.read_now(lambda conn: memberships.may(conn, ned.id, "other"))
    with pytest.raises(NotFound) as caught:
        database.write_now(lambda conn: memberships.remove(conn, "app", ned.id))
    assert caught.value.resource == "collaborator"
    database.write_now(lambda conn: memberships.remove_all(conn, "app"))
    assert database.read_now(lambda conn: memberships.of_app(conn, "app")) == []


def test_the_installations_owner_may_not_by_that_alone(database: Database) -> None:
    rick, _ = database.write_now(people)
    assert not database.read_now(lambda conn: memberships.may(conn, rick.id, "app"))


def test_nobody_cannot_be_added(database: Database) -> None:
    with pytest.raises(NotFound):
        database.write_now(lambda conn: memberships.add(conn, "app", "x", "owner", "", NOW))
