"""A channel's rate, and its pages sent out early."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from oriel.logplex import pace
from oriel.logplex.limits import Limits
from oriel.logplex.pace import Pace
from tests.logplex.conftest import START_US, Stand


def _say(stand: Stand, size: int) -> None:
    source = stand.channel.source("app", "web.1", "i", 1)
    stand.channel.write(source, b"x" * size, START_US)


def test_who_says_more_than_the_rate_waits_for_the_difference(tmp_path: Path) -> None:
    async def play() -> None:
        stand = Stand(tmp_path / "c")
        stand.channel.set_policy({"rate_bytes": 10_000})
        kept = Pace(Limits(burst_s=2.0))
        assert kept.wait_s(stand.channel, 100.0) == 0
        _say(stand, 20_000)
        assert kept.wait_s(stand.channel, 100.0) == 0
        _say(stand, 10_000)
        assert kept.wait_s(stand.channel, 100.0) == pytest.approx(1.0)
        assert kept.wait_s(stand.channel, 101.1) == 0
        # What was not said in an hour is not saved up beyond the burst.
        assert kept.wait_s(stand.channel, 4000.0) == 0
        _say(stand, 30_000)
        assert kept.wait_s(stand.channel, 4000.0) == pytest.approx(1.0)
        kept.close()
        stand.channel.close()

    asyncio.run(play())


def test_pages_are_sent_out_and_a_slow_disk_makes_the_channel_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        sent: list[int] = []
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(fd: int) -> None:
            sent.append(fd)
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)

        monkeypatch.setattr(pace, "send", slow)
        stand = Stand(tmp_path / "c")
        kept = Pace(Limits(write_out_bytes=1000, dirty_bytes=3000, retry_first_s=0.5))
        kept.wait_s(stand.channel, 0.0)
        _say(stand, 1000)
        assert kept.wait_s(stand.channel, 0.0) == 0
        _say(stand, 2500)
        assert kept.wait_s(stand.channel, 0.0) == 0.5
        gate.set()
        while kept.wait_s(stand.channel, 0.0):
            await asyncio.sleep(0.001)
        assert 1 <= len(sent) <= 2
        await asyncio.to_thread(kept.close)
        stand.channel.close()

    asyncio.run(play())


def test_the_real_call_works_on_a_file(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        pace.send(file.fileno())
