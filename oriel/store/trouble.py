"""Owns what a database's own errors mean to who asked. Must not know what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from oriel.faults import Unavailable


@contextmanager
def as_faults() -> Iterator[None]:
    """Turn a database that is away, full, locked or damaged into Unavailable."""
    try:
        yield
    except PoolTimeout:
        raise Unavailable("Every reader of the database is busy.", hint="Try again.") from None
    except (DatabaseError, InterfaceError) as error:
        if not _away(error):
            raise
        why = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
        raise Unavailable(
            f"The database cannot be used: {why}.",
            hint="Check its disk, its permissions and whether it runs; then try again.",
        ) from error


def _away(error: DBAPIError) -> bool:
    """Whether the database itself is at fault, not the statement."""
    if isinstance(error, OperationalError):
        # SQLite calls a wrong statement operational too; its code for that is 1.
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF != 1
    # SQLite's way to say that the file is damaged or no database.
    return type(error) in (DatabaseError, InterfaceError)
