"""A disk that has become read-only: what was said before can be read, and nothing changes there."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oriel import faults
from oriel.clock import SystemClock
from oriel.logplex.client import Logplex, Query
from oriel.logplex.limits import Limits
from oriel.logplex.process import SOCKET, serve

LINES = 60


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """As the kernel makes a disk with errors: nothing can be opened there to be written."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if subprocess.run(["mount", "--bind", str(place), str(place)], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _line(number: int) -> dict[str, object]:
    return {"id": number, "source": "heroku", "ps": "api", "text": f"line {number:03d}"}


async def _said(client: Logplex, **query: object) -> list[str]:
    batches = [each.text async for each in client.read("c", Query(**query))]  # type: ignore[arg-type]
    return [line.partition(": ")[2] for line in b"".join(batches).decode().splitlines()]


@pytest.mark.real
def test_a_closed_channel_on_a_read_only_disk_can_be_read(tmp_path: Path) -> None:
    async def played() -> None:
        # Several segments, the last of them not finished.
        limits = Limits(sync_interval_s=0.01, idle_close_s=0.0, segment_records=20)
        task = asyncio.create_task(serve(tmp_path, None, limits=limits, clock=SystemClock()))
        client = Logplex(tmp_path / SOCKET)
        while not (tmp_path / SOCKET).exists():
            await asyncio.sleep(0.001)
        for number in range(1, LINES + 1):
            await client.append("c", [_line(number)])
        while (await client.status())["channels"]:
            await asyncio.sleep(0.005)
        channel = tmp_path / "channels" / "c"
        before = {each.name: each.read_bytes() for each in channel.iterdir()}
        assert len([name for name in before if name.endswith(".log")]) > 1
        whole = [f"line {number:03d}" for number in range(1, LINES + 1)]
        with read_only(channel):
            assert await _said(client, lines=None) == whole
            assert await _said(client, lines=5) == whole[-5:]
            assert await _said(client, lines=None, grep="7") == [e for e in whole if "7" in e]
            with pytest.raises(faults.Unavailable, match="Read-only"):
                await client.append("c", [_line(LINES + 1)])
            with pytest.raises(faults.Unavailable, match="Read-only"):
                await _said(client, tail=True)
            assert {each.name: each.read_bytes() for each in channel.iterdir()} == before
        # It can be written again: it goes on, and what was sent again is there once.
        await client.append("c", [_line(LINES), _line(LINES + 1)])
        assert (await _said(client, lines=2)) == whole[-1:] + [f"line {LINES + 1:03d}"]
        await client.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(played(), 30))
