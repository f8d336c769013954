"""The migrations make exactly what the rooms describe, and append-only tables refuse changes."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    Inspector,
    MetaData,
    Table,
    create_engine,
    insert,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import DBAPIError

from oriel.clock import SystemClock
from oriel.faults import Conflict
from oriel.store import Database, metadata, migrations
from tests.postgres import BOTH, server

ROOMS = ("store.outbox", "people.tables", "ledger.tables", "manifold.tables", "builder.tables")
TABLES = {
    "accounts", "acme_accounts", "acme_orders", "acts", "app_acme", "app_checks", "app_features",
    "app_idling", "apps", "builds", "certificates", "crash_loops", "domains", "dyno_events",
    "formations", "invitations", "memberships", "outbox", "release_statuses", "releases", "slugs",
    "tokens",
}  # fmt: skip
APPEND_ONLY = ("acts", "dyno_events", "release_statuses", "releases")
NOW = datetime(2011, 6, 19, tzinfo=UTC)

for room in ROOMS:
    if importlib.util.find_spec(f"oriel.{room}"):
        importlib.import_module(f"oriel.{room}")


def _shape(inspector: Inspector) -> dict[str, Any]:
    """Everything about a schema that two equal ones have in common."""
    tables = {}
    for table in inspector.get_table_names():
        columns = {
            column["name"]: (
                column["type"].compile(inspector.dialect),
                column["nullable"],
                column["default"] is None,
            )
            for column in inspector.get_columns(table)
        }
        tables[table] = {
            "columns": columns,
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(
                (each["name"] or "", each["column_names"])
                for each in inspector.get_unique_constraints(table)
            ),
            "indexes": sorted(
                (each["name"], each["column_names"], each["unique"], _where(each))
                for each in inspector.get_indexes(table)
            ),
            "foreign": sorted(
                (each["constrained_columns"], each["referred_table"], each["referred_columns"])
                for each in inspector.get_foreign_keys(table)
            ),
        }
    tables.pop("alembic_version", None)
    return tables


def _where(index: Any) -> str:
    options = index.get("dialect_options", {})
    return str(options.get("sqlite_where", options.get("postgresql_where", "")))


@pytest.mark.parametrize("kind", BOTH)
def test_the_migrated_schema_is_what_the_rooms_describe(kind: str, tmp_path: Path) -> None:
    if kind == "postgresql":
        migrated, described = server().new(), server().new()
    else:
        migrated, described = (f"sqlite:///{tmp_path}/{name}.db" for name in "ab")
    Database.open(migrated, SystemClock()).close()
    shapes = []
    awaited = TABLES - set(metadata.tables)
    for url in (migrated, described):
        engine = create_engine(make_url(url).set(drivername=f"{kind}+{_driver(kind)}"))
        if url == described:
            metadata.create_all(engine)
        shape = _shape(inspect(engine))
        shapes.append({name: table for name, table in shape.items() if name not in awaited})
        if kind == "sqlite":
            with engine.connect() as conn:
                shapes[-1]["autoincrement"] = _autoincrement(conn) - awaited
        engine.dispose()
    assert shapes[0] == shapes[1]


def test_every_table_has_a_room() -> None:
    """The rooms of issue 2 have described all that the migrations make."""
    missing = [room for room in ROOMS if not importlib.util.find_spec(f"oriel.{room}")]
    if missing:
        pytest.skip(f"not written yet: {', '.join(missing)}")
    assert set(metadata.tables) == TABLES


def _driver(kind: str) -> str:
    return {"sqlite": "pysqlite", "postgresql": "psycopg"}[kind]


def _autoincrement(conn: Connection) -> set[str]:
    statement = "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"
    return set(conn.execute(text(statement)).scalars())


def test_opening_again_changes_nothing(database: Database, url: str) -> None:
    before = database.read_now(lambda conn: _shape(inspect(conn)))
    database.close()
    again = Database.open(url, SystemClock())
    assert again.read_now(lambda conn: _shape(inspect(conn))) == before
    again.close()


def test_what_needs_no_step_is_opened_without_what_makes_them(database: Database, url: str) -> None:
    """Control, started again after a kill, is waited for."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert migrations.newest() == ScriptDirectory.from_config(config).get_current_head()
    assert database.read_now(migrations.shape) == migrations.newest()
    database.close()
    opens = (
        "import sys; from oriel.clock import SystemClock; from oriel.store import Database;"
        "Database.open(sys.argv[1], SystemClock()).close(); print('alembic' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", opens, url], capture_output=True, text=True)
    assert said.stdout == "False\n", said.stderr


def test_a_database_of_a_newer_oriel_is_refused(database: Database, url: str) -> None:
    database.write_now(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    database.close()
    with pytest.raises(Conflict, match="does not know") as caught:
        Database.open(url, SystemClock())
    assert "newer" in caught.value.hint


ROWS: dict[str, dict[str, Any]] = {
    "acts": {
        "app_id": None, "verb": "login", "actor_id": "", "actor_email": "ned@foobazco.com",
        "door": "api", "request_id": "", "detail": {}, "at": NOW,
    },
    "dyno_events": {
        "app_id": "a", "instance": "i", "name": "web.1", "type": "web", "number": 1,
        "release": 1, "state": "up", "at": NOW, "cause": "", "detail": {},
    },
    "apps": {
        "id": "a", "name": "foobaz", "uid": 1, "owner_id": "o", "owner_email": "o@x.y",
        "channel": "c", "stack": "s", "maintenance": False, "wrapped_key": b"k",
        "created_at": NOW, "updated_at": NOW,
    },
    "releases": {
        "id": "r", "app_id": "a", "version": 1, "kind": "initial", "description": "",
        "commit": "", "process_types": {}, "config_sealed": b"", "attachments": [],
        "stack": "s", "buildpacks": [], "state": b"", "act_id": 1, "by_id": "", "by_email": "",
        "created_at": NOW, "previous_mac": b"", "previous_status_mac": b"", "mac": b"",
    },
    "release_statuses": {
        "release_id": "r", "ordinal": 1, "status": "succeeded", "reason": "", "at": NOW,
        "mac": b"",
    },
}  # fmt: skip

CHANGES = {
    "update": "UPDATE {table} SET {column} = {column}",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table} CASCADE",
    "replace": "INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
}
COLUMNS = {"acts": "verb", "dyno_events": "cause", "release_statuses": "status", "releases": "kind"}


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_append_only_tables_refuse_every_change(database: Database, table: str) -> None:
    def rows(conn: Connection) -> list[Any]:
        return list(conn.execute(text(f"SELECT * FROM {table}")))

    def fill(conn: Connection) -> list[Any]:
        for name, row in ROWS.items():
            # As the database has it, not as a room describes it.
            real = Table(name, MetaData(), autoload_with=conn)
            now = NOW if conn.dialect.name == "postgresql" else 1_308_472_518_000_000
            conn.execute(insert(real).values({k: now if v is NOW else v for k, v in row.items()}))
        return rows(conn)

    before = database.write_now(fill)
    assert len(before) == 1
    dialect = database.read_now(lambda conn: conn.dialect.name)
    for verb, statement in CHANGES.items():
        if verb in {"postgresql": ("replace",), "sqlite": ("truncate",)}[dialect]:
            continue
        sql = text(statement.format(table=table, column=COLUMNS[table]))
        with pytest.raises(DBAPIError, match="append-only"):
            database.write_now(lambda conn, sql=sql: conn.execute(sql))
    assert database.read_now(rows) == before
