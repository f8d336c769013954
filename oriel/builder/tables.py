"""Owns the table of builds. Its DDL is in the store's migrations; a test holds the two equal."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from oriel.store.metadata import Moment, metadata

builds = Table(
    "builds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("app_id", Text, nullable=False),
    Column("commit", Text, nullable=False),
    Column("by_id", Text, nullable=False),
    Column("by_email", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("slug_id", Text, nullable=True),
    Column("release", Integer, nullable=True),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment, nullable=True),
    Index("builds_app", "app_id", "created_at"),
)
