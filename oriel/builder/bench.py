"""Owns running one program in the sandbox: its pipes, its time, and that it is gone afterwards.

Must not know git, builds or languages. What it starts keeps its status file in a directory of the
caller's, so that a later start of the platform can find and end it: see `sweep`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.clock import new_id
from oriel.sandbox import Confined, Confinement, Exit, Sandboxes

CHUNK_BYTES = 64 * 1024
ERRORS_BYTES_MAX = 16 * 1024
_STATUS = ".status"

Output = Callable[[bytes], Awaitable[None]]


class Overdue(Exception):
    """The program took longer than it may, and is ended."""


@dataclass(slots=True)
class Errors:
    """The last of what a program wrote to its stderr."""

    text: bytes = b""

    async def take(self, piece: bytes) -> None:
        """More of it."""
        self.text = (self.text + piece)[-ERRORS_BYTES_MAX:]

    @property
    def last_line(self) -> str:
        """The last line, for a message."""
        lines = self.text.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:500] if lines else ""


class Bench:
    """Runs programs in sandboxes, each with its input fed and its output read as it comes."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        """The sandboxes are started and closed by who owns them."""
        self._sandboxes = sandboxes

    async def run(
        self,
        what: Confinement,
        *,
        place: Path,
        output: Output,
        errors: Errors | None = None,
        feed: AsyncIterator[bytes] | None = None,
        timeout_s: float,
    ) -> Exit:
        """Run to the end; when this is cancelled or fails, nothing of the program is left.

        `place` is a directory for the status file. Without `errors`, stderr goes to `output`.
        Raises Overdue after `timeout_s`, and whatever `output` and `feed` raise.
        """
        status = place / f"{new_id()}{_STATUS}"
        pipes = _Pipes(fed=feed is not None, errors=errors is not None)
        try:
            async with asyncio.timeout(timeout_s) as time_limit:
                confined = await self._launch(what, pipes, status)
                try:
                    return await _carry(confined, pipes, output, errors, feed)
                finally:
                    await asyncio.shield(confined.kill())
        except TimeoutError:
            if not time_limit.expired():
                raise
            raise Overdue from None
        finally:
            pipes.close()
            status.unlink(missing_ok=True)

    async def _launch(self, what: Confinement, pipes: _Pipes, status: Path) -> Confined:
        """Launch, and end what was launched if nobody waits for it any more."""
        launching = asyncio.ensure_future(
            self._sandboxes.launch(
                what,
                stdin=pipes.stdin_inside,
                stdout=pipes.stdout_inside,
                stderr=pipes.stderr_inside,
                status_path=status,
            )
        )
        try:
            confined = await asyncio.shield(launching)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await (await launching).kill()
            raise
        finally:
            if launching.done():
                pipes.close_inside()
        return confined

    async def sweep(self, place: Path) -> int:
        """End what an earlier process left running, by the status files in `place`."""
        ended = 0
        for status in sorted(place.glob(f"*{_STATUS}")):
            found = await self._sandboxes.adopt({}, status)
            if isinstance(found, Confined):
                await found.kill()
                ended += 1
        return ended


def own(path: Path, uid: int) -> None:
    """Give a file or directory to an app's uid, where Oriel may (as root)."""
    if os.geteuid() == 0:
        os.chown(path, uid, uid, follow_symlinks=False)


@contextlib.contextmanager
def place_for(parent: Path, prefix: str) -> Iterator[Path]:
    """A directory of its own below `parent` for one piece of work, gone afterwards."""
    place = parent / f"{prefix}{new_id()}"
    place.mkdir(parents=True, mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


class _Pipes:
    """The descriptors of one run: our ends and those inside."""

    def __init__(self, *, fed: bool, errors: bool) -> None:
        self.stdin_inside: int | None = None
        self.stderr_inside: int | None = None
        self._open: set[int] = set()
        self.stdout, self.stdout_inside = self._pair()
        self.stdin = self.stderr = -1
        if fed:
            self.stdin_inside, self.stdin = self._pair()
        if errors:
            self.stderr, self.stderr_inside = self._pair()

    def _pair(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open.update(ends)
        return ends

    def shut(self, descriptor: int | None) -> None:
        """Close one of them, if it is open."""
        if descriptor in self._open:
            self._open.discard(descriptor)
            os.close(descriptor)

    def close_inside(self) -> None:
        """The program has its ends: close ours of them, or no pipe would ever end."""
        for descriptor in (self.stdin_inside, self.stdout_inside, self.stderr_inside):
            self.shut(descriptor)

    def close(self) -> None:
        """Close all that is left."""
        for descriptor in list(self._open):
            self.shut(descriptor)


async def _carry(
    confined: Confined,
    pipes: _Pipes,
    output: Output,
    errors: Errors | None,
    feed: AsyncIterator[bytes] | None,
) -> Exit:
    """Move bytes until the program has ended and its last words are read."""
    readers = [asyncio.create_task(read_pipe(pipes.stdout, output))]
    if errors:
        readers.append(asyncio.create_task(read_pipe(pipes.stderr, errors.take)))
    feeding = [asyncio.create_task(_feed(pipes, feed))] if feed else []
    waiting = asyncio.create_task(confined.wait())
    everything = [*readers, *feeding, waiting]
    try:
        pending: set[asyncio.Task[Any]] = {*readers, *feeding, waiting}
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return waiting.result()
    finally:
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)


async def read_pipe(descriptor: int, output: Output) -> None:
    """Hand over what a pipe brings until it ends; one piece at a time, so a slow taker slows it.

    `descriptor` stays the caller's: a task that is cancelled before it began closes nothing.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK_BYTES, loop=loop)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
        os.fdopen(os.dup(descriptor), "rb", 0),
    )
    try:
        while piece := await reader.read(CHUNK_BYTES):
            await output(piece)
    finally:
        transport.close()


async def write_pipe(descriptor: int, content: bytes) -> None:
    """Write all of it to a pipe that is set not to block, waiting while the other side is slow."""
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await _writable(descriptor)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


async def _feed(pipes: _Pipes, feed: AsyncIterator[bytes]) -> None:
    """Write what `feed` gives. A program that has stopped reading does not stop the feed."""
    os.set_blocking(pipes.stdin, False)
    deaf = False
    async for piece in feed:
        if deaf:
            continue  # the other side hears our answer only when it has finished its sentence
        try:
            await write_pipe(pipes.stdin, piece)
        except BrokenPipeError:
            deaf = True
    pipes.shut(pipes.stdin)
