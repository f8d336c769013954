"""Every test of this room that asks for a `database` or `ledger` runs on both databases."""

from __future__ import annotations

import pytest

from oriel.store import Database
from tests.ledger.world import Ledger
from tests.postgres import database, url

__all__ = ["database", "url"]


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """An app with its initial release."""
    return Ledger(database)
