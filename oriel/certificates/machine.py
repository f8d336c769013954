"""Owns what an order for a certificate does next. Pure: the clock and the jitter are arguments.

    due --Begun--> ordered --Told--> waiting --Granted--> issued --(2/3 of its life)--> due
     ^                |                 |
     |                +---- Refused ----+--> failed --(after a while that grows)--> due

An order is kept between steps, so that a kill at any of them costs the step alone: what was asked
of the authority is asked again, and the same again does no harm. While an order fails, or is under
way anew, the certificate that there was goes on serving.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

State = Literal["due", "ordered", "waiting", "issued", "failed"]
Deed = Literal["begin", "tell", "look"]

WAITS = tuple(timedelta(minutes=each) for each in (5, 20, 60, 4 * 60, 12 * 60, 24 * 60))
"""After the first failure, the second and so on. Let's Encrypt allows five failed validations of
a host in an hour; with these waits, and their jitter, there are three at most."""

LIMITED = timedelta(hours=1)
"""How long to wait when the authority says that it was too much, and not until when."""

PAUSE_MAX = timedelta(days=7)
LOOK_PAUSE = timedelta(seconds=2)
AWAY_PAUSE = timedelta(seconds=30)
PATIENCE = timedelta(minutes=10)
"""How long an authority may take to decide."""

IMPATIENT = 3
IMPATIENT_PAUSE = timedelta(minutes=30)

HOPELESS = 4
"""From this failure on it is called failed, not failing; it is tried all the same."""


@dataclass(frozen=True, slots=True)
class Order:
    """How far a host's certificate is."""

    state: State
    next_at: datetime
    """When something is to be done next."""
    failures: int = 0
    """In a row."""
    reason: str = ""
    """Why it failed the last time."""
    began_at: datetime | None = None
    url: str = ""
    """The order's, at the authority."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The authority has taken the order."""

    url: str


@dataclass(frozen=True, slots=True)
class Told:
    """The authority was told that it may look."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """The authority has not looked yet."""


@dataclass(frozen=True, slots=True)
class Granted:
    """There is a certificate."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """It came to nothing: the host does not lead here, say, or the authority is away."""

    reason: str
    wait: timedelta | None = None
    """How long the authority wants to be left alone."""
    limited: bool = False
    """It says that it was asked too much."""
    lost: bool = False
    """It does not know the order any more."""
    away: bool = False
    """It was not reached, or is out of order: what was begun may still be well."""


Event = Begun | Told | Undecided | Granted | Refused


def due(order: Order, now: datetime) -> Deed | None:
    """What is to be done now, if anything."""
    if order.next_at > now:
        return None
    return {"ordered": "tell", "waiting": "look"}.get(order.state, "begin")  # type: ignore[return-value]


def step(order: Order, event: Event, now: datetime, jitter: float) -> Order:
    """What becomes of an order; `jitter` is from 0 to 1."""
    match event:
        case Begun(url):
            return replace(order, state="ordered", next_at=now, began_at=now, url=url)
        case Told():
            return replace(order, state="waiting", next_at=now + LOOK_PAUSE / 2)
        case Undecided():
            if order.began_at is None or now - order.began_at > PATIENCE:
                said = f"the authority did not decide within {PATIENCE.seconds // 60} minutes"
                return _failed(order, Refused(said), now, jitter)
            return replace(order, next_at=now + LOOK_PAUSE)
        case Granted(starts_at, ends_at):
            return Order("issued", next_at=renewal(starts_at, ends_at, jitter))
        case Refused():
            return _failed(order, event, now, jitter)


def renewal(starts_at: datetime, ends_at: datetime, jitter: float) -> datetime:
    """When two thirds of a life are over, or a little before, so that not all come at once."""
    life = ends_at - starts_at
    return starts_at + life * (2 / 3 - 0.05 * jitter)


def begin_anew(order: Order, failed_at: datetime, now: datetime) -> Order:
    """Because somebody asked for it: at once, or after a third failure in a row half an hour
    after the last one. What is under way goes on, and what is issued is well.
    """
    if order.state != "failed":
        return order
    at = now if order.failures < IMPATIENT else max(now, failed_at + IMPATIENT_PAUSE)
    return replace(order, next_at=min(order.next_at, at))


def _failed(order: Order, why: Refused, now: datetime, jitter: float) -> Order:
    begun = order.began_at is not None and order.state in ("ordered", "waiting")
    if why.away and begun and now - (order.began_at or now) <= PATIENCE:
        return replace(order, next_at=now + AWAY_PAUSE, reason=why.reason)
    if why.lost and order.failures == 0 and order.state in ("ordered", "waiting"):
        # Nothing was asked in vain: it is ordered again, once; then it counts.
        return replace(
            order, state="due", next_at=now + LOOK_PAUSE, failures=1, reason=why.reason, url=""
        )
    failures = order.failures + 1
    wait = WAITS[min(failures, len(WAITS)) - 1]
    if why.limited:
        wait = max(wait, why.wait or LIMITED)
    elif why.wait is not None:
        wait = max(wait, why.wait)
    wait = min(wait, PAUSE_MAX) * (1 + 0.2 * jitter)
    return Order("failed", next_at=now + wait, failures=failures, reason=why.reason)
