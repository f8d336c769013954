"""Real sandboxes for tests: an app's tree owned by a uid that may run in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oriel.sandbox import Confined, Confinement, Exit, Overlay, Sandboxes

UID = os.getuid() or 200_001


@dataclass
class Bench:
    """Runs programs in sandboxes and collects what they print."""

    sandboxes: Sandboxes
    root: Path
    slug: Path
    _count: int = 0
    _mine: list[Confined] = field(default_factory=list)

    def confinement(self, script: str, **more: object) -> Confinement:
        """A shell script over the slug."""
        values = {
            "argv": ("/bin/bash", "-c", script),
            "env": {"HOME": "/app", "PATH": "/usr/local/bin:/usr/bin:/bin"},
            "uid": UID,
            "overlay": Overlay(self.slug, size_bytes=1 << 20),
            **more,
        }
        return Confinement(**values)  # type: ignore[arg-type]

    async def begin(self, script: str, **more: object) -> Running:
        """Start a script; its output can be read from what comes back."""
        self._count += 1
        directory = self.root / f"run{self._count}"
        directory.mkdir()
        read, write = os.pipe()
        try:
            confined = await self.sandboxes.launch(
                self.confinement(script, **more),
                stdin=None,
                stdout=write,
                stderr=None,
                status_path=directory / "status",
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._mine.append(confined)
        return Running(confined, directory / "status", read)

    async def run(self, script: str, **more: object) -> tuple[Exit, str]:
        """Run a script to its end: its exit and all that it printed."""
        running = await self.begin(script, **more)
        outcome = await running.confined.wait()
        return outcome, running.rest()

    async def sweep(self) -> None:
        """Leave nothing running."""
        for confined in self._mine:
            confined.kill_soon()
        await asyncio.gather(*(confined.wait() for confined in self._mine))


@dataclass
class Running:
    """A script that was begun."""

    confined: Confined
    status_path: Path
    output: int

    async def line(self) -> str:
        """The next line that it prints."""
        loop = asyncio.get_running_loop()
        line = bytearray()
        os.set_blocking(self.output, False)
        try:
            async with asyncio.timeout(10):
                while not line.endswith(b"\n"):
                    ready = asyncio.Event()
                    loop.add_reader(self.output, ready.set)
                    await ready.wait()
                    if not (byte := os.read(self.output, 1)):
                        break
                    line += byte
        finally:
            loop.remove_reader(self.output)
            os.set_blocking(self.output, True)
        return line.decode().rstrip("\n")

    def rest(self) -> str:
        """All that is left, up to the end."""
        with os.fdopen(self.output, "rb") as file:
            return file.read().decode(errors="replace")


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Bench], Awaitable[None]]], None]:
    """Run a coroutine function with a bench."""

    def run(story: Callable[[Bench], Awaitable[None]]) -> None:
        async def with_bench() -> None:
            async with bench(tmp_path) as ready:
                await story(ready)

        asyncio.run(with_bench())

    return run


@asynccontextmanager
async def bench(root: Path, data: Path | None = None) -> AsyncIterator[Bench]:
    """A started `Sandboxes` over a small slug; nothing is left afterwards."""
    slug = root / "slug"
    slug.mkdir()
    (slug / "hello").write_text("hello\n")
    for place in (slug, slug / "hello"):
        os.chown(place, UID, UID)
    sandboxes = Sandboxes(data)
    await sandboxes.start()
    if not sandboxes.capabilities.user_namespaces:
        pytest.skip("; ".join(sandboxes.capabilities.why))
    ready = Bench(sandboxes, root, slug)
    try:
        yield ready
    finally:
        await ready.sweep()
        await sandboxes.close()
