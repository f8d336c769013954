from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from oriel.builder import builds
from oriel.clock import SystemClock
from oriel.faults import Conflict, NotFound
from oriel.store.database import Database

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
A, B = "aaaa0000-0000-4000-8000-000000000000", "aaaa1111-0000-4000-8000-000000000000"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path}/oriel.db", SystemClock())
    yield database
    database.close()


def start(conn: Connection, build_id: str, at: datetime = NOW, app_id: str = "app") -> builds.Build:
    return builds.start(
        conn,
        build_id=build_id,
        app_id=app_id,
        commit="d706b4a",
        by_id="1",
        by_email="ned@foobazco.com",
        now=at,
    )


def test_a_build_is_finished_once(db: Database) -> None:
    begun = db.write_now(lambda conn: start(conn, A))
    assert (begun.status, begun.created_at, begun.finished_at) == ("pending", NOW, None)
    later = NOW + timedelta(seconds=9)
    done = db.write_now(lambda conn: builds.finish(conn, begun, "succeeded", "", "d1", 74, later))
    assert (done.status, done.slug_id, done.release, done.finished_at) == (
        "succeeded",
        "d1",
        74,
        later,
    )
    with pytest.raises(Conflict):
        db.write_now(lambda conn: builds.finish(conn, begun, "failed", "no", None, None, later))
    assert db.read_now(lambda conn: builds.get(conn, "app", A)) == done


def test_newest_first_and_by_the_beginning_of_an_id(db: Database) -> None:
    def work(conn: Connection) -> None:
        start(conn, A)
        start(conn, B, NOW + timedelta(seconds=1))
        start(conn, "cccc", NOW, "other")

    db.write_now(work)
    assert [b.id for b in db.read_now(lambda conn: builds.of_app(conn, "app"))] == [B, A]
    assert db.read_now(lambda conn: builds.get(conn, "app", "AAAA1")).id == B
    for text in ("aaaa", "aaa", "", "%%%%", "cccc"):
        with pytest.raises(NotFound) as caught:
            db.read_now(lambda conn, text=text: builds.get(conn, "app", text))  # type: ignore[misc]
        assert caught.value.resource == "build"


def test_what_a_kill_left_pending_is_failed(db: Database) -> None:
    def work(conn: Connection) -> None:
        builds.finish(conn, start(conn, A), "failed", "why", None, None, NOW)
        start(conn, B)

    db.write_now(work)
    assert [b.id for b in db.read_now(builds.abandoned)] == [B]
    failed = db.write_now(lambda conn: builds.fail_abandoned(conn, NOW))
    assert [(b.id, b.status, b.message) for b in failed] == [(B, "failed", builds.ABANDONED)]
    assert db.read_now(builds.abandoned) == []
