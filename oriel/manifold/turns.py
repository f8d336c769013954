"""Owns whose turn it is to boot: so many at once, so that a machine that has come back does not
begin everything in the same moment. Pure.

What a person asked for goes before what the platform does by itself, and further.
Among those that wait alike, the app with the fewest booting goes first, then who has waited
longest. Must not know dynos, time, or when a turn is over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

ASKED = 4
"""So many times as many may boot where that is what people asked for: nobody waits for what comes
back, and somebody does for a deploy.
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody who wants to boot."""

    who: str
    app: str
    asked: bool
    """Whether a person waits for it; False of what comes back after a crash or a reboot."""


class Turns:
    """Who boots, and who waits for it."""

    def __init__(self, bound: int) -> None:
        """So many may boot at once of what comes back by itself."""
        self._bound = max(1, bound)
        self._held: dict[str, Ask] = {}
        self._waiting: dict[str, Ask] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """Whose turn it is."""
        return tuple(self._held)

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def ask(self, ask: Ask) -> bool:
        """Whether it is its turn at once; else `end` says when it is."""
        self._waiting[ask.who] = ask
        return ask.who in self._go_on()

    def hold(self, ask: Ask) -> None:
        """It boots already: an earlier process let it."""
        self._held[ask.who] = ask

    def end(self, who: str) -> list[str]:
        """It boots no more, or wants to no more; whose turn it is now."""
        self._waiting.pop(who, None)
        self._held.pop(who, None)
        return self._go_on()

    def _go_on(self) -> list[str]:
        gone: list[str] = []
        booting = Counter(each.app for each in self._held.values())
        while self._waiting:
            # The first of those alike: they stand in the order in which they came.
            first = min(self._waiting.values(), key=lambda it: (not it.asked, booting[it.app]))
            if len(self._held) >= self._bound * (ASKED if first.asked else 1):
                break
            self._held[first.who] = self._waiting.pop(first.who)
            booting[first.app] += 1
            gone.append(first.who)
        return gone
