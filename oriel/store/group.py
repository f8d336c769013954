"""Owns writes that are one commit: who asks while a commit is under way shares the next one.

A commit waits for the disk; a hundred dynos that start are not to wait a hundred times. Each write
has a savepoint of its own: one that fails leaves nothing, and the others stay. Nobody is answered
before the commit, so a kill at any moment loses nothing that was acknowledged. What is undone for
another's sake is carried out again, alone. Must not know what is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from oriel.store.lanes import Job
from oriel.store.outbox import POSTED
from oriel.store.trouble import as_faults

GROUP_S = 0.02
"""No write joins others that began so long ago: they are answered first."""

_BEGIN, _KEEP, _UNDO = (
    "SAVEPOINT one_of_many",
    "RELEASE SAVEPOINT one_of_many",
    "ROLLBACK TO SAVEPOINT one_of_many",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some writes; of each by itself, the job says."""

    begun: int
    """How many of them, from the first on."""
    posted: bool
    """Whether one that was committed posted a line."""
    again: tuple[Job, ...] = ()
    """Those that were undone for another's sake. Nothing of them was committed, for sure."""


def carry_out(conn: Connection, jobs: Sequence[Job], monotonic_s: Callable[[], float]) -> Outcome:
    """Run the first of these writes, as many as may be one commit, and commit them."""
    begun: list[Job] = []
    posted = is_complete = False
    until_s = monotonic_s() + GROUP_S
    try:
        with as_faults(), conn.begin():
            for job in jobs:
                begun.append(job)
                posted |= _with_others(conn, job) if len(jobs) > 1 else _alone(conn, job)
                if monotonic_s() >= until_s:
                    break
            is_complete = True
    except BaseException as error:
        left = tuple(job for job in begun if job.error is None)
        # Whether a commit that failed was one, nobody may know; but one without room was none.
        if len(begun) > 1 and (not is_complete or _is_full(error)):
            return Outcome(len(begun), False, left)
        for job in left:
            job.error = error
        posted = False
    return Outcome(len(begun), posted)


def _alone(conn: Connection, job: Job) -> bool:
    conn.info.pop(POSTED, None)
    job.result = job.work(conn)
    return bool(conn.info.pop(POSTED, False))


def _with_others(conn: Connection, job: Job) -> bool:
    """One of some. Raises where nothing is left of any of them: an error that ends the transaction
    (a full disk may) ends it for those before it too.
    """
    conn.exec_driver_sql(_BEGIN)
    try:
        with as_faults():
            posted = _alone(conn, job)
    except BaseException as error:
        job.error = error
        conn.exec_driver_sql(_UNDO)
        posted = False
    conn.exec_driver_sql(_KEEP)
    return posted


def _is_full(error: BaseException) -> bool:
    code = getattr(getattr(error.__cause__, "orig", None), "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL
