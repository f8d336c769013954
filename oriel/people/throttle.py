"""Owns how long a failed login must wait. Pure: the time is an argument; must not know accounts.

From the fifth failure in a row each doubles the wait, up to 15 minutes. The table is bounded: when
it is full, the key that failed the longest ago is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

FREE_FAILURES = 4
WAIT_MAX_S = 900.0
FORGOTTEN_AFTER_S = 3600.0
"""A key that has not failed for so long starts afresh."""
KEYS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last_s: float


class Throttle:
    """Failures by key: an address, an account, or both."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        """An empty table for at most `keys_max` keys."""
        self._keys_max = keys_max
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._failures)

    def record_failure(self, key: str, now_s: float) -> None:
        """Note a failed login."""
        before = self._failures.get(key)
        if before is None or now_s - before.last_s >= FORGOTTEN_AFTER_S:
            before = _Failures(0, now_s)
        self._failures[key] = _Failures(before.count + 1, now_s)
        self._failures.move_to_end(key)
        if len(self._failures) > self._keys_max:
            self._failures.popitem(last=False)

    def record_success(self, key: str) -> None:
        """Forget a key's failures."""
        self._failures.pop(key, None)

    def wait_s(self, key: str, now_s: float) -> float:
        """How long this key must still wait; 0 when it may try."""
        failures = self._failures.get(key)
        if failures is None or failures.count <= FREE_FAILURES:
            return 0.0
        # The exponent is bounded first: 2.0 to the power of a long siege overflows.
        wait_s = min(WAIT_MAX_S, 2.0 ** min(failures.count - FREE_FAILURES - 1, 20))
        return max(0.0, failures.last_s + wait_s - now_s)
