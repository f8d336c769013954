"""Router lines that are lost, on a full disk or by the kernel: counted, and told once.

The disk is full where `append_frames` says so; the sockets and files are real.
"""

from __future__ import annotations

import asyncio
import errno
import re
import resource
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from oriel.clock import SystemClock
from oriel.logplex.catch import Catch
from oriel.logplex.channel import Channel
from oriel.logplex.datagrams import Datagrams, open_socket
from oriel.logplex.limits import Limits
from oriel.logplex.losses import Losses, Row
from oriel.logplex.shelf import Shelf

from .conftest import Plex

LIMITS = replace(
    Limits(), retry_first_s=0.01, retry_max_s=0.02, held_frames_bytes=2000, drops_told_s=0.05
)
TOLD = re.compile(rb"Error L12: (\d+) messages dropped since (\S+)\. \(router: ([^)]*)\.\)\n")


def line(channel: str, number: int) -> bytes:
    return (
        f'<158>1 2026-11-27T18:17:00+00:00 oriel router 1 - [oriel channel="{channel}"'
        f' server="web.1:00" ts="--" own="-" n="{number}"] at=info path="/n/{number}" x="1"\n'
    ).encode()


class Disk:
    """Says whether it is full, and counts what it was asked to take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        real = Channel._append_whole

        def append(channel: Channel, *given: Any, **more: Any) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(channel, *given, **more)

        monkeypatch.setattr(Channel, "_append_whole", append)


class House:
    """A reader of a socket that outlives it."""

    def __init__(self, data: Path, sock: socket.socket) -> None:
        self.data = data
        self.sock = sock
        self.clock = SystemClock()
        self.dead = False

    async def __aenter__(self) -> House:
        self.shelf = Shelf(self.data / "channels", LIMITS, self.clock, "boot")
        await self.shelf.start()
        for name in ("a", "b"):
            self.shelf.channel(name)
        catch, losses = Catch(self.data / "catch", "boot"), Losses(self.data / "losses", "boot")
        dup = self.sock.dup()
        self.reader = Datagrams(dup, self.shelf, LIMITS, self.clock, catch, losses)
        self.reader.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.dead:
            return
        self.reader.close()
        await self.shelf.close()

    async def die(self) -> None:
        """As a SIGKILL leaves it: nothing more is stored, told or tried."""
        self.reader._holding.close()
        self.reader._loop.remove_reader(self.reader.socket.fileno())
        if self.reader._pause:
            self.reader._pause.cancel()
        if self.reader._telling:
            self.reader._telling.cancel()
        self.reader._closed = self.dead = True
        self.reader.socket.close()
        self.reader._catch.close()
        self.reader._losses.close()
        await self.shelf.close()

    def text(self, name: str) -> bytes:
        return b"".join(
            path.read_bytes() for path in sorted((self.data / "channels" / name).glob("*.log"))
        )

    def told(self, name: str) -> list[tuple[int, str]]:
        return [(int(n), why.decode()) for n, _, why in TOLD.findall(self.text(name))]


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


Story = Callable[[House, socket.socket, Disk], Coroutine[Any, Any, None]]


def play(story: Story, data: Path, disk: Disk) -> None:
    with open_socket(0) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(sock.getsockname())
        asyncio.run(story(House(data, sock), sender, disk))


def test_what_a_full_disk_costs_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House, sender: socket.socket, disk: Disk) -> None:
        async with house:
            disk.full = True
            for number in range(100):
                sender.send(line("a", number))
            sender.send(line("b", 0))
            await until(lambda: house.reader.counts.disk_dropped)
            await until(
                lambda: house.reader.counts.disk_dropped == 100 - 2000 // len(line("a", 50))
            )
            disk.full = False
            await until(lambda: house.told("a"))
            sender.send(line("a", 1000))
            await until(lambda: b"/n/1000" in house.text("a"))
        text = house.text("a")
        kept = [number for number in range(100) if b'path="/n/%d"' % number in text]
        assert kept == list(range(len(kept)))
        assert house.told("a") == [(100 - len(kept), "the disk took nothing")]
        assert text.index(b"L12") > text.index(b"/n/%d" % kept[-1])
        assert house.text("b").count(b"/n/0") == 1
        assert house.told("b") == []
        assert Losses(tmp_path / "losses", "boot").left == {}

    play(story, tmp_path, Disk(monkeypatch))


def test_what_was_held_by_one_that_was_killed_is_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House, sender: socket.socket, disk: Disk) -> None:
        async with house:
            disk.full = True
            for number in range(30):
                sender.send(line("a", number))
            await until(lambda: sum(_counted(house)) == 30)
            await house.die()
            again = House(tmp_path, house.sock)
            async with again:
                assert again.told("a") == []
                disk.full = False
                await until(lambda: again.told("a"))
            third = House(tmp_path, house.sock)
            async with third:
                pass
        assert again.told("a") == [(30, "the disk took nothing")]
        assert b"/n/" not in again.text("a")

    play(story, tmp_path, Disk(monkeypatch))


def _counted(house: House) -> tuple[int, int]:
    waiting = house.reader._holding._waiting.get("a")
    return (len(waiting.lines), waiting.lost) if waiting else (0, 0)


def test_what_the_kernel_drops_is_told_once_to_who_had_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House, sender: socket.socket, disk: Disk) -> None:
        house.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def flood(count: int) -> int:
            """Send while nobody reads; how many the kernel has dropped in all."""
            for number in range(count):
                sender.send(line("a", number))
            return house.reader.status()["kernel_dropped"]

        async with house:
            dropped = flood(200)
            assert dropped > 100
            await until(lambda: house.told("a"))
            assert house.told("a") == [
                (dropped, "of all apps together, the system's buffer was full")
            ]
            # Once, however often it is looked; also by one that is started anew, which tells what
            # was dropped while nobody was there.
            await house.die()
        for number in range(200):
            sender.send(line("a", number))
        again = House(tmp_path, house.sock)
        async with again:
            await until(lambda: len(again.told("a")) > 1)
            in_all = again.reader.status()["kernel_dropped"]
            sender.send(line("b", 1))
            await until(lambda: b"/n/1" in again.text("b"))
        assert [lines for lines, _ in again.told("a")] == [dropped, in_all - dropped]
        assert again.told("b") == []

    play(story, tmp_path, Disk(monkeypatch))


@pytest.mark.real
def test_a_real_logplex_that_is_killed_on_a_full_disk_counts_each_line(plex: Plex) -> None:
    """Lines that are stored and lines that were told to be lost are all that were sent."""
    sent = 26_000
    big = b"x" * 120

    async def story(sock: socket.socket) -> None:
        plex.pass_fds = (sock.fileno(),)
        plex.start()
        await plex.ready()
        await plex.client.append("c1", [{"id": 1, "source": "heroku", "ps": "api", "text": "x"}])
        seen = {"kept": 0, "waiting": 0, "disk_dropped": 0}

        async def send(numbers: range) -> None:
            for number in numbers:
                router.send(line("c1", number).rstrip() + b" " + big + b"\n")
            while sum(seen.values()) < numbers.stop:
                status = (await plex.client.status())["router"]
                seen.update({each: status[each] for each in seen})  # type: ignore[index]

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
            router.connect(sock.getsockname())
            await send(range(100))
            hard = _limit_files(plex, 100_000)
            await send(range(100, sent))
        assert all(seen.values())
        plex.kill()
        plex.start()
        _limit_files(plex, 100_000, hard)
        await plex.ready()
        _limit_files(plex, hard)
        told: list[str] = []
        while not told:
            told = [each for each in await plex.read("c1") if "L12" in each]
        said = await plex.read("c1", ps=("router",))
        (found,) = [int(number) for each in told for number in re.findall(r"L12: (\d+) m", each)]
        assert found + len(said) == sent
        assert len(said) == seen["kept"]

    with open_socket(0) as sock:
        plex.run(lambda: story(sock))


def _limit_files(plex: Plex, size: int, hard: int | None = None) -> int:
    """Bound how large the process's files may grow; gives what stands above."""
    assert plex.process
    hard = hard or resource.prlimit(plex.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(plex.process.pid, resource.RLIMIT_FSIZE, (size, hard))
    return hard


OLD, NEW = line("a", 1), line("a", 2)


@pytest.mark.parametrize(
    ("row", "caught", "stored", "lost"),
    [
        # Killed while it waited; the turn's lines were stored, or thrown away, before.
        (Row(1, 3, 2, crc32(NEW), crc32(OLD)), [], b"", 5),
        # Killed behind the count and before the turn was cleared: its two lines come again.
        (Row(1, 3, 2, crc32(NEW), crc32(OLD)), [OLD, NEW], b"", 3),
        # Killed before the turn was counted.
        (Row(1, 3, 2, crc32(OLD), crc32(OLD)), [NEW], b"", 5),
        # Killed behind the storing of what waited.
        (Row(1, 3, 2, crc32(NEW), crc32(OLD)), [], OLD, 2),
        (Row(1, 3, 0, crc32(NEW), crc32(NEW)), [], NEW, 0),
        (Row(1, 0, 0), [], OLD, 0),
    ],
)
def test_what_is_lost_after_a_kill(row: Row, caught: list[bytes], stored: bytes, lost: int) -> None:
    assert row.after(caught, stored) == lost


def test_the_account_outlives_its_process_and_no_boot(tmp_path: Path) -> None:
    path = tmp_path / "x" / "losses"
    rows = {f"c{number}": Row(number, 1, 2, 3, 4) for number in range(600)}
    losses = Losses(path, "boot")
    for name, row in rows.items():
        losses.put(name, row)
    losses.clear("c0")
    losses.put("c511", Row(9, 9, 9, 9, 9))
    losses.tell_of(7, 42, 1)
    again = Losses(path, "boot")
    assert again.told_of == (7, 42, 1)
    assert len(again.left) == 511
    assert again.left["c511"] == Row(9, 9, 9, 9, 9)
    assert again.left["c1"] == rows["c1"]
    other = Losses(path, "another")
    assert (other.left, other.told_of) == ({}, (0, 0, 0))


def test_without_room_for_the_account_all_else_works(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    losses = Losses(tmp_path / "file" / "losses", "boot")
    losses.put("a", Row(1, 1))
    losses.tell_of(1, 2, 3)
    losses.clear("a")
    losses.close()
    assert losses.left == {}
