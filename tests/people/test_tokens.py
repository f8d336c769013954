"""Tokens: minted once, kept as a hash, revoked for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from sqlalchemy import Connection, text

from oriel.faults import NotFound
from oriel.people import Account, Token, accounts, tokens
from oriel.store import Database

NOW = datetime(2011, 6, 19, 8, 35, 18, tzinfo=UTC)
DAY = timedelta(days=1)


def ned(conn: Connection, name: str = "ned") -> Account:
    return accounts.add(conn, f"{name}@foobazco.com", NOW)


def mint(
    database: Database, account: Account, expires: datetime | None = None
) -> tuple[Token, str]:
    return database.write_now(
        lambda conn: tokens.mint(conn, account.id, "laptop", ["global", "read"], expires, NOW)
    )


def test_a_secret_finds_its_account_and_token(database: Database) -> None:
    account = database.write_now(ned)
    token, secret = mint(database, account)
    assert secret.startswith("oriel-")
    assert secret[6:14] == token.prefix
    assert token.scopes == ("global", "read")
    assert database.read_now(lambda conn: tokens.resolve(conn, secret, NOW)) == (account, token)
    assert database.read_now(lambda conn: tokens.of(conn, account.id)) == [token]
    assert database.read_now(lambda conn: tokens.by_id(conn, account.id, token.id)) == token


def test_the_secret_itself_is_nowhere_in_the_database(database: Database) -> None:
    token, secret = mint(database, database.write_now(ned))
    row = database.read_now(lambda conn: conn.execute(text("SELECT * FROM tokens")).one())
    assert secret[14:] not in repr(row)
    assert secret not in repr(token)


@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(secret=strategies.text(strategies.characters(categories=None), max_size=50))
def test_any_other_text_is_nobodys(database: Database, secret: str) -> None:
    assert database.read_now(lambda conn: tokens.resolve(conn, secret, NOW)) is None


def test_its_time_ends(database: Database) -> None:
    _, secret = mint(database, database.write_now(ned), NOW + DAY)

    def known(now: datetime) -> bool:
        return database.read_now(lambda conn: tokens.resolve(conn, secret, now)) is not None

    assert known(NOW + DAY - timedelta(microseconds=1))
    assert not known(NOW + DAY)


def test_a_revoked_token_is_gone_and_its_sister_is_not(database: Database) -> None:
    account = database.write_now(ned)
    (one, secret), (other, kept) = mint(database, account), mint(database, account)
    database.write_now(lambda conn: tokens.revoke(conn, account.id, one.id, NOW))
    assert database.read_now(lambda conn: tokens.resolve(conn, secret, NOW)) is None
    assert database.read_now(lambda conn: tokens.resolve(conn, kept, NOW)) is not None
    assert database.read_now(lambda conn: tokens.of(conn, account.id)) == [other]
    with pytest.raises(NotFound):
        database.write_now(lambda conn: tokens.revoke(conn, account.id, one.id, NOW))


def test_nobody_revokes_or_reads_anothers(database: Database) -> None:
    account = database.write_now(ned)
    token, secret = mint(database, account)
    rick = database.write_now(lambda conn: ned(conn, "rick"))
    for work in (
        lambda conn: tokens.revoke(conn, rick.id, token.id, NOW),
        lambda conn: tokens.by_id(conn, rick.id, token.id),
    ):
        with pytest.raises(NotFound) as caught:
            database.write_now(work)
        assert caught.value.resource == "authorization"
    assert database.read_now(lambda conn: tokens.resolve(conn, secret, NOW)) is not None


def test_use_is_noted_to_the_hour(database: Database) -> None:
    account = database.write_now(ned)
    token, _ = mint(database, account)
    noted = []
    for minutes in (0, 59, 60, 61):
        now = NOW + timedelta(minutes=minutes)
        database.write_now(lambda conn, now=now: tokens.note_use(conn, _now(conn), now))
        (token,) = database.read_now(lambda conn: tokens.of(conn, account.id))
        noted.append(token.last_used_at)
    assert noted == [NOW, NOW, NOW + timedelta(hours=1), NOW + timedelta(hours=1)]


def _now(conn: Connection) -> Token:
    (account,) = accounts.all(conn)
    return tokens.of(conn, account.id)[0]


def test_all_at_once(database: Database) -> None:
    account = database.write_now(ned)
    mint(database, account)
    mint(database, account)
    assert database.write_now(lambda conn: tokens.revoke_all(conn, account.id, NOW)) == 2
    assert database.read_now(lambda conn: tokens.of(conn, account.id)) == []
