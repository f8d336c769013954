"""Owns how times are told: `for 4s`, `14 minutes ago`. Pure; `now` is an argument.

A time that lies ahead, because two clocks differ, is told as now: no age is ever negative.
"""

from __future__ import annotations

from datetime import UTC, datetime

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86400


def parse(text: str) -> datetime:
    """A time as the API writes it; the beginning of time where it is none."""
    try:
        at = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return datetime.fromtimestamp(0, UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def age(since: datetime, now: datetime) -> str:
    """`4s`, `14m`, `16h`, `40h`: never days, as in `up for 40h`."""
    elapsed_s = _elapsed_s(since, now)
    if elapsed_s < MINUTE_S:
        return f"{elapsed_s}s"
    if elapsed_s < HOUR_S:
        return f"{elapsed_s // MINUTE_S}m"
    return f"{elapsed_s // HOUR_S}h"


def ago(at: datetime, now: datetime, *, zone: bool = True) -> str:
    """`1 minute ago`; from a day on the local time, with its `zone` where there is room."""
    elapsed_s = _elapsed_s(at, now)
    if elapsed_s < MINUTE_S:
        return _counted(elapsed_s, "second")
    if elapsed_s < HOUR_S:
        return _counted(elapsed_s // MINUTE_S, "minute")
    if elapsed_s < DAY_S:
        return _counted(elapsed_s // HOUR_S, "hour")
    return local(at, zone=zone)


def local(at: datetime, *, zone: bool = True) -> str:
    """The local time: `2011-06-19 01:44:55 -0700`."""
    try:
        shown = at.astimezone()
    except (OverflowError, OSError, ValueError):  # Beyond what this machine's calendar has.
        shown = at
    return shown.strftime("%Y-%m-%d %H:%M:%S %z" if zone else "%Y-%m-%d %H:%M:%S")


def _elapsed_s(since: datetime, now: datetime) -> int:
    return max(0, int((now - since).total_seconds()))


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'} ago"
