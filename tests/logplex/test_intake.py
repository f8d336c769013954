"""Dyno FIFOs, in one process with the test."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from oriel import faults
from oriel.clock import SystemClock
from oriel.logplex.intake import Intake
from oriel.logplex.limits import Limits
from oriel.logplex.query import Query
from oriel.logplex.session import Session
from oriel.logplex.shelf import Shelf
from oriel.logplex.turns import Turns
from tests.logplex.conftest import BOOT


class Dynos:
    """An intake on a directory of dynos."""

    def __init__(self, data: Path, shelf: Shelf) -> None:
        self.data = data
        self.shelf = shelf
        self.intake = Intake(data / "dynos", shelf, Limits(retry_first_s=0.001), SystemClock())

    def make(self, instance: str, channel: str = "c", name: str = "web.1") -> int:
        directory = self.data / "dynos" / instance
        directory.mkdir(parents=True)
        identity = {"channel": channel, "name": name, "release": 1}
        (directory / "identity.json").write_text(json.dumps(identity))
        os.mkfifo(directory / "out")
        self.intake.open(instance)
        return os.open(directory / "out", os.O_WRONLY)

    async def lines(self, channel: str = "c") -> list[str]:
        session = Session(self.shelf.channel(channel), Query(lines=None), Turns())
        await session.seek()
        text = b"".join([each.text async for each in session.batches()]).decode()
        return [line.split(" ", 1)[1] for line in text.splitlines()]

    async def until(self, expected: list[str], channel: str = "c") -> None:
        while await self.lines(channel) != expected:
            await asyncio.sleep(0.001)


def _play(tmp_path: Path, story: Callable[[Dynos], Awaitable[None]]) -> None:
    async def played() -> None:
        shelf = Shelf(tmp_path / "channels", Limits(), SystemClock(), BOOT)
        await shelf.start()
        dynos = Dynos(tmp_path, shelf)
        dynos.intake.start()
        try:
            await asyncio.wait_for(story(dynos), 30)
        finally:
            dynos.intake.close()
            await shelf.close()

    asyncio.run(played())


def test_what_a_dyno_writes_is_read_at_once(tmp_path: Path) -> None:
    async def story(dynos: Dynos) -> None:
        fd = dynos.make("i1")
        for number in range(3):
            os.write(fd, b"%d\n" % number)
            await dynos.until([f"app[web.1]: {each}" for each in range(number + 1)])
        os.close(fd)

    _play(tmp_path, story)


def test_where_splice_cannot_it_reads_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object, **__: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "splice", cannot)

    async def story(dynos: Dynos) -> None:
        fd = dynos.make("i1")
        os.write(fd, b"one\ntwo")
        await dynos.until(["app[web.1]: one", "app[web.1]: two"])
        os.close(fd)
        assert await dynos.intake.drain("i1") == 7
        assert await dynos.lines() == ["app[web.1]: one", "app[web.1]: two"]

    _play(tmp_path, story)


def test_a_full_disk_keeps_the_bytes_that_were_read_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object, **__: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    real = os.pwrite
    refusals = iter(range(6))

    def full(fd: int, data: bytes, offset: int) -> int:
        if data.startswith(b"one") and next(refusals, None) is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        if data.startswith(b"one"):
            return real(fd, data[:2], offset)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "splice", cannot)
    monkeypatch.setattr(os, "pwrite", full)

    async def story(dynos: Dynos) -> None:
        fd, other = dynos.make("i1"), dynos.make("i2", "c2")
        os.write(fd, b"one\n")
        os.write(other, b"goes on\n")
        await dynos.until(["app[web.1]: goes on"], "c2")
        await dynos.until(["app[web.1]: one"])
        assert not dynos.intake.blocked
        os.write(fd, b"two\n")
        await dynos.until(["app[web.1]: one", "app[web.1]: two"])
        os.close(fd)
        os.close(other)

    _play(tmp_path, story)


def _has_reader(fifo: Path) -> bool:
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_a_drain_ends_the_line_and_lets_go(tmp_path: Path) -> None:
    async def story(dynos: Dynos) -> None:
        fd = dynos.make("i1")
        os.write(fd, b"x" * 60_000)
        await asyncio.gather(*(dynos.intake.drain("i1") for _ in range(3)))
        assert len(dynos.intake) == 0
        channel = dynos.shelf.channel("c")
        assert channel.extent.size == 60_001
        # A process that still has it open is still heard; with the last one it is let go.
        os.write(fd, b"late\n")
        await dynos.until([f"app[web.1]: {'x' * 10_000}"] * 6 + ["app[web.1]: late"])
        os.close(fd)
        for _ in range(1000):
            if not _has_reader(tmp_path / "dynos/i1/out"):
                return
            await asyncio.sleep(0.002)
        raise AssertionError("it is still open")

    _play(tmp_path, story)


@pytest.mark.parametrize("instance", ["", "..", "../x", "a/b", 5, None, "a" * 200])
def test_a_name_that_is_no_instances_is_refused(tmp_path: Path, instance: object) -> None:
    async def story(dynos: Dynos) -> None:
        with pytest.raises(faults.Invalid):
            dynos.intake.open(instance)
        with pytest.raises(faults.Invalid):
            await dynos.intake.drain(instance)

    _play(tmp_path, story)


def test_what_is_not_a_dynos_is_refused(tmp_path: Path) -> None:
    async def story(dynos: Dynos) -> None:
        with pytest.raises(faults.NotFound):
            dynos.intake.open("nobody")
        directory = tmp_path / "dynos" / "odd"
        directory.mkdir(parents=True)
        (directory / "identity.json").write_text('{"channel": "c", "name": "web.1", "release": 1}')
        (directory / "out").write_text("a file")
        with pytest.raises(faults.Invalid, match="not a FIFO"):
            dynos.intake.open("odd")
        (directory / "out").unlink()
        (directory / "out").symlink_to("/dev/null")
        with pytest.raises(faults.Fault):
            dynos.intake.open("odd")
        (directory / "identity.json").write_text('{"channel": "../../etc"}')
        with pytest.raises(faults.Invalid):
            dynos.intake.open("odd")
        assert list(dynos.intake.open_all()) == ["odd"]

    _play(tmp_path, story)


def test_many_dynos_share_a_channel(tmp_path: Path) -> None:
    async def story(dynos: Dynos) -> None:
        fds = [dynos.make(f"i{at}", "c", f"web.{at}") for at in range(20)]
        for at, fd in enumerate(fds):
            os.write(fd, b"half of %d, " % at)
        await asyncio.sleep(0)
        for at, fd in enumerate(fds):
            os.write(fd, b"whole of %d\n" % at)
        for at in range(20):
            await dynos.intake.drain(f"i{at}")
        expected = {f"app[web.{at}]: half of {at}, whole of {at}" for at in range(20)}
        assert set(await dynos.lines()) == expected
        for fd in fds:
            os.close(fd)

    _play(tmp_path, story)
