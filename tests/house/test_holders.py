"""How `oriel up` and logplex are asked to hold a dyno's output."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from oriel.faults import Unavailable
from oriel.house import holders as module
from oriel.house.door import Door
from oriel.house.holders import Holders


class Plex:
    """Logplex, as far as it is asked here."""

    async def open(self, instance: str) -> None:
        """Have it read."""

    async def drain(self, instance: str) -> int:
        """Have it read to its end."""
        return 0


class Up:
    """`oriel up`, which notes what it is asked, and on how many connections."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[str] = []
        self.answer: Callable[[], Awaitable[Mapping[str, Any]]] = self.well
        self.door = Door(path, self._answer)

    async def well(self) -> Mapping[str, Any]:
        return {"ok": True}

    async def _answer(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(f"{asked['op']} {asked['instance']}")
        return await self.answer()

    @property
    def connections(self) -> int:
        return len(self.door._connections)


def play(path: Path, story: Callable[[Up, Holders], Awaitable[None]]) -> None:
    async def whole() -> None:
        up = Up(path / "up.sock")
        await up.door.open()
        holders = Holders(up.path, Plex())  # type: ignore[arg-type]
        try:
            await story(up, holders)
        finally:
            holders.close()
            await up.door.close()

    asyncio.run(whole())


def test_many_are_asked_on_one_connection(tmp_path: Path) -> None:
    async def story(up: Up, holders: Holders) -> None:
        await asyncio.gather(*[holders.hold(f"i{number}") for number in range(20)])
        await holders.release("i3")
        assert up.asked == [*[f"hold i{number}" for number in range(20)], "release i3"]
        assert up.connections == 1

    play(tmp_path, story)


def test_one_that_was_started_again_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(up: Up, holders: Holders) -> None:
        await holders.hold("a")
        await up.door.close()
        again = Up(up.path)
        await again.door.open()
        await holders.hold("b")
        assert again.asked == ["hold b"]
        await again.door.close()
        await holders.hold("c")  # while it is away
        last = Up(up.path)
        await last.door.open()
        await holders.hold("d")
        assert last.asked == ["hold d"]
        await last.door.close()

    play(tmp_path, story)
    assert [each.getMessage() for each in caplog.records if "was not told" in each.getMessage()]


def test_an_answer_that_came_too_late_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ASK_TIMEOUT_S", 0.05)

    async def refuse() -> Mapping[str, Any]:
        raise Unavailable("no such dyno")

    async def story(up: Up, holders: Holders) -> None:
        go_on = asyncio.Event()

        async def late() -> Mapping[str, Any]:
            await go_on.wait()
            return {"ok": False, "message": "of the first"}

        up.answer = late
        await holders.hold("a")
        go_on.set()
        up.answer = up.well
        caplog.clear()
        await holders.hold("b")
        assert "of the first" not in caplog.text
        up.answer = refuse
        await holders.hold("c")
        assert "no such dyno" in caplog.text
        assert up.asked == ["hold a", "hold b", "hold c"]

    play(tmp_path, story)
