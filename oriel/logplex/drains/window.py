"""Owns what a syslog receiver may have or not: batches that were sent, and no answer comes. Pure.

A receiver's machine acknowledges what its process has not read yet, and may never read. A batch
counts as taken when the receiver has shown that it read to its end, or when so much more was
acknowledged that no receive buffer holds both. Of a receiver that shows nothing, time must do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from oriel.logplex.cursor import Position
from oriel.logplex.drains.reader import Batch

UNSURE_BYTES = 8 * 1024 * 1024
"""More than a receive buffer has, as Linux comes (6 MB)."""
UNSURE_S = 30.0
"""After this a receiver is asked to show that it read everything, or is believed."""
FRESH_S = 5.0
"""What a receiver read just before it hung up it may still have had in memory."""


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
        self.lines = 0
        """The lines of all of them."""
        self.told = 0
        """The lost lines that they tell of."""

    def __bool__(self) -> bool:
        """Whether anything is open."""
        return bool(self._sent)

    @property
    def newest(self) -> Sent | None:
        """The batch that was sent last."""
        return self._sent[-1] if self._sent else None

    @property
    def due_s(self) -> float:
        """When the oldest should have been shown to be read; far away when nothing is open."""
        return self._sent[0].at_s + UNSURE_S if self._sent else float("inf")

    def add(self, batch: Batch, now_s: float) -> None:
        """A batch is sent."""
        self._bytes += batch.size
        self._sent.append(Sent(self._bytes, batch.end, batch.lines, batch.told, now_s))
        self.lines += batch.lines
        self.told += batch.told

    def acknowledged(self, upto: int, now_s: float, *, believed: bool = False) -> list[Sent]:
        """Take out what counts as taken; `upto` bytes have reached the receiver's machine."""
        taken: list[Sent] = []
        while self._sent and self._sent[0].upto <= upto:
            waited = believed and now_s >= self.due_s
            if not waited and self._sent[0].upto > upto - UNSURE_BYTES:
                break
            taken.append(self._pop())
        return taken

    def read(self, upto: int, before_s: float = float("inf")) -> list[Sent]:
        """Take out what the receiver has shown to have read, and was sent before a time."""
        taken: list[Sent] = []
        while self._sent and self._sent[0].upto <= upto and self._sent[0].at_s <= before_s:
            taken.append(self._pop())
        return taken

    def clear(self) -> None:
        """Another connection begins."""
        self._sent.clear()
        self._bytes = self.lines = self.told = 0

    def _pop(self) -> Sent:
        first = self._sent.popleft()
        self.lines -= first.lines
        self.told -= first.told
        return first
