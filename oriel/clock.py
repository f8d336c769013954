"""Owns time and randomness: the only reader of either. Must not know anything else of Oriel.

Pure functions take `now` as an argument; shells take a `Clock`. Wall time is for records, the
monotonic clock for durations.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a shell may ask of time."""

    def wall(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def wall_ns(self) -> int:
        """The time of day in nanoseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some fixed point; never runs backwards."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Come back after `duration_s` seconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def wall(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(UTC)

    def wall_ns(self) -> int:
        """The time of day in nanoseconds since 1970."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds since some fixed point; never runs backwards."""
        return time.monotonic()

    async def sleep(self, duration_s: float) -> None:
        """Come back after `duration_s` seconds."""
        await asyncio.sleep(duration_s)


def new_id() -> str:
    """A fresh UUID, as text: ids of apps, releases, instances, requests."""
    return str(uuid.uuid4())


def new_secret(size_bytes: int = 32) -> str:
    """Random text safe in a URL, `size_bytes` of entropy: tokens, capabilities, passwords."""
    return secrets.token_urlsafe(size_bytes)


def new_key(size_bytes: int = 32) -> bytes:
    """Random bytes for a key, a salt or a nonce."""
    return secrets.token_bytes(size_bytes)


def jittered(value: float, part: float = 0.2) -> float:
    """`value` moved at random by at most `part` of it either way."""
    return value * (1 + random.uniform(-part, part))  # noqa: S311 - jitter, not a secret


def pick_number(low: int, high: int) -> int:
    """A random whole number, both ends included: names of one-off dynos, ports to try."""
    return low + secrets.randbelow(high - low + 1)
