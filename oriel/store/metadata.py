"""Owns the one `metadata` that rooms define their tables on, and the types of both databases.

Must not know any table's meaning. A room writes `Table("things", metadata, Column("id", Serial,
primary_key=True), Column("at", Moment, nullable=False), ..., sqlite_autoincrement=True)` in its
own `tables.py`; the DDL itself is in `store/migrations/versions`, and a test holds the two equal.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, MetaData
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = MetaData()
"""Every table of the records in SQL."""

Serial = BigInteger().with_variant(Integer, "sqlite")
"""An ascending number given by the database. With `sqlite_autoincrement=True` on the table it is
never given twice, even after the row is deleted; the outbox depends on that."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """A moment in UTC to the microsecond: timestamptz in PostgreSQL, microseconds in SQLite.

    Comes back aware, in UTC, from both; a time without a zone is refused.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type in one of the databases."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> object:
        """On the way in."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        return value if dialect.name == "postgresql" else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:
        """On the way out."""
        if value is None:
            return None
        if isinstance(value, int):
            return _EPOCH + timedelta(microseconds=value)
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        raise TypeError(f"not a moment: {value!r}")
