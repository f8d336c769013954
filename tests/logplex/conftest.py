"""Real channels, real FIFOs, a real logplex process: what the tests of this room stand on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest

from oriel.logplex.channel import Channel, PlatformLine
from oriel.logplex.client import Logplex, Query
from oriel.logplex.limits import Limits
from oriel.logplex.session import Batch, Session
from oriel.logplex.turns import Turns

BOOT = "00000000-0000-0000-0000-000000000001"
START_US = 1_308_472_519_000_000  # 2011-06-19T08:35:19


class SteppedClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_us = START_US

    def wall_ns(self) -> int:
        return self.now_us * 1000


class Stand:
    """A channel in a directory, and short ways to write and read it."""

    def __init__(self, directory: Path, limits: Limits | None = None, boot: str = BOOT) -> None:
        self.directory = directory
        self.limits = limits or Limits()
        self.boot = boot
        self.now_us = START_US
        self.channel = Channel(directory, self.limits, boot)

    def reopen(self, boot: str | None = None) -> None:
        """As after a SIGKILL: nothing is closed in an orderly way but the descriptors."""
        self.channel.close()
        self.boot = boot or self.boot
        self.channel = Channel(self.directory, self.limits, self.boot)

    def say(self, ps: str, data: bytes, instance: str = "i", release: int = 1) -> None:
        source = self.channel.source("app", ps, instance, release)
        self.channel.write(source, data, self.now_us)
        self.now_us += 1000

    def platform(self, number: int, text: str, ps: str = "api") -> int:
        line = PlatformLine(number, "heroku", ps, text)
        return self.channel.append_platform([line], self.now_us)

    def sync(self) -> None:
        job = self.channel.sync_job()
        if job:
            self.channel.synced(job.run())

    def batches(self, **query: object) -> list[Batch]:
        return asyncio.run(self._batches(Query(**query)))  # type: ignore[arg-type]

    async def _batches(self, query: Query) -> list[Batch]:
        session = Session(self.channel, query, Turns())
        try:
            await session.seek()
            return [each async for each in session.batches()]
        finally:
            await session.close()

    def text(self, **query: object) -> str:
        """What a reader sees, without times."""
        query.setdefault("lines", None)
        said = b"".join(each.text for each in self.batches(**query)).decode()
        return "".join(line.split(" ", 1)[1] for line in said.splitlines(keepends=True))

    def json(self, **query: object) -> list[dict[str, object]]:
        query.setdefault("lines", None)
        batches = self.batches(format="json", **query)
        return [json.loads(line) for each in batches for line in each.text.splitlines()]


PROCESS = "oriel.logplex.process"


class Plex:
    """A logplex process on a data directory, and the FIFOs that a test's dynos write to."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process: subprocess.Popen[bytes] | None = None
        self.held: dict[str, int] = {}
        self.pass_fds: tuple[int, ...] = ()
        self.module = PROCESS
        self.client = Logplex(data / "run" / "logplex.sock")

    def start(self) -> None:
        """Start it, without waiting."""
        argv = [sys.executable, "-m", self.module]
        argv += [str(self.data)] if self.module != PROCESS else ["--data", str(self.data)]
        if self.pass_fds:
            argv += ["--router-fd", str(self.pass_fds[0])]
        self.process = subprocess.Popen(argv, pass_fds=self.pass_fds)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def run(self, story: Callable[[], Coroutine[None, None, None]]) -> None:
        """Play a story, then hang up."""

        async def played() -> None:
            try:
                await story()
            finally:
                await self.client.close()

        asyncio.run(played())

    async def ready(self) -> dict[str, object]:
        """Wait until it answers."""
        for _ in range(2000):
            try:
                return await self.client.status()
            except Exception:
                await asyncio.sleep(0.005)
        raise AssertionError("logplex does not answer")

    def dyno(self, instance: str, name: str, channel: str, release: int = 1) -> int:
        """Make a dyno's directory, hold its FIFO as `oriel up` does; gives a writing end."""
        directory = self.data / "dynos" / instance
        directory.mkdir(parents=True)
        identity = {"channel": channel, "name": name, "release": release, "app": "a"}
        (directory / "identity.json").write_text(json.dumps(identity))
        os.mkfifo(directory / "out")
        self.held[instance] = os.open(directory / "out", os.O_RDWR)
        return os.open(directory / "out", os.O_WRONLY)

    async def read(self, channel: str, **query: object) -> list[str]:
        """Lines without their times."""
        query.setdefault("lines", None)
        parts = [each.text async for each in self.client.read(channel, Query(**query))]  # type: ignore[arg-type]
        return [line.split(" ", 1)[1] for line in b"".join(parts).decode().splitlines()]

    def close(self) -> None:
        """End it and let go of the FIFOs."""
        self.kill()
        for fd in self.held.values():
            os.close(fd)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path / "channels" / "c")
    yield made
    made.channel.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stand]:
    """A channel whose segments are finished after 200 bytes."""
    made = Stand(tmp_path / "channels" / "c", Limits(segment_bytes=200))
    yield made
    made.channel.close()


@pytest.fixture
def plex(tmp_path: Path) -> Iterator[Plex]:
    made = Plex(tmp_path / "data")
    yield made
    made.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long kill runs are only for `--long`."""
    if config.getoption("--long", default=False):
        return
    for item in items:
        if item.get_closest_marker("long") and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="only with --long"))
