"""Owns who may come: secrets that are good once, for a while. Pure: time comes in as seconds.

Only digests are kept, and looked up by, so neither a core file nor the time that a look-up takes
says anything about a secret.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Invited(Generic[T]):
    digest: bytes
    until_s: float
    guest: T


@dataclass(slots=True)
class Invitations(Generic[T]):
    """All that are open. Bounded by whoever invites."""

    _open: dict[bytes, _Invited[T]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def invite(self, secret: str, until_s: float, guest: T) -> None:
        """Let the bearer of `secret` in, once."""
        digest = _digest(secret)
        self._open[digest] = _Invited(digest, until_s, guest)

    def take(self, secret: str, now_s: float) -> T | None:
        """Whom the secret was made for; None when it is wrong, used or too old. Never again."""
        digest = _digest(secret)
        found = self._open.pop(digest, None)
        if found is None or not hmac.compare_digest(found.digest, digest):
            return None
        return found.guest if now_s < found.until_s else None

    def withdraw(self, secret: str) -> None:
        """The bearer of `secret` may no longer come."""
        self._open.pop(_digest(secret), None)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
