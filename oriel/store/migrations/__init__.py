"""Owns the steps from one shape of the database to the next. Must not know what tables mean.

Each step is a module in `versions`, literal and never edited after a release: it must not import
a room's tables, which move on.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from oriel.faults import Conflict

_HERE = Path(__file__).parent


def upgrade(conn: Connection) -> None:
    """Bring the database to the newest shape, in the transaction that `conn` is in."""
    if shape(conn) == newest():
        return
    # A start that has nothing to do, as after a kill, does not wait for this to be imported.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = conn
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Conflict(
            f"The database has a shape that this Oriel does not know: {error}.",
            hint="It was made by a newer version: start that one.",
        ) from error


def newest() -> str:
    """The last step's number."""
    return max(each.name.partition("_")[0] for each in (_HERE / "versions").glob("[0-9]*_*.py"))


def shape(conn: Connection) -> str | None:
    """The last step that was done; None where none was, or nobody can tell."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    found = conn.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return str(found[0]) if len(found) == 1 else None
