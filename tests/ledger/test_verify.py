"""Whoever gets past the triggers and writes into the records is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from oriel.ledger import Vault, tables
from oriel.ledger.verify import verify
from tests.ledger.world import Ledger

TABLES = ("releases", "release_statuses")


def tamper(ledger: Ledger, *statements: str, **values: Any) -> None:
    """Do what somebody with the database's file or a superuser's password can do."""
    ledger.write(lambda conn: _tamper(conn, *statements, **values))


def _tamper(conn: Connection, *statements: str, **values: Any) -> None:
    if conn.dialect.name == "postgresql":
        conn.execute(text("SET LOCAL session_replication_role = replica"))
    else:
        conn.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for table in TABLES:
            for verb in ("update", "delete"):
                conn.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_no_{verb}")
    for statement in statements:
        assert conn.execute(text(statement), values).rowcount == 1, statement


class _Undo(Exception):
    """Ends a transaction without a trace."""


def after(ledger: Ledger, *statements: str, **values: Any) -> tuple[str, ...]:
    """The problems that `verify` would find after these statements, which are undone."""
    found: list[tuple[str, ...]] = []

    def work(conn: Connection) -> None:
        _tamper(conn, *statements, **values)
        found.append(verify(conn, ledger.vault, ledger.app.id, {}).problems)
        raise _Undo

    with pytest.raises(_Undo):
        ledger.write(work)
    return found[0]


@pytest.fixture
def story(ledger: Ledger) -> Ledger:
    """v1 to v6, of which v4 failed."""
    ledger.deploy("aaa")
    ledger.configure(FOO="bar")
    ledger.settle(ledger.deploy("bbb", "pending"), "failed", "exit 1")
    ledger.settle(ledger.deploy("ccc", "pending"), "succeeded")
    ledger.roll_back()
    return ledger


def heads(ledger: Ledger) -> dict[int, str]:
    return {each.version: each.short for each in ledger.all()}


def test_an_untouched_ledger_verifies(story: Ledger) -> None:
    report = story.verify(heads(story))
    assert (report.ok, report.releases, report.problems) == (True, 6, ())


def test_no_releases_are_no_problem(ledger: Ledger) -> None:
    report = ledger.read(lambda conn: verify(conn, ledger.vault, "another", {}))
    assert (report.ok, report.releases) == (True, 0)


CHANGES = {
    "version": "version + 100",
    "kind": "'deploy?'",
    "description": "'Deploy something else'",
    "slug_id": "NULL",
    "commit": "'fff'",
    "process_types": '\'{"web":"evil"}\'',
    "config_sealed": ":other",
    "attachments": "'[\"evil\"]'",
    "stack": "'oriel-0'",
    "buildpacks": "'[\"evil\"]'",
    "state": ":other",
    "act_id": "act_id - 1",
    "by_id": "'somebody'",
    "by_email": "'somebody@else.org'",
    "copy_of": "1",
    "previous_mac": ":other",
    "previous_status_mac": ":other",
    "mac": ":other",
}


@pytest.mark.parametrize("version", [2, 6])
def test_a_changed_column_is_found(story: Ledger, version: int) -> None:
    for column, value in CHANGES.items():
        values = {"other": b"\0" * 32} if value == ":other" else {}
        statement = f'UPDATE releases SET "{column}" = {value} WHERE version = {version}'
        changed = version + 100 if column == "version" else version
        assert f"v{changed} was changed." in after(story, statement, **values), column
    assert story.verify().ok


def test_every_column_is_tried() -> None:
    untried = set(tables.releases.c.keys()) - set(CHANGES)
    assert untried == {"id", "app_id", "created_at"}  # below, in their own ways


def test_a_changed_time_is_found(story: Ledger) -> None:
    later = {
        "sqlite": "created_at + 1",
        "postgresql": "created_at + interval '1 microsecond'",
    }[story.read(lambda conn: conn.dialect.name)]
    tamper(story, f"UPDATE releases SET created_at = {later} WHERE version = 3")
    assert story.verify().problems == ("v3 was changed.",)


def test_a_changed_id_is_found(story: Ledger) -> None:
    tamper(
        story,
        "UPDATE release_statuses SET release_id = 'x' WHERE release_id ="
        " (SELECT id FROM releases WHERE version = 3)",
        "UPDATE releases SET id = 'x' WHERE version = 3",
    )
    assert "v3 was changed." in story.verify().problems


def test_a_release_given_to_another_app_is_missed_by_both(story: Ledger) -> None:
    other = story.write(lambda conn: story.create(conn, "other"))
    tamper(story, f"UPDATE releases SET app_id = '{other.id}', slug_id = NULL WHERE version = 3")
    assert story.verify().problems == ("v3 was removed.",)
    story.app = other
    assert "v3 was changed." in story.verify().problems


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ([1], "v1 was removed."),
        ([3], "v3 was removed."),
        ([1, 2], "v1 to v2 were removed."),
        ([2, 3, 4], "v2 to v4 were removed."),
    ],
)
def test_a_removed_row_is_found(story: Ledger, versions: list[int], found: str) -> None:
    _remove(story, versions)
    assert story.verify().problems == (found,)


@pytest.mark.parametrize("versions", [[6], [5, 6], [1, 2, 3, 4, 5, 6]])
def test_a_cut_tail_is_found_by_what_the_channel_kept(story: Ledger, versions: list[int]) -> None:
    kept = heads(story)
    _remove(story, versions)
    assert story.verify(kept).problems == tuple(
        f"v{each} was removed: the log channel has it as created with {kept[each]}."
        for each in versions
    )


def test_a_tail_cut_and_written_anew_is_found(story: Ledger) -> None:
    kept = heads(story)
    _remove(story, [6])
    again = story.deploy("ddd")
    assert again.version == 6
    assert story.verify().ok
    assert story.verify(kept).problems == (
        f"v6 is {again.short}, and the log channel says {kept[6]}.",
    )


def test_an_older_row_put_in_anothers_place_is_found(story: Ledger) -> None:
    """The old row's own MAC is good: its place in the chain is not."""
    tamper(
        story,
        "UPDATE releases SET version = 100 WHERE version = 2",
        "UPDATE releases SET version = 2 WHERE version = 3",
        "UPDATE releases SET version = 3 WHERE version = 100",
    )
    assert {"v2 was changed.", "v3 was changed."} <= set(story.verify().problems)


