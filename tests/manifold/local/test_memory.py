"""When a dyno over its quota is told of, by a stepped clock."""

from __future__ import annotations

from oriel.manifold.launcher import Usage
from oriel.manifold.local.memory import Memory
from tests.fakes.clock import FakeClock

QUOTA = 100


class Scene:
    """Dynos whose memory a test sets."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.taken: dict[str, int] = {}
        self.looks = 0
        self.told: list[tuple[str, int]] = []
        self.memory = Memory(self._look, self.clock)
        self.memory.listen(lambda name, usage: self.told.append((name, usage.memory_bytes)))

    def _look(self, name: str) -> Usage | None:
        self.looks += 1
        taken = self.taken.get(name)
        return None if taken is None else Usage(taken, 0, 0.0, 1)

    async def pass_s(self, seconds: float) -> None:
        await self.clock.pass_s(seconds)
