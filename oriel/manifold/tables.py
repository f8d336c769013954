"""Owns the shape of the manifold's tables. Dyno events are append-only: the database itself refuses
anything else. Crash loops are what is not in them yet.

Their DDL is in the store's migrations; a test holds the two equal.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Index, Integer, Table, Text

from oriel.store.metadata import Moment, Serial, metadata

dyno_events = Table(
    "dyno_events",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("app_id", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("release", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("cause", Text, nullable=False),
    Column("detail", JSON, nullable=False),
    Index("dyno_events_app", "app_id", "at"),
    Index("dyno_events_instance", "instance"),
    Index("dyno_events_name", "app_id", "name", "id"),
    sqlite_autoincrement=True,
)

crash_loops = Table(
    "crash_loops",
    metadata,
    Column("app_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("number", Integer, nullable=False),
    # The try under way, or else the last one.
    Column("instance", Text, nullable=False),
    Column("release", Integer, nullable=False),
    Column("began_at", Moment, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("is_running", Boolean, nullable=False),
    # The crashes since the last summary.
    Column("crashes", Integer, nullable=False),
    Column("first_at", Moment),
    Column("last_at", Moment),
    Column("statuses", JSON, nullable=False),
)
