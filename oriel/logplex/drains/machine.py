"""Owns when a drain sends, waits or pauses. Pure: `step(health, outcome, ...)`.

One machine for every scheme: what is not taken is tried again for ever, later and later up to a
minute; a receiver that says no (a 4xx, or a redirect) is asked again only each hour. Must not know
sockets, lines or files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 60.0
ASKED_MAX_S = 300.0
"""A receiver that says when to come back is believed up to this."""
PAUSED_S = 3600.0
TOLD_AGAIN_US = 3600 * 1_000_000
"""The same certificate failure is told in the channel once in this time."""

NEW, UP, RETRYING, PAUSED = "new", "up", "retrying", "paused"


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver took it; or, when that is not `sure`, its machine may have."""

    said: str
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """It was not taken now: a broken connection, a time-out, a 429, a 5xx."""

    said: str
    after_s: float = 0.0
    """When the receiver asked to be tried again; 0 when it did not say."""
    untrusted: str = ""
    """What is wrong with the receiver's certificate."""
    lived: bool = False
    """Whether the connection had carried something for a while: then it is no row of failures."""


@dataclass(frozen=True, slots=True)
class Denied:
    """It will not be taken as it is: a 4xx, a redirect, a place that may not be dialled."""

    said: str


Outcome = Taken | Failed | Denied


@dataclass(frozen=True, slots=True)
class Health:
    """How it stands between a drain and its receiver."""

    state: str = NEW
    since_us: int = 0
    failures: int = 0
    """In a row."""
    retries: int = 0
    """In all."""
    said: str = ""
    """The last answer, or what came instead of one."""
    said_us: int = 0
    told: str = ""
    """The certificate failure that the channel was told last."""
    told_us: int = 0


@dataclass(frozen=True, slots=True)
class Next:
    """What follows: how long to wait, and what the app's channel is told."""

    wait_s: float = 0.0
    tell: str = ""
    """`paused`, `resumed`, `untrusted`, or nothing."""


def step(
    health: Health, outcome: Outcome, now_us: int, jitter: Callable[[float], float]
) -> tuple[Health, Next]:
    """What an outcome makes of a drain."""
    said = replace(health, said=outcome.said[:300], said_us=now_us)
    if isinstance(outcome, Taken):
        tell = "resumed" if health.state == PAUSED else ""
        failures = 0 if outcome.sure else health.failures
        return _in(replace(said, failures=failures, told=""), UP, now_us), Next(tell=tell)
    lived = isinstance(outcome, Failed) and outcome.lived
    failures = 1 if lived else health.failures + 1
    said = replace(said, failures=failures, retries=health.retries + 1)
    if isinstance(outcome, Denied):
        tell = "" if health.state == PAUSED else "paused"
        return _in(said, PAUSED, now_us), Next(jitter(PAUSED_S), tell)
    # A paused drain whose hourly question meets a closed door stays what it was.
    state = PAUSED if health.state == PAUSED else RETRYING
    wait_s = PAUSED_S if state == PAUSED else back_off(said.failures)
    wait_s = max(jitter(wait_s), min(outcome.after_s, ASKED_MAX_S))
    tell = ""
    if outcome.untrusted and (
        outcome.untrusted != health.told or now_us - health.told_us >= TOLD_AGAIN_US
    ):
        said, tell = replace(said, told=outcome.untrusted, told_us=now_us), "untrusted"
    return _in(said, state, now_us), Next(wait_s, tell)


def back_off(failures: int) -> float:
    """How long to wait after so many failures in a row, before jitter."""
    return min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(failures - 1, 30))


def _in(health: Health, state: str, now_us: int) -> Health:
    return health if health.state == state else replace(health, state=state, since_us=now_us)
