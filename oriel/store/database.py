"""Owns the connections: one writer in a thread of its own, a few readers, one Oriel per database.

Writes are serial and each is a transaction, committed together with those that wait beside it; a
read sees one moment. Must not know any table.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from oriel.clock import Clock
from oriel.faults import Invalid
from oriel.store import engines, group, migrations
from oriel.store.lanes import Job, ReadLane, WriteLane, tell_all
from oriel.store.lock import FileLock, give_session_lock_back, take_session_lock
from oriel.store.trouble import as_faults

T = TypeVar("T")
Work = Callable[[Connection], T]

READERS = 4

_log = logging.getLogger(__name__)


class Database:
    """The records in SQL, in SQLite or PostgreSQL."""

    on_outbox: Callable[[], object] | None
    """Called from the writer thread after the commit of a transaction that posted a line."""

    def __init__(self, url: URL, lock: FileLock | None, clock: Clock) -> None:
        """Use `open`, which also takes the lock and migrates."""
        self.on_outbox = None
        self._lock = lock
        self._clock = clock
        self._write_engine = engines.writer(url)
        self._read_engine = engines.reader(url, READERS)
        self._writing: Connection | None = None
        self._write_lane = WriteLane("oriel-writer", self._carry_out)
        self._read_lane = ReadLane("oriel-reader", READERS)

    @classmethod
    def open(cls, url: str, clock: Clock) -> Database:
        """Open, lock and migrate the database of `sqlite:////abs/path` or `postgresql://...`.

        Raises Conflict when another Oriel has it or made it with a newer version.
        """
        parsed = _parse(url)
        lock = None
        if parsed.get_backend_name() == "sqlite":
            path = Path(parsed.database or "")
            lock = FileLock(path.with_name(path.name + ".lock"), clock.wall())
            # SQLite would make it readable for everyone; the -wal and -shm files take its mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = cls(parsed, lock, clock)
        try:
            database.write_now(migrations.upgrade)
        except BaseException:
            database.close()
            raise
        return database

    async def write(self, work: Work[T]) -> T:
        """Run `work` as a transaction of its own, after all that were asked for before it; comes
        back when it is committed.

        `work` changes nothing but the database: it may be carried out a second time, when the
        first was undone. When the caller is cancelled, work that has begun is still committed.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._write_lane.submit(Job(work, answer, loop))
        return await answer

    async def read(self, work: Work[T]) -> T:
        """Run `work` beside other reads; it sees the database as of one moment."""
        return await asyncio.wrap_future(self._read_lane.submit(lambda: self._read(work)))

    def write_now(self, work: Work[T]) -> T:
        """As `write`, blocking: for start-up and tests. Never from inside another `work`."""
        answer: Future[T] = Future()
        self._write_lane.submit(Job(work, answer, None))
        return answer.result()

    def read_now(self, work: Work[T]) -> T:
        """As `read`, blocking."""
        return self._read_lane.submit(lambda: self._read(work)).result()

    def close(self) -> None:
        """Finish what was asked for, close every connection, give the lock back. Repeatable."""
        self._read_lane.close()
        self._write_lane.close(self._leave)
        self._read_engine.dispose()
        self._write_engine.dispose()
        if self._lock:
            self._lock.close()
            self._lock = None

    def _carry_out(self, jobs: Sequence[Job]) -> None:
        """All of these writes, in as few commits as may be, each answered behind its own. Only in
        the writer thread.
        """
        while jobs:
            count, posted = self._commit(jobs)
            if posted and self.on_outbox:
                try:
                    self.on_outbox()
                except Exception:  # it is committed: no listener may turn it into a failure
                    _log.exception("the outbox's listener failed")
            tell_all(jobs[:count])
            jobs = jobs[count:]

    def _commit(self, jobs: Sequence[Job]) -> tuple[int, bool]:
        """One commit of the first of these writes; how many, and whether a line was posted."""
        try:
            with as_faults():
                conn = self._writer()
        except BaseException as error:
            for job in jobs:
                job.error = error
            return len(jobs), False
        made = group.carry_out(conn, jobs, self._clock.monotonic_s)
        posted = [self._commit([job])[1] for job in made.again]
        return made.begun, any((made.posted, *posted))

    def _read(self, work: Work[T]) -> T:
        with as_faults(), self._read_engine.connect() as conn, conn.begin():
            return work(conn)

    def _writer(self) -> Connection:
        """The writer's own connection, alive and under the lock. Only in the writer thread."""
        if self._writing is not None and not _alive(self._writing):
            self._leave()
        if self._writing is None:
            conn = self._write_engine.connect()
            if conn.dialect.name == "postgresql":
                try:
                    take_session_lock(conn)
                    conn.commit()
                except BaseException:
                    conn.invalidate()
                    conn.close()
                    raise
            self._writing = conn
        return self._writing

    def _leave(self) -> None:
        conn, self._writing = self._writing, None
        if conn is not None:
            if conn.dialect.name == "postgresql":
                give_session_lock_back(conn)
            # Really closed, not kept in the pool: PostgreSQL's lock ends with the session.
            conn.invalidate()
            conn.close()


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    backend = parsed.get_backend_name() if parsed else ""
    if parsed and backend == "sqlite" and parsed.database and Path(parsed.database).is_absolute():
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed and backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    # The URL is not shown: it may hold a password.
    raise Invalid(
        "The database URL is not one Oriel can use.",
        hint="Use sqlite:////absolute/path.db or postgresql://USER@HOST/NAME.",
    )


def _alive(conn: Connection) -> bool:
    """Whether the session still answers; one that lost its server lost the lock too."""
    if conn.closed or conn.invalidated:
        return False
    if conn.dialect.name != "postgresql":
        return True
    try:
        conn.execute(text("SELECT 1"))
        conn.rollback()
    except DBAPIError:
        return False
    return True
