"""Owns what a syslog receiver may have or not: batches that were sent, and no answer comes. Pure.

A receiver's machine acknowledges what its process has not read yet. A batch counts as taken when
it was acknowledged and, after that, either a while passed or so much more was acknowledged that
no receive buffer holds both.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from oriel.logplex.cursor import Position
from oriel.logplex.drains.reader import Batch

UNSURE_BYTES = 8 * 1024 * 1024
"""More than a receive buffer has, as Linux comes (6 MB)."""
UNSURE_S = 5.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch on its way."""

    upto: int
    """Bytes of this connection up to its end."""
    end: Position
    lines: int
    told: int
    at_s: float


class Window:
    """The batches of one connection, oldest first."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self._sent: deque[Sent] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        """Whether anything is open."""
        return bool(self._sent)

    @property
    def end(self) -> Position | None:
        """Where the newest ends."""
        return self._sent[-1].end if self._sent else None

    @property
    def lines(self) -> int:
        """Their lines."""
        return sum(each.lines for each in self._sent)

    @property
    def told(self) -> int:
        """The lost lines that they tell of."""
        return sum(each.told for each in self._sent)

    def add(self, batch: Batch, now_s: float) -> None:
        """A batch was sent."""
        self._bytes += batch.size
        self._sent.append(Sent(self._bytes, batch.end, batch.lines, batch.told, now_s))

    def sure(self, acknowledged: int, now_s: float) -> list[Sent]:
        """Take out what counts as taken; `acknowledged` bytes have reached the machine."""
        taken: list[Sent] = []
        while self._sent and self._sent[0].upto <= acknowledged:
            first = self._sent[0]
            if now_s - first.at_s < UNSURE_S and first.upto > acknowledged - UNSURE_BYTES:
                break
            taken.append(self._sent.popleft())
        return taken

    def all(self) -> list[Sent]:
        """Take out everything: the receiver has shown that it read to the end."""
        taken = list(self._sent)
        self._sent.clear()
        return taken

    def clear(self) -> None:
        """Another connection begins."""
        self._sent.clear()
        self._bytes = 0
