"""Owns the records of builds and all their SQL. Must not know how building is done.

Functions take a connection and belong to the caller's transaction. A build is `pending` until it
is finished, once; its transcript is a file that the `Builder` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, desc, insert, select, update

from oriel.builder.tables import builds
from oriel.faults import Conflict, NotFound

Status = Literal["pending", "succeeded", "failed"]

ABANDONED = "The platform was restarted while this build ran. Push again."
"""The message of a build that a kill of control ended."""

MESSAGE_CHARACTERS_MAX = 4000


@dataclass(frozen=True, slots=True)
class Build:
    """One attempt to make a slug of a commit."""

    id: str
    app_id: str
    commit: str
    by_id: str
    by_email: str
    status: Status
    message: str
    """Why it failed; empty when it did not."""
    slug_id: str | None
    release: int | None
    created_at: datetime
    finished_at: datetime | None


def start(
    conn: Connection,
    *,
    build_id: str,
    app_id: str,
    commit: str,
    by_id: str,
    by_email: str,
    now: datetime,
) -> Build:
    """Record that a build begins."""
    build = Build(build_id, app_id, commit, by_id, by_email, "pending", "", None, None, now, None)
    build_insert = insert(builds).values(
        id=build.id,
        app_id=build.app_id,
        commit=build.commit,
        by_id=build.by_id,
        by_email=build.by_email,
        status=build.status,
        message=build.message,
        created_at=build.created_at,
    )
    conn.execute(build_insert)
    return build


def finish(
    conn: Connection,
    build: Build,
    status: Literal["succeeded", "failed"],
    message: str,
    slug_id: str | None,
    release: int | None,
    now: datetime,
) -> Build:
    """Record how a build ended; Conflict when that is known already."""
    build_finish = (
        update(builds)
        .where(builds.c.id == build.id, builds.c.status == "pending")
        .values(
            status=status,
            message=message[:MESSAGE_CHARACTERS_MAX],
            slug_id=slug_id,
            release=release,
            finished_at=now,
        )
    )
    if conn.execute(build_finish).rowcount != 1:
        raise Conflict(f"Build {build.id} is finished already.")
    return get(conn, build.app_id, build.id)


def get(conn: Connection, app_id: str, build_id: str) -> Build:
    """One build of an app; a beginning of its id that only it has will do. NotFound else."""
    wanted = build_id.lower()
    build_by_id = select(builds).where(
        builds.c.app_id == app_id, builds.c.id.startswith(wanted, autoescape=True)
    )
    rows = conn.execute(build_by_id.limit(2)).all() if len(wanted) >= 4 else []
    if len(rows) != 1:
        raise NotFound("Couldn't find that build.", hint="oriel builds", resource="build")
    return _build(rows[0])


def of_app(conn: Connection, app_id: str, limit: int = 10) -> list[Build]:
    """An app's builds, the newest first."""
    builds_of_app = (
        select(builds)
        .where(builds.c.app_id == app_id)
        .order_by(desc(builds.c.created_at), desc(builds.c.id))
        .limit(limit)
    )
    return [_build(row) for row in conn.execute(builds_of_app)]


def abandoned(conn: Connection) -> list[Build]:
    """The builds that are pending, the oldest first: at start-up nobody works on them."""
    builds_pending = (
        select(builds).where(builds.c.status == "pending").order_by(builds.c.created_at)
    )
    return [_build(row) for row in conn.execute(builds_pending)]


def fail_abandoned(conn: Connection, now: datetime) -> list[Build]:
    """Finish at start-up what a kill of control left pending."""
    return [finish(conn, build, "failed", ABANDONED, None, None, now) for build in abandoned(conn)]


def _build(row: Row[Any]) -> Build:
    return Build(**row._mapping)
