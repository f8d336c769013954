"""Drains on a real shelf, in this process, and receivers that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from oriel.clock import SystemClock
from oriel.egress import Dialer, Rules
from oriel.logplex.channel import Channel, PlatformLine
from oriel.logplex.drains.outlet import Times
from oriel.logplex.drains.place import Places
from oriel.logplex.drains.roster import Roster
from oriel.logplex.limits import Limits
from oriel.logplex.shelf import Shelf
from oriel.logplex.turns import Turns

FAST = Times(connect_s=10.0, answer_s=10.0, answer_max_s=20.0, stall_s=2.0, bye_s=5.0)
"""Long enough for a busy machine: who tests a time-out makes it short."""
HASTY = replace(FAST, answer_s=0.3, answer_max_s=2.0)
FRAME = re.compile(rb"<(\d+)>1 (\S{32}) (\S+) (\S+) (\S+) - (?:- )?(.*)\n", re.DOTALL)


def frames(body: bytes) -> list[bytes]:
    """The packets of octet-counted frames; fails on anything else."""
    found, at = [], 0
    while at < len(body):
        space = body.index(b" ", at)
        end = space + 1 + int(body[at:space])
        assert end <= len(body), "a frame that broke off"
        found.append(body[space + 1 : end])
        at = end
    return found


def texts(body: bytes) -> list[str]:
    """The messages of some frames."""
    said = []
    for packet in frames(body):
        match = FRAME.fullmatch(packet)
        assert match, packet
        said.append(match[6].decode())
    return said


@dataclass
class Request:
    """What an HTTP receiver got, and what it answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    answer: str

    @property
    def texts(self) -> list[str]:
        return texts(self.body)

    @property
    def frame_id(self) -> str:
        return self.headers["logplex-frame-id"]


@dataclass
class Receiver:
    """An HTTP receiver that answers by a script, then 200 for ever.

    An answer is a status, `hang`, or `close` (after reading, without an answer).
    """

    script: list[int | str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    more: str = ""
    """Header lines that each answer has."""
    context: ssl.SSLContext | None = None
    port: int = 0
    connections: int = 0
    lines: int = 0
    """Messages in requests that were answered with 2xx."""
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> Receiver:
        self._server = await asyncio.start_server(
            self._talk, "127.0.0.1", self.port, ssl=self.context, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """As when it is killed: everything is cut at once."""
        if self._server:
            self._server.close()
            self._server = None
        for each in list(self._writers):
            each.transport.abort()
        await asyncio.sleep(0)

    @property
    def taken(self) -> list[str]:
        """The messages of all requests that were answered with 2xx, in order."""
        return [
            text for each in self.requests if each.answer.startswith("2") for text in each.texts
        ]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        self._writers.discard(writer)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            key.lower(): value for key, _, value in (row.partition(": ") for row in head[1:] if row)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        answer = str(self.script.pop(0)) if self.script else "200"
        self.requests.append(Request(head[0].split(" ")[1], headers, body, answer))
        self.lines += int(headers["logplex-msg-count"]) if answer.startswith("2") else 0
        if answer == "hang":
            await asyncio.sleep(60)
        if answer == "close":
            return False
        writer.write(f"HTTP/1.1 {answer} Said\r\n{self.more}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        return True


@dataclass
class Sink:
    """A syslog receiver over TCP or TLS: keeps what each connection brought."""

    connections: list[bytearray] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    port: int = 0
    deaf: bool = False
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> Sink:
        self._server = await asyncio.start_server(
            self._talk, "127.0.0.1", self.port, ssl=self.context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """End every connection, as a kill does."""
        for each in list(self._writers):
            each.transport.abort()

    @property
    def texts(self) -> list[str]:
        """The whole messages of all connections; a torn last one is what a kill leaves."""
        said: list[str] = []
        for each in self.connections:
            said += texts(_whole(bytes(each)))
        return said

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        got = bytearray()
        self.connections.append(got)
        with contextlib.suppress(OSError):
            while not self.deaf and (data := await reader.read(65536)):
                got += data
            while self.deaf:
                await asyncio.sleep(0.02)
        self._writers.discard(writer)
        writer.close()


def _whole(data: bytes) -> bytes:
    """What of a stream is whole frames."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 8)
        if space < 0 or space + 1 + int(data[at:space]) > len(data):
            break
        at = space + 1 + int(data[at:space])
    return data[:at]


class Bench:
    """A shelf and a roster of drains in a directory."""

    def __init__(self, data: Path, *, limits: Limits | None = None, ca: Path | None = None) -> None:
        self.data = data
        self.clock = SystemClock()
        self.dialer = Dialer(Rules.parse(["127.0.0.1"]), str(ca) if ca else None)
        self.limits = limits or Limits(sync_interval_s=30)
        self.times = FAST
        self.number = 0

    async def start(self) -> None:
        self.shelf = Shelf(self.data / "channels", self.limits, self.clock, "boot")
        await self.shelf.start()
        self.roster = Roster(
            Places(self.data / "drains"), self.shelf, Turns(), self.dialer, self.clock, self.times
        )
        self.roster.start()

    async def stop(self) -> None:
        await self.roster.close()
        await self.shelf.close()

    async def kill(self) -> None:
        """As a SIGKILL leaves it: nothing is written down or said goodbye to."""
        for each in self.roster._drains.values():
            if each._task:
                each._task.cancel()
                await asyncio.gather(each._task, return_exceptions=True)
            drop = getattr(each._outlet, "_drop", None)
            if drop:
                drop()
            each.channel.listeners.clear()
            each.channel.watchers.clear()
        await self.shelf.close()

    @property
    def channel(self) -> Channel:
        return self.shelf.channel("c")

    async def ask(self, op: str, **request: Any) -> dict[str, Any]:
        return await self.roster.operations()[op]({"channel": "c", **request})

    async def add(self, url: str) -> dict[str, Any]:
        return dict((await self.ask("drain-add", url=url))["drain"])

    async def told(self) -> dict[str, Any]:
        return dict((await self.ask("drains"))["drains"][0])

    async def answered(self) -> dict[str, Any]:
        """How the first drain is, once it has heard the answer to all that it sent.

        A receiver has a request before its drain has the answer.
        """
        drain = next(iter(self.roster._drains.values()))
        await until(lambda: not drain._batch and not drain.state.until, "it has its answer")
        return await self.told()

    def say(self, *lines: str, ps: str = "web.1") -> None:
        """A dyno writes lines."""
        channel = self.channel
        source = channel.source("app", ps, "i", 1)
        channel.write(source, "".join(f"{each}\n" for each in lines).encode(), self._now_us())

    def platform(self, text: str) -> None:
        self.number += 1
        line = PlatformLine(self.number, "heroku", "api", text)
        self.channel.append_platform([line], self._now_us())

    def in_channel(self) -> str:
        """The channel's very bytes."""
        files = sorted((self.data / "channels" / "c").glob("*.log"))
        return b"".join(each.read_bytes() for each in files).decode("utf-8", "replace")

    def hurry(self) -> None:
        """Let the back-off be over."""
        for each in self.roster._drains.values():
            each.hurry()

    def _now_us(self) -> int:
        return self.clock.wall_ns() // 1000


Story = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.dialer.close()


def play(bench: Bench, story: Story, timeout_s: float = 60) -> None:
    """Run a story on a started bench."""

    async def played() -> None:
        await bench.start()
        try:
            await asyncio.wait_for(story(bench), timeout_s)
        finally:
            await bench.stop()

    asyncio.run(played())


async def until(check: Callable[[], object], what: str = "", timeout_s: float = 20) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        await asyncio.sleep(0.005)