STATUS_CHANGES: dict[str, Callable[[str], str]] = {
    "v4: a status entry was changed.": lambda id: (
        f"UPDATE release_statuses SET status = 'succeeded' WHERE release_id = {id} AND ordinal = 2"
    ),
    "v4: the status entry that settled it was removed.": lambda id: (
        f"DELETE FROM release_statuses WHERE release_id = {id} AND ordinal = 2"
    ),
    "v4: a status entry was removed or added.": lambda id: (
        f"DELETE FROM release_statuses WHERE release_id = {id} AND ordinal = 1"
    ),
}


@pytest.mark.parametrize("problem", STATUS_CHANGES)
def test_a_changed_status_is_found_alone_and_by_the_release_after(
    story: Ledger, problem: str
) -> None:
    tamper(story, STATUS_CHANGES[problem]("(SELECT id FROM releases WHERE version = 4)"))
    problems = story.verify().problems
    assert problem in problems
    assert "v4: its status entries were changed after v5 followed." in problems


def test_the_status_of_the_newest_is_sealed_too(ledger: Ledger) -> None:
    """Nothing follows it yet: its own MAC is what finds a failed release made the head."""
    ledger.settle(ledger.deploy("bbb", "pending"), "failed", "exit 1")
    for change in ("status = 'succeeded'", "reason = 'no'", "mac = :other", "ordinal = 3"):
        values = {"other": b""} if ":other" in change else {}
        statement = f"UPDATE release_statuses SET {change} WHERE ordinal = 2"
        assert after(ledger, statement, **values) == ("v2: a status entry was changed.",), change


GARBAGE = ("'nonsense'", "'[1'", "x'00ff'", "'\"\"'", "'null'", "-1")


def test_a_row_that_cannot_be_read_is_found_and_hides_no_other(story: Ledger) -> None:
    if story.read(lambda conn: conn.dialect.name) == "postgresql":
        pytest.skip("PostgreSQL keeps columns to their types by itself")
    for column in ("process_types", "attachments", "config_sealed", "created_at", "mac", "act_id"):
        for value in GARBAGE:
            problems = after(
                story,
                f"UPDATE releases SET {column} = {value} WHERE version = 3",
                "UPDATE releases SET by_email = 'x' WHERE version = 5",
            )
            assert {"v3 was changed.", "v5 was changed."} <= set(problems), (column, value)


def test_another_master_key_cannot_have_signed_these(story: Ledger) -> None:
    story.vault = Vault(bytes(32))
    assert len(story.verify().problems) >= 6


def _remove(ledger: Ledger, versions: list[int]) -> None:
    def work(conn: Connection) -> None:
        listed = ", ".join(map(str, versions))
        if conn.dialect.name == "postgresql":
            conn.execute(text("SET LOCAL session_replication_role = replica"))
        for table in TABLES[::-1]:
            if conn.dialect.name == "sqlite":
                conn.exec_driver_sql(f"DROP TRIGGER {table}_no_delete")
            where = f"version IN ({listed})"
            if table == "release_statuses":
                where = f"release_id IN (SELECT id FROM releases WHERE {where})"
            conn.exec_driver_sql(f"DELETE FROM {table} WHERE {where}")

    ledger.write(work)
