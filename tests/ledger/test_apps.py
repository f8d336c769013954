"""Which apps there are: names that come free again, uids that never do."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from oriel.clock import new_id
from oriel.faults import Conflict, Invalid, NotFound
from oriel.ledger import App, Vault, apps
from oriel.store import Database
from tests.ledger.world import START, Ledger

VAULT = Vault(bytes(32))


def create(
    conn: Connection, name: str, base: int | None = 200_000, fixed: int | None = None
) -> App:
    return apps.create(
        conn, VAULT, name, "o", "rick@foobazco.com", base, fixed, START, new_id(), new_id()
    )


def test_an_app_comes_back_as_it_was_made(database: Database) -> None:
    made = database.write_now(lambda conn: create(conn, "foobaz"))
    assert made.uid == 200_000
    assert made.stack == "oriel-1"
    for text in (made.name, made.id):
        assert database.read_now(lambda conn, text=text: apps.by_name_or_id(conn, text)) == made
    assert database.read_now(apps.all) == [made]


@pytest.mark.parametrize("text", ["nobody", "", "\0", "\ud800", "a'b", "x" * 10_000])
def test_what_is_not_there_is_not_found(database: Database, text: str) -> None:
    with pytest.raises(NotFound, match="Couldn't find that app") as caught:
        database.read_now(lambda conn: apps.by_name_or_id(conn, text))
    assert caught.value.resource == "app"


def test_a_name_is_taken_until_its_app_is_destroyed(database: Database) -> None:
    first = database.write_now(lambda conn: create(conn, "foobaz"))
    with pytest.raises(Conflict, match="foobaz is already taken"):
        database.write_now(lambda conn: create(conn, "foobaz"))
    database.write_now(lambda conn: apps.destroy(conn, first, START))
    second = database.write_now(lambda conn: create(conn, "foobaz"))
    assert database.read_now(lambda conn: apps.by_name_or_id(conn, "foobaz")) == second
    with pytest.raises(NotFound):
        database.read_now(lambda conn: apps.by_name_or_id(conn, first.id))
    assert [app.id for app in database.read_now(apps.destroyed)] == [first.id]


def test_a_uid_is_never_given_again(database: Database) -> None:
    uids = []
    for name in ("one", "two", "three"):
        app = database.write_now(lambda conn, name=name: create(conn, name))
        database.write_now(lambda conn, app=app: apps.destroy(conn, app, START))
        uids.append(app.uid)
    assert uids == [200_000, 200_001, 200_002]


def test_a_fixed_uid_is_everybodys(database: Database) -> None:
    made = [
        database.write_now(lambda conn, name=name: create(conn, name, None, 1000))
        for name in ("one", "two")
    ]
    assert [app.uid for app in made] == [1000, 1000]
    assert database.write_now(lambda conn: create(conn, "three")).uid == 200_000


@pytest.mark.parametrize("name", ["a", "Foobaz", "1foo", "foo_baz", "foo--baz", "foo-", "x" * 31])
def test_a_name_that_is_not_allowed(database: Database, name: str) -> None:
    with pytest.raises(Invalid, match="not allowed"):
        database.write_now(lambda conn: create(conn, name))


def test_renaming(ledger: Ledger) -> None:
    app = ledger.write(lambda conn: apps.rename(conn, ledger.app, "barbaz", ledger.now))
    assert (app.name, app.updated_at) == ("barbaz", ledger.now)
    assert ledger.read(lambda conn: apps.by_name_or_id(conn, "barbaz")) == app
    other = ledger.write(lambda conn: ledger.create(conn, "foobaz"))
    with pytest.raises(Conflict):
        ledger.write(lambda conn: apps.rename(conn, other, "barbaz", ledger.now))
    with pytest.raises(Invalid):
        ledger.write(lambda conn: apps.rename(conn, other, "No Name", ledger.now))
    assert ledger.write(lambda conn: apps.rename(conn, other, "foobaz", ledger.now)).id == other.id


def test_maintenance(ledger: Ledger) -> None:
    app = ledger.write(lambda conn: apps.set_maintenance(conn, ledger.app, True, ledger.now))
    assert ledger.read(lambda conn: apps.by_name_or_id(conn, "foobaz")) == app
    assert app.maintenance


def test_a_destroyed_app_cannot_be_changed(ledger: Ledger) -> None:
    ledger.write(lambda conn: apps.destroy(conn, ledger.app, ledger.now))
    for change in (
        lambda conn: apps.destroy(conn, ledger.app, ledger.now),
        lambda conn: apps.set_maintenance(conn, ledger.app, True, ledger.now),
        lambda conn: apps.rename(conn, ledger.app, "barbaz", ledger.now),
    ):
        with pytest.raises(NotFound):
            ledger.write(change)
