"""Owns how soon a process that died is started again. Pure: time comes as an argument.

At once the first time; in a loop of crashes 0.5 s, 1 s, 2 s ... up to a cap; a process that lived
long enough begins anew. The cap is low: while control is away nobody can look or roll back.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY_S = 0.5
DELAY_S_MAX = 5.0
HEALTHY_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Record:
    """How often in a row a process died soon after its start."""

    crashes: int = 0

    def after_exit(self, lived_s: float) -> Record:
        """The record once it has died again, having lived `lived_s`."""
        return Record(1 if lived_s >= HEALTHY_AFTER_S else self.crashes + 1)

    @property
    def delay_s(self) -> float:
        """How long to wait before the next start."""
        if self.crashes <= 1:
            return 0.0
        # The exponent is bounded too: a process may crash for a year.
        return min(FIRST_DELAY_S * 2.0 ** min(self.crashes - 2, 16), DELAY_S_MAX)
