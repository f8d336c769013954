"""Owns how long a crashed dyno waits before it starts again, and a healthy one before it is cycled.
Pure.

At once the first time, then longer each time up to a cap, never giving up; a new release or ten
healthy minutes begin anew.
"""

from __future__ import annotations

FIRST_S = 1.0
CAP_S = 300.0
HEALTHY_S = 600.0
"""A dyno that ran this long is healthy: its crashes before are forgotten."""

DAY_S = 86400.0
CYCLE_SPREAD_S = 216 * 60


def delay_s(crashes: int) -> float:
    """The wait after this many crashes in a row, without jitter: 0, 1, 2, 4... 300 s."""
    if crashes <= 1:
        return 0.0
    return min(CAP_S, FIRST_S * 2.0 ** min(crashes - 2, 32))


def crashes_after(crashes: int, lived_s: float) -> int:
    """How many crashes in a row it is now, after one more that came `lived_s` after its start."""
    return 1 if lived_s >= HEALTHY_S else crashes + 1


def cycle_after_s(instance: str) -> float:
    """How long after it came up a dyno is cycled, where its app wants that: 24 hours and up to
    216 minutes (heroku-facts D3). By its id, so that a restart of control does not move it.
    """
    return DAY_S + int(instance[:8], 16) % CYCLE_SPREAD_S
