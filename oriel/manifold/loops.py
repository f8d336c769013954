"""Owns crash loops: from which crash on a dyno's tries are counted instead of told one by one.

The record cannot be edited, so a try that may well be the thousandth like it is kept in one row
that is: begun, up, then counted. What it comes to is appended as one entry, with exact counts, when
the loop ends (a try has been up for a minute, or the dyno is stopped, replaced or scaled away), and
once an hour while it does not. Beginning and counting name the instance, so a kill in between
neither loses nor doubles a crash. Must not know when a dyno is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from oriel.manifold.cause import Cause
from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.tables import crash_loops, dyno_events

TOLD_SINGLY = 5
"""So many crashes in a row are told one by one."""

STEADY_S = 60.0
"""A try that has been up for so long is no mere try any more, and becomes entries."""

TOLD_EVERY = timedelta(hours=1)
"""How often a loop that goes on is summed up."""

_loops = crash_loops.c
_row_of = select(crash_loops).where(
    (_loops.app_id == bindparam("app")) & (_loops.name == bindparam("dyno"))
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What crashes came to: one entry and one line."""

    cause: Cause
    at: datetime
    """When the last of them came."""

    @property
    def line(self) -> str:
        """As the channel has it."""
        words = self.cause.words
        return f"Crash loop: {words}. It is tried again, at most 6 minutes apart"


def is_quiet(crashes: int) -> bool:
    """Whether a try after so many crashes in a row is only counted, should it crash too."""
    return crashes >= TOLD_SINGLY


def begin(conn: Connection, spec: LaunchSpec, detail: Mapping[str, Any], now: datetime) -> None:
    """Another try is made. Twice is the same as once."""
    row = _row(conn, spec)
    values = {
        "instance": spec.instance,
        "release": spec.release,
        "began_at": now,
        "detail": {**detail, "last": row.detail.get("last") if row else None},
        "is_running": True,
    }
    if row is not None:
        conn.execute(update(crash_loops).where(_of(spec)).values(values))
        return
    fixed = {
        "app_id": spec.app_id,
        "name": str(spec.name),
        "type": spec.type,
        "number": spec.number,
    }
    conn.execute(insert(crash_loops).values(**fixed, **values, crashes=0, statuses={}))


def come_up(conn: Connection, spec: LaunchSpec, now: datetime) -> None:
    """The try is up, for now."""
    row = _row(conn, spec)
    if row is not None and row.instance == spec.instance:
        values = {"detail": {**row.detail, "up_at": now.isoformat()}}
        conn.execute(update(crash_loops).where(_of(spec)).values(values))


def count(conn: Connection, spec: LaunchSpec, cause: Cause, crashes: int, now: datetime) -> bool:
    """The try has crashed, the `crashes`-th in a row. Twice is the same as once.

    False when nothing is known of it any more: its loop was summed up meanwhile.
    """
    row = _row(conn, spec)
    if row is None or row.instance != spec.instance:
        return False
    if row.is_running:
        status = "lost" if cause.status is None else str(cause.status)
        last = {"instance": spec.instance, "cause": cause.kept()}
        values = {
            "is_running": False,
            "crashes": row.crashes + 1,
            "first_at": row.first_at or now,
            "last_at": now,
            "statuses": {**row.statuses, status: row.statuses.get(status, 0) + 1},
            "detail": {**row.detail, "last": last, "crashes": crashes},
        }
        conn.execute(update(crash_loops).where(_of(spec)).values(values))
    return True


def has(conn: Connection, spec: LaunchSpec, *, is_running: bool) -> bool:
    """Whether the try is known to run, or to have crashed."""
    row = _row(conn, spec)
    return row is not None and (row.instance, row.is_running) == (spec.instance, is_running)


def sum_up(conn: Connection, spec: LaunchSpec, now: datetime, *, is_due: bool) -> Summary | None:
    """Append what was counted since the last time, if there is anything: once an hour when that
    `is_due`, else in any case and for good.
    """
    row = _row(conn, spec)
    if row is None:
        return None
    if is_due and (not row.crashes or now - row.first_at < TOLD_EVERY):
        return None
    if is_due:
        nothing: dict[str, Any] = {"crashes": 0, "first_at": None, "last_at": None, "statuses": {}}
        conn.execute(update(crash_loops).where(_of(spec)).values(nothing))
    else:
        conn.execute(delete(crash_loops).where(_of(spec)))
    if not row.crashes:
        return None
    last = Cause.from_kept(row.detail["last"]["cause"])
    cause = Cause(
        "crash_loop",
        status=last.status,
        signal=last.signal,
        first=last,
        count=row.crashes,
        since=row.first_at.isoformat(timespec="seconds"),
        statuses=row.statuses,
    )
    conn.execute(
        insert(dyno_events),
        {
            "app_id": row.app_id,
            "instance": row.detail["last"]["instance"],
            "name": row.name,
            "type": row.type,
            "number": row.number,
            "release": row.release,
            "state": "crashed",
            "at": row.last_at,
            "cause": cause.words,
            "detail": {**row.detail, "cause": cause.kept()},
        },
    )
    return Summary(cause, row.last_at)


def all(conn: Connection) -> list[Row[Any]]:
    """Every loop that goes on."""
    return list(conn.execute(select(crash_loops).order_by(_loops.began_at)))


def counted(conn: Connection, app_id: str) -> dict[str, int]:
    """By name, how many crashes of an app's dynos no entry of the record stands for yet."""
    found = select(_loops.name, _loops.crashes).where(_loops.app_id == app_id)
    return {row.name: row.crashes for row in conn.execute(found)}


def _row(conn: Connection, spec: LaunchSpec) -> Row[Any] | None:
    named = {"app": spec.app_id, "dyno": str(spec.name)}
    return conn.execute(_row_of, named).one_or_none()


def _of(spec: LaunchSpec) -> Any:
    return (_loops.app_id == spec.app_id) & (_loops.name == str(spec.name))
