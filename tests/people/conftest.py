"""Every test of this room that asks for a `database` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from tests.postgres import database, url

__all__ = ["database", "url"]
