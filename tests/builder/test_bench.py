from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from oriel.builder.bench import Bench, Errors, Overdue
from oriel.faults import Unavailable
from oriel.sandbox import Confinement, Exit, Sandboxes
from tests.builder.githttp import UID

pytestmark = pytest.mark.real


def sh(script: str) -> Confinement:
    return Confinement(("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"}, UID, cwd="/")


def with_bench(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        sandboxes = Sandboxes()
        await sandboxes.start()
        try:
            await test(Bench(sandboxes))
        finally:
            await sandboxes.close()

    asyncio.run(main())


async def feed(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_feeds_and_reads_more_than_a_pipe_holds(tmp_path: Path) -> None:
    said, errors = bytearray(), Errors()

    async def take(piece: bytes) -> None:
        said.extend(piece)

    async def test(bench: Bench) -> None:
        exit_ = await bench.run(
            sh("cat; echo oops >&2; exit 3"),
            place=tmp_path,
            output=take,
            errors=errors,
            feed=feed(b"x" * 3_000_000, b"end"),
            timeout_s=30,
        )
        assert exit_ == Exit.of(3)

    with_bench(test)
    assert len(said) == 3_000_003
    assert said.endswith(b"end")
    assert errors.last_line == "oops"
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_stops_reading_does_not_stop_the_feed(tmp_path: Path) -> None:
    fed = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal fed
        for _ in range(20):
            fed += 1
            yield b"x" * 100_000

    async def take(piece: bytes) -> None: ...

    async def test(bench: Bench) -> None:
        exit_ = await bench.run(
            sh("exit 0"), place=tmp_path, output=take, feed=source(), timeout_s=30
        )
        assert exit_.code == 0

    with_bench(test)
    assert fed == 20


def test_what_is_overdue_or_not_wanted_any_more_is_ended(tmp_path: Path) -> None:
    async def take(piece: bytes) -> None:
        raise Unavailable("gone")

    async def test(bench: Bench) -> None:
        with pytest.raises(Overdue):
            await bench.run(sh("sleep 60"), place=tmp_path, output=take, timeout_s=0.3)
        with pytest.raises(Unavailable):
            await bench.run(sh("echo x; sleep 60"), place=tmp_path, output=take, timeout_s=30)

    with_bench(test)
    assert list(tmp_path.iterdir()) == []


def test_daemons_end_with_the_program(tmp_path: Path) -> None:
    async def take(piece: bytes) -> None: ...

    async def test(bench: Bench) -> None:
        exit_ = await bench.run(sh("sleep 60 & exit 5"), place=tmp_path, output=take, timeout_s=30)
        assert exit_.code == 5

    with_bench(test)
