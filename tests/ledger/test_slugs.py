"""What is known of each slug."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oriel.faults import NotFound
from oriel.ledger import slugs
from tests.ledger.world import Ledger, slug_of


def test_a_slug_is_noted_once(ledger: Ledger) -> None:
    slug = slug_of(ledger.app.id, "abc")
    ledger.write(lambda conn: slugs.insert(conn, slug))
    ledger.write(lambda conn: slugs.insert(conn, replace(slug, commit="def")))
    assert ledger.read(lambda conn: slugs.get(conn, ledger.app.id, slug.id)) == slug


def test_an_app_has_only_its_own(ledger: Ledger) -> None:
    slug = slug_of(ledger.app.id, "abc")
    ledger.write(lambda conn: slugs.insert(conn, slug))
    other = ledger.write(lambda conn: ledger.create(conn, "other"))
    with pytest.raises(NotFound) as caught:
        ledger.read(lambda conn: slugs.get(conn, other.id, slug.id))
    assert caught.value.resource == "slug"
    ledger.write(lambda conn: slugs.insert(conn, replace(slug, app_id=other.id)))
