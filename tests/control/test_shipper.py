"""The outbox reaches logplex: each line once and in order, whoever is away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oriel import faults
from oriel.clock import SystemClock
from oriel.control import shipper as shippers
from oriel.control.shipper import Shipper
from oriel.store import outbox
from oriel.store.database import Database

NOW = datetime(2011, 6, 19, 8, 35, tzinfo=UTC)


class Logplex:
    """Keeps what it is told, each id once, unless it is away for the next few calls."""

    def __init__(self) -> None:
        self.away = 0
        self.last_id = 0
        self.kept: list[tuple[str, int, str]] = []
        self.story: list[str] = []

    async def drain(self, instance: str) -> int:
        self._here()
        self.story.append(f"drained {instance}")
        return 0

    async def append(self, channel: str, lines: Sequence[dict[str, Any]]) -> int:
        self._here()
        known = {id for _, id, _ in self.kept}
        for line in lines:
            if line["id"] not in known:
                self.kept.append((channel, line["id"], line["text"]))
                self.story.append(line["text"])
        return int(lines[-1]["id"])

    async def status(self) -> dict[str, Any]:
        self._here()
        return {"last_id": self.last_id}

    def _here(self) -> None:
        if self.away:
            self.away -= 1
            raise faults.Unavailable("logplex is away")


def line(text: str, channel: str = "c", drain: str = "") -> outbox.Line:
    return outbox.Line(channel=channel, source="heroku", ps="api", text=text, drain=drain)


def played(
    tmp_path: Path, act: Callable[[Database, Logplex, list[str]], Awaitable[None]]
) -> Logplex:
    """Run a shipper over a real database until its outbox is empty."""
    logplex = Logplex()
    drained: list[str] = []

    async def note(instance: str) -> None:
        drained.append(instance)
        logplex.story.append(f"cleaned {instance}")

    async def play() -> None:
        db = Database.open(f"sqlite:///{tmp_path / 'oriel.db'}", SystemClock())
        try:
            ship = Shipper(db, logplex, SystemClock(), note)  # type: ignore[arg-type]
            ship.start()
            await act(db, logplex, drained)
            async with asyncio.timeout(10):
                while await db.read(lambda conn: outbox.waiting(conn, 1)):
                    await asyncio.sleep(0.001)
                while len(drained) < sum("drained" in each for each in logplex.story):
                    await asyncio.sleep(0.001)
            await ship.close()
        finally:
            db.close()

    asyncio.run(play())
    return logplex


@pytest.mark.parametrize("away", [0, 1, 5])
def test_lines_arrive_once_and_in_order(
    tmp_path: Path, away: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shippers, "RETRY_FIRST_S", 0.001)

    async def act(db: Database, logplex: Logplex, drained: list[str]) -> None:
        logplex.away = away
        for number in range(20):
            text, channel = f"line {number}", f"c{number % 2}"
            await db.write(lambda conn, t=text, c=channel: outbox.post(conn, line(t, c), NOW))

    logplex = played(tmp_path, act)
    assert [text for _, _, text in logplex.kept] == [f"line {number}" for number in range(20)]


def test_an_exit_follows_the_last_words(tmp_path: Path) -> None:
    async def act(db: Database, logplex: Logplex, drained: list[str]) -> None:
        def work(conn: Any) -> None:
            outbox.post(conn, line("before"), NOW)
            outbox.post(conn, line("Process exited with status 1", drain="i1"), NOW)
            outbox.post(conn, line("State changed from up to crashed"), NOW)

        await db.write(work)

    logplex = played(tmp_path, act)
    assert logplex.story == [
        "before",
        "drained i1",
        "Process exited with status 1",
        "cleaned i1",
        "State changed from up to crashed",
    ]


def test_a_kill_before_delivered_repeats_and_does_not_double(tmp_path: Path) -> None:
    async def act(db: Database, logplex: Logplex, drained: list[str]) -> None:
        # What a shipper that was killed after append has left: kept, but not delivered.
        logplex.kept.append(("c", 1, "once"))
        assert await db.write(lambda conn: outbox.post(conn, line("once"), NOW)) == 1

    logplex = played(tmp_path, act)
    assert [text for _, _, text in logplex.kept] == ["once"]


def test_an_outbox_older_than_the_logs_goes_on_above_them(tmp_path: Path) -> None:
    """As after a restore: ids that logplex has kept are not given to new lines."""
    logplex = Logplex()
    logplex.last_id = 1000

    async def nothing(_: str) -> None:
        pass

    async def play() -> None:
        db = Database.open(f"sqlite:///{tmp_path / 'oriel.db'}", SystemClock())
        try:
            # From before the backup: logplex has it.
            await db.write(lambda conn: outbox.post(conn, line("old"), NOW))
            ship = Shipper(db, logplex, SystemClock(), nothing)  # type: ignore[arg-type]
            now = SystemClock().wall()
            await db.write(lambda conn: outbox.post(conn, line("new"), now))
            ship.start()
            async with asyncio.timeout(10):
                while await db.read(lambda conn: outbox.waiting(conn, 1)):
                    await asyncio.sleep(0.001)
            assert await db.write(lambda conn: outbox.post(conn, line("newer"), now)) == 1002
            await ship.close()
        finally:
            db.close()

    asyncio.run(play())
    assert [(id, text) for _, id, text in logplex.kept][:2] == [(1, "old"), (1001, "new")]
