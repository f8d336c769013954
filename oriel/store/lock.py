"""Owns the rule that one Oriel at a time writes a database.

SQLite: `flock` on a file beside it, which says who holds it. PostgreSQL: an advisory lock of the
very session that writes, so that a session which lost the lock cannot write either. Both end with
their holder, however it ends. Must not know what the database holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from oriel.faults import Conflict, Unavailable

_KEY = 0x4F7269656C
"""Oriel's advisory lock: the letters of its name. Advisory locks are a database's own."""

_HINT = "Stop the other one first (`oriel down`), or give this one a database of its own."

_patience = text("SET LOCAL lock_timeout = '2s'")
_wait_for_lock = text("SELECT pg_advisory_lock(:key)")
_unlock = text("SELECT pg_advisory_unlock(:key)")
_lock_holder = text(
    "SELECT a.pid, coalesce(host(a.client_addr), 'this machine') AS host, a.backend_start"
    " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
    " JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
    " AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
)


class FileLock:
    """The lock of an SQLite database; held until `close` or the end of the process."""

    def __init__(self, path: Path, now: datetime) -> None:
        """Take the lock; raises Conflict naming the holder."""
        try:
            # Not inherited: a child that outlives us must not hold our database.
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"The database's lock file {path} cannot be opened: {error.strerror}.",
                hint="Check who owns the data directory.",
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise Conflict(
                f"The database {path.with_suffix('')} is in use by {holder or 'another process'}.",
                hint=_HINT,
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(
            self._fd, f"process {os.getpid()} since {now:%Y-%m-%d %H:%M:%S} UTC\n".encode(), 0
        )

    def close(self) -> None:
        """Give the lock back. The file stays: unlinking it would let two hold it."""
        os.close(self._fd)


def take_session_lock(conn: Connection) -> None:
    """Take PostgreSQL's lock for this session; raises Conflict naming the holder.

    The session of one that was killed a moment ago may still be there, so it is waited for.
    """
    try:
        conn.execute(_patience)
        conn.execute(_wait_for_lock, {"key": _KEY})
        return
    except OperationalError:
        conn.rollback()
    row = conn.execute(_lock_holder, {"key": _KEY}).first()
    who = (
        f"server process {row.pid}, connected from {row.host}"
        f" since {row.backend_start:%Y-%m-%d %H:%M:%S} UTC"
        if row
        else "another process"
    )
    raise Conflict(f"The database is in use by another Oriel ({who}).", hint=_HINT)


def give_session_lock_back(conn: Connection) -> None:
    """Give PostgreSQL's lock back now, and not when the server has seen the session's end."""
    with contextlib.suppress(DBAPIError):
        conn.rollback()
        conn.execute(_unlock, {"key": _KEY})
        conn.commit()
