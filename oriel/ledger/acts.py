"""Owns the record of who did what, through which door. Appended only, in the change's transaction.

Must not know what a verb means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from oriel.ledger.tables import acts
from oriel.lexicon import Actor

_act_insert = insert(acts)
_acts_newest = select(acts).order_by(acts.c.id.desc())
_acts_of_verbs = select(acts).order_by(acts.c.id)


@dataclass(frozen=True, slots=True)
class Act:
    """One change, and who made it."""

    id: int
    app_id: str | None
    verb: str
    actor: Actor
    detail: Mapping[str, Any]
    at: datetime


def append(
    conn: Connection,
    actor: Actor,
    app_id: str | None,
    verb: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> int:
    """Write an act down; gives its id. `detail` must be JSON and hold no secret."""
    result = conn.execute(
        _act_insert,
        {
            "app_id": app_id,
            "verb": verb,
            "actor_id": actor.account_id,
            "actor_email": actor.email,
            "door": actor.door,
            "request_id": actor.request_id,
            "detail": dict(detail),
            "at": now,
        },
    )
    key = result.inserted_primary_key
    assert key is not None  # noqa: S101 - one row, one key
    return int(key[0])


def of_app(conn: Connection, app_id: str, limit: int = 50, before: int | None = None) -> list[Act]:
    """An app's acts, newest first, at most `limit`, those older than act `before`."""
    statement = _acts_newest.where(acts.c.app_id == app_id).limit(limit)
    if before is not None:
        statement = statement.where(acts.c.id < before)
    return [_act(row) for row in conn.execute(statement)]


def up_to(conn: Connection, app_id: str, moment: datetime, limit: int = 50) -> list[Act]:
    """An app's newest acts of those until a moment, newest first."""
    statement = _acts_newest.where(acts.c.app_id == app_id, acts.c.at <= moment).limit(limit)
    return [_act(row) for row in conn.execute(statement)]


def with_verbs(conn: Connection, app_id: str, verbs: Sequence[str]) -> list[Act]:
    """An app's acts of some verbs, oldest first."""
    statement = _acts_of_verbs.where(acts.c.app_id == app_id, acts.c.verb.in_(verbs))
    return [_act(row) for row in conn.execute(statement)]


def _act(row: Row[Any]) -> Act:
    return Act(
        id=row.id,
        app_id=row.app_id,
        verb=row.verb,
        actor=Actor(row.actor_id, row.actor_email, row.door, row.request_id),
        detail=row.detail,
        at=row.at,
    )
