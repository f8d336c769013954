"""Owns what is known of each slug an app was given. Must not know where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, select

from oriel.faults import NotFound
from oriel.ledger.tables import slugs


@dataclass(frozen=True, slots=True)
class Slug:
    """A built tree, known by the digest of its content."""

    id: str
    app_id: str
    commit: str
    process_types: Mapping[str, str]
    size_bytes: int
    language: str
    checksum: str
    created_at: datetime


_slug_insert = sa.insert(slugs)


def insert(conn: Connection, slug: Slug) -> None:
    """Note a slug. The same digest twice is fine: the first note stays."""
    if _find(conn, slug.app_id, slug.id) is None:
        values = {field: getattr(slug, field) for field in Slug.__slots__}
        conn.execute(_slug_insert, {**values, "process_types": dict(slug.process_types)})


def get(conn: Connection, app_id: str, id: str) -> Slug:
    """The app's slug of this digest; raises NotFound."""
    slug = _find(conn, app_id, id)
    if slug is None:
        raise NotFound("Couldn't find that slug.", resource="slug")
    return slug


def _find(conn: Connection, app_id: str, id: str) -> Slug | None:
    row = conn.execute(select(slugs).where(slugs.c.app_id == app_id, slugs.c.id == id)).first()
    return Slug(**{field: getattr(row, field) for field in Slug.__slots__}) if row else None
