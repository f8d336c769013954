"""Owns the SQL engine, the migrations and the outbox; must not know any table's meaning.

In reading order: `metadata` (column types of both databases), `database` (one writer, some
readers), `lanes` (their threads), `group` (writes that are one commit), `trouble` (what goes
wrong), `lock` (one Oriel per database), `outbox` (lines owed to the channels), `migrations`.
"""

from oriel.store.database import Database
from oriel.store.metadata import Moment, Serial, metadata
from oriel.store.outbox import Line, Posted

__all__ = ["Database", "Line", "Moment", "Posted", "Serial", "metadata"]
