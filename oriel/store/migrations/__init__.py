"""Owns the steps from one shape of the database to the next. Must not know what tables mean.

Each step is a module in `versions`, literal and never edited after a release: it must not import
a room's tables, which move on.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from oriel.faults import Conflict


def upgrade(conn: Connection) -> None:
    """Bring the database to the newest shape, in the transaction that `conn` is in."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = conn
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Conflict(
            f"The database has a shape that this Oriel does not know: {error}.",
            hint="It was made by a newer version: start that one.",
        ) from error
