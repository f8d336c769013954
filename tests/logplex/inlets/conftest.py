"""A logplex of this process with its ways in open, and short ways to say something to it."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from oriel.logplex.client import Logplex, Query
from oriel.logplex.inlets.bounds import Bounds
from oriel.logplex.inlets.places import Place
from oriel.logplex.limits import Limits
from oriel.logplex.process import SOCKET, Inlets, serve

STAMP = "2020-01-01T00:00:00Z"


def packet(token: str, text: str | bytes, ps: str = "web.1", priority: int = 190) -> bytes:
    said = text.encode() if isinstance(text, str) else text
    return f"<{priority}>1 {STAMP} host {token} {ps} - - ".encode() + said


def counted(*packets: bytes) -> bytes:
    return b"".join(b"%d %b" % (len(each), each) for each in packets)


@dataclass
class Post:
    """An answer."""

    status: int
    text: str
    headers: dict[str, str]


@dataclass
class Bench:
    """A running logplex: `at` gives the port or path of each kind of door."""

    data: Path
    client: Logplex
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    async def doors(self) -> dict[str, dict[str, Any]]:
        return {each["kind"]: each for each in (await self.client.status())["inlets"]}

    async def port(self, kind: str) -> int:
        return int((await self.doors())[kind]["port"])

    async def token(self, channel: str = "c", name: str = "app") -> str:
        await self.client.create_channel(channel)
        return (await self.client.create_token(channel, name))["id"]

    async def send(self, kind: str, data: bytes) -> None:
        """Connect, say it, and hang up in an orderly way."""
        _, writer = await asyncio.open_connection("127.0.0.1", await self.port(kind))
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def until(self, kind: str, **counts: int) -> dict[str, Any]:
        """Wait for counts of a door to reach something."""
        async with asyncio.timeout(20):
            while True:
                door = (await self.doors())[kind]
                if all(door[name] >= count for name, count in counts.items()):
                    return door
                await asyncio.sleep(0.002)

    async def read(self, channel: str = "c", **query: Any) -> list[str]:
        """Lines without their times."""
        query.setdefault("lines", None)
        parts = [each.text async for each in self.client.read(channel, Query(**query))]
        return [line.split(" ", 1)[1] for line in b"".join(parts).decode().splitlines()]

    async def post(
        self,
        body: bytes,
        *,
        user: str = "",
        method: str = "POST",
        path: str = "/logs",
        zipped: bool = False,
        **headers: str,
    ) -> Post:
        """One request over a connection of its own."""
        given = {
            "Host": "x",
            "Content-Type": "application/logplex-1",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        if zipped:
            body = gzip.compress(body)
            given |= {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
        if user:
            given["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
        return await self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    async def raw(self, request: bytes) -> Post:
        reader, writer = await asyncio.open_connection("127.0.0.1", await self.port("http"))
        try:
            writer.write(request)
            async with asyncio.timeout(20):
                answer = (await reader.read()).decode()
        finally:
            writer.close()
        head, _, text = answer.partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in rest)
        return Post(int(first.split(" ")[1]), text, fields)


Story = Callable[[Bench], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs a story against a logplex with the doors that it asks for."""

    def run(story: Story, *places: tuple[str, str], **settings: Any) -> None:
        mode = settings.pop("unix_mode", 0o600)

        async def played() -> None:
            inlets = Inlets(
                tuple(Place.parse(kind, text, mode) for kind, text in places),
                settings.pop("certificate", None),
                settings.pop("key", None),
                Bounds(**settings),
            )
            data = tmp_path / "data"
            task = asyncio.create_task(
                serve(data, None, limits=Limits(sync_interval_s=0.05), inlets=inlets)
            )
            bench = Bench(data, Logplex(data / SOCKET))
            while not (data / SOCKET).exists():
                assert not task.done() or task.result()
                await asyncio.sleep(0.001)
            try:
                await asyncio.wait_for(story(bench), 60)
            finally:
                await bench.client.close()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(played())

    return run
