"""Owns what every way to a receiver has in common: its promises, its times, how it connects.

An outlet is told when to send, and answers what came of it; when and how often is the machine's.
All connections come from `egress`. Must not know channels or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from oriel import faults
from oriel.egress import Dialer, Line, Refused, Untrusted
from oriel.logplex.drains.address import Target
from oriel.logplex.drains.machine import Denied, Failed, Outcome
from oriel.logplex.drains.reader import Batch


@dataclass(frozen=True, slots=True)
class Times:
    """How long things may take (heroku-facts B3, B4); tests make them short."""

    connect_s: float = 3.0
    answer_s: float = 5.0
    answer_max_s: float = 60.0
    """A receiver that is too slow gets twice the time at each try, up to this."""
    stall_s: float = 30.0
    """How long a syslog receiver may take nothing at all."""
    idle_s: float = 240.0
    http_idle_s: float = 144.0
    age_s: float = 5 * 3600.0
    """After this a connection is made anew, so that a receiver's other addresses get theirs."""
    read_s: float = 10.0
    """How long a syslog receiver may take to show that it has read everything."""
    bye_s: float = 2.0
    """The same when logplex ends."""


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended."""

    failed: Failed
    read: int
    """Of the bytes sent on it, how many the receiver has surely read."""


NOTHING_OPEN = Closed(Failed(""), 0)


class Outlet(Protocol):
    """A way to one receiver."""

    immediate: bool
    """Whether `Taken` means that the receiver has it. If not, other signs must do."""

    async def send(self, batch: Batch) -> Outcome:
        """Send a batch; never raises but for a cancellation."""
        ...

    def acknowledged(self) -> int:
        """Of the bytes sent on this connection, how many the receiver's machine has."""
        ...

    @property
    def believed(self) -> bool:
        """Whether the receiver never shows what it has read, so that time must do."""
        ...

    @property
    def broken(self) -> bool:
        """Whether the connection has ended by itself, and nobody has looked yet."""
        ...

    @property
    def old(self) -> bool:
        """Whether the connection should be ended for its age."""
        ...

    async def close(self, within_s: float = 0.0) -> Closed:
        """Hang up; the receiver may show within a time that it has read everything."""
        ...


def failure(error: faults.Fault) -> Outcome:
    """What a fault of `egress` means for a drain."""
    if isinstance(error, Refused):
        return Denied(error.message)
    if isinstance(error, Untrusted):
        return Failed(f"certificate: {error.message}", untrusted=error.message)
    return Failed(error.message)


async def dial(target: Target, dialer: Dialer, times: Times) -> Line:
    """A connection to a drain's receiver, with TLS where its URL says so."""
    if target.is_tls:
        verify = not target.insecure
        connect_s = times.connect_s
        return await dialer.tls(target.host, target.port, verify=verify, timeout_s=connect_s)
    return await dialer.tcp(target.host, target.port, times.connect_s)
