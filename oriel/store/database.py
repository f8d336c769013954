"""Owns the connections: one writer in a thread of its own, a few readers, one Oriel per database.

Writes are serial and each is one transaction; a read sees one moment. Must not know any table.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from oriel.clock import Clock
from oriel.faults import Invalid, Unavailable
from oriel.store import engines, migrations
from oriel.store.lock import FileLock, give_session_lock_back, take_session_lock
from oriel.store.outbox import POSTED

T = TypeVar("T")
Work = Callable[[Connection], T]

READERS = 4
WAITING_MAX = 1000
"""How much work may wait in a lane before more is refused."""

_log = logging.getLogger(__name__)


class Database:
    """The records in SQL, in SQLite or PostgreSQL."""

    on_outbox: Callable[[], object] | None
    """Called from the writer thread after the commit of a transaction that posted a line."""

    def __init__(self, url: URL, lock: FileLock | None) -> None:
        """Use `open`, which also takes the lock and migrates."""
        self.on_outbox = None
        self._lock = lock
        self._write_engine = engines.writer(url)
        self._read_engine = engines.reader(url, READERS)
        self._writing: Connection | None = None
        self._write_lane = _Lane("oriel-writer", 1)
        self._read_lane = _Lane("oriel-reader", READERS)

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
        database = cls(parsed, lock)
        try:
            database.write_now(migrations.upgrade)
        except BaseException:
            database.close()
            raise
        return database

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction of its own, after all that were asked for before it.

        When the caller is cancelled, work that has begun is still carried out and committed.
        """
        return await asyncio.wrap_future(self._write_lane.submit(lambda: self._write(work)))

    async def read(self, work: Work[T]) -> T:
        """Run `work` beside other reads; it sees the database as of one moment."""
        return await asyncio.wrap_future(self._read_lane.submit(lambda: self._read(work)))

    def write_now(self, work: Work[T]) -> T:
        """As `write`, blocking: for start-up and tests. Never from inside another `work`."""
        return self._write_lane.submit(lambda: self._write(work)).result()

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

    def _write(self, work: Work[T]) -> T:
        with _faults():
            conn = self._writer()
            conn.info.pop(POSTED, None)
            with conn.begin():
                result = work(conn)
            posted = conn.info.pop(POSTED, False)
        if posted and self.on_outbox:
            try:
                self.on_outbox()
            except Exception:  # the change is committed: no listener may turn it into a failure
                _log.exception("the outbox's listener failed")
        return result

    def _read(self, work: Work[T]) -> T:
        with _faults(), self._read_engine.connect() as conn, conn.begin():
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


class _Lane:
    """Some threads and a bounded queue before them."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threading.BoundedSemaphore(WAITING_MAX)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue `work`; raises Unavailable when the queue is full or closed."""
        if not self._room.acquire(blocking=False):
            raise Unavailable(
                "Too much is waiting for the database.", hint="Try again in a moment."
            )
        try:
            future = self._pool.submit(work)
        except RuntimeError:
            self._room.release()
            raise Unavailable("The database is closed: Oriel is stopping.") from None
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self, last: Callable[[], None] | None = None) -> None:
        """Finish what is queued, then run `last` in a thread of the lane, and end."""
        if last:
            try:
                self._pool.submit(last)
            except RuntimeError:
                return
        self._pool.shutdown(wait=True)


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


def _away(error: DBAPIError) -> bool:
    """Whether the database itself is at fault, not the statement."""
    if isinstance(error, OperationalError):
        # SQLite calls a wrong statement operational too; its code for that is 1.
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF != 1
    # SQLite's way to say that the file is damaged or no database.
    return type(error) in (DatabaseError, InterfaceError)


@contextmanager
def _faults() -> Iterator[None]:
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
