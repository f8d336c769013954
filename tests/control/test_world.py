"""Gates: one turn at a time for each app, with a bounded wait; settings and their URLs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from oriel import faults
from oriel.control import world as worlds
from oriel.control.world import Gates, Settings
from oriel.lexicon import Address


def test_changes_of_one_app_take_turns() -> None:
    story: list[str] = []

    async def change(gates: Gates, who: str) -> None:
        async with gates.change("app", "foobaz"):
            story.append(f"{who} in")
            await asyncio.sleep(0)
            story.append(f"{who} out")

    async def play() -> None:
        gates = Gates()
        await asyncio.gather(change(gates, "a"), change(gates, "b"))

    asyncio.run(play())
    assert story == ["a in", "a out", "b in", "b out"]


def test_changes_of_two_apps_do_not_wait_for_each_other() -> None:
    async def play() -> None:
        gates = Gates()
        async with gates.change("one", "one"), gates.change("two", "two"):
            pass

    asyncio.run(play())


def test_a_wait_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "CHANGE_WAIT_S", 0.01)

    async def play() -> None:
        gates = Gates()
        async with gates.change("app", "foobaz"):
            with pytest.raises(faults.ReleasePending, match="foobaz"):
                async with gates.change("app", "foobaz"):
                    pass
        async with gates.change("app", "foobaz"):
            pass

    asyncio.run(play())


def test_a_gate_that_nobody_waits_at_is_forgotten() -> None:
    async def play() -> Gates:
        gates = Gates()
        async with gates.change("app", "foobaz"):
            pass
        return gates

    assert asyncio.run(play())._locks == {}


@pytest.mark.parametrize(
    ("web", "domain", "url"),
    [
        (Address("127.0.0.1", 8080), None, "http://foobaz.localhost:8080"),
        (Address("0.0.0.0", 80), "example.com", "http://foobaz.example.com"),
        (Address("::", 8080), None, "http://foobaz.localhost:8080"),
    ],
)
def test_where_an_app_answers(web: Address, domain: str | None, url: str) -> None:
    where = Settings(data=Path("/data"), api=Address("127.0.0.1", 5050), web=web, domain=domain)
    assert where.app_url("foobaz") == url


@pytest.mark.parametrize(
    ("api", "domain", "url"),
    [
        (Address("127.0.0.1", 5050), None, "http://127.0.0.1:5050"),
        (Address("::1", 5050), None, "http://[::1]:5050"),
        (Address("0.0.0.0", 5050), "example.com", "http://example.com:5050"),
    ],
)
def test_where_the_api_answers(api: Address, domain: str | None, url: str) -> None:
    where = Settings(data=Path("/data"), api=api, web=Address("127.0.0.1", 80), domain=domain)
    assert where.api_url == url
