"""Owns how a connection of either database is set up. Must not know who uses it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

BUSY_S = 10
"""How long a statement waits for somebody else's lock (a backup, a shell)."""

_SQLITE_ALWAYS = (
    f"PRAGMA busy_timeout = {BUSY_S * 1000}",
    "PRAGMA foreign_keys = ON",
    # Without it INSERT OR REPLACE deletes rows past the triggers that keep them.
    "PRAGMA recursive_triggers = ON",
)
_SQLITE_WRITER = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 67108864",
)
_SQLITE_READER = ("PRAGMA query_only = ON",)

_POSTGRES_ALWAYS = (
    "SET TIME ZONE 'UTC'",
    f"SET lock_timeout = '{BUSY_S}s'",
)


def writer(url: URL) -> Engine:
    """An engine for the one connection that writes."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, 1, (*_SQLITE_ALWAYS, *_SQLITE_WRITER), "BEGIN IMMEDIATE")
    return _postgres(url, 1)


def reader(url: URL, connections: int) -> Engine:
    """An engine whose connections refuse to write and see one moment per transaction."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, connections, (*_SQLITE_ALWAYS, *_SQLITE_READER), "BEGIN")
    return _postgres(url, connections).execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    )


def _sqlite(url: URL, connections: int, settings: tuple[str, ...], begin: str) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # what is bound to a statement may be a secret
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        # The driver's own BEGIN comes too late and never covers DDL; ours is below.
        connection.isolation_level = None
        for statement in settings:
            connection.execute(statement)

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine


def _postgres(url: URL, connections: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BUSY_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": BUSY_S,
            "application_name": "oriel",
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
        },
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        autocommit, connection.autocommit = connection.autocommit, True
        for statement in _POSTGRES_ALWAYS:
            connection.execute(statement)
        connection.autocommit = autocommit

    return engine
