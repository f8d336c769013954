"""Whatever comes, memory is bounded: a giant line, tiny writes, slow readers, silent clients."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from oriel.logplex.client import Query
from oriel.logplex.limits import Limits
from tests.logplex.conftest import Plex

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

MIB = 1024 * 1024
LINE_MIB = 100
TINY_WRITES = 200_000
SLOW_READERS = 40
RENDERED_BYTES = 10_000
"""The longest piece of a line that a reader gets (heroku-facts A3)."""


def resident_mib(plex: Plex) -> float:
    assert plex.process
    status = Path(f"/proc/{plex.process.pid}/status").read_text()
    (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(kilobytes) / 1024


def written(fd: int, write: Callable[[int], None]) -> threading.Thread:
    """Write in a thread of its own: the FIFO holds the writer up."""

    def work() -> None:
        try:
            write(fd)
        finally:
            os.close(fd)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_line_of_100_mb_is_kept_and_read_in_pieces(plex: Plex) -> None:
    async def story() -> None:
        def giant(fd: int) -> None:
            for _ in range(LINE_MIB):
                left = memoryview(b"x" * MIB)
                while left:
                    left = left[os.write(fd, left) :]
            os.write(fd, b"\nshort\n")

        writing = written(plex.dyno("w0", "web.1", "c1"), giant)
        plex.start()
        await plex.ready()
        before = resident_mib(plex)
        await asyncio.to_thread(writing.join)
        await plex.client.drain("w0")
        pieces = await plex.read("c1")
        assert pieces.pop() == "app[web.1]: short"
        texts = [each.partition(": ")[2] for each in pieces]
        assert {len(each) for each in texts[:-1]} == {RENDERED_BYTES}
        assert "".join(texts) == "x" * (LINE_MIB * MIB)
        assert resident_mib(plex) - before < 30

    plex.run(story)


def test_tiny_writes_are_one_stream(plex: Plex) -> None:
    async def story() -> None:
        def tiny(fd: int) -> None:
            for number in range(TINY_WRITES):
                os.write(fd, b"\n" if number % 50 == 49 else b"y")

        writing = written(plex.dyno("w0", "web.1", "c1"), tiny)
        plex.start()
        await plex.ready()
        before = resident_mib(plex)
        await asyncio.to_thread(writing.join)
        await plex.client.drain("w0")
        assert await plex.read("c1") == ["app[web.1]: " + "y" * 49] * (TINY_WRITES // 50)
        assert resident_mib(plex) - before < 30
        index = sum(each.stat().st_size for each in (plex.data / "channels" / "c1").glob("*.idx"))
        assert index < TINY_WRITES * 32 / 4

    plex.run(story)


def test_readers_that_do_not_read_cost_little_and_silent_clients_are_bounded(plex: Plex) -> None:
    async def story() -> None:
        plex.start()
        await plex.ready()

        def much(fd: int) -> None:
            for _ in range(20_000):
                os.write(fd, b"z" * 999 + b"\n")

        fd = plex.dyno("w0", "web.1", "c1")
        await plex.client.open("w0")
        await asyncio.to_thread(written(fd, much).join)
        before = resident_mib(plex)
        slow = []
        for _ in range(SLOW_READERS):
            door = socket.socket(socket.AF_UNIX)
            door.connect(str(plex.data / "run" / "logplex.sock"))
            door.sendall(b'{"op":"read","channel":"c1","lines":null,"tail":true}\n')
            slow.append(door)
        # By the time that one who reads has all of it twice, the others had their turns too.
        for _ in range(2):
            assert len([each async for each in plex.client.read("c1", Query(lines=None))]) > 100
        assert resident_mib(plex) - before < 2 + SLOW_READERS
        silent = [socket.socket(socket.AF_UNIX) for _ in range(Limits().connections)]
        for each in silent:
            each.connect(str(plex.data / "run" / "logplex.sock"))
        # Who is one too many hears a sentence, not silence.
        heard = await asyncio.to_thread(silent[-1].recv, 4096)
        assert b"too many connections" in heard
        for each in [*slow, *silent]:
            each.close()
        while (await plex.ready())["connections"] > 1:
            await asyncio.sleep(0.01)
        assert len(await plex.read("c1")) == 20_000

    plex.run(story)
