"""Both ends of a terminal and of pipes, in one process: bytes, ends, sizes, each side's pace."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Awaitable, Callable

import pytest

from oriel.manifold.launcher import Window
from oriel.manifold.local.terminals import FarEnd, LocalTerminal, open_terminal

Story = Callable[[LocalTerminal, FarEnd], Awaitable[None]]


def tell(story: Story, window: Window | None) -> None:
    async def whole() -> None:
        near, far = open_terminal(window, None)
        try:
            async with asyncio.timeout(20):
                await story(near, far)
        finally:
            near.close()

    asyncio.run(whole())


def test_pipes_carry_every_byte_and_their_ends() -> None:
    async def story(near: LocalTerminal, far: FarEnd) -> None:
        every = bytes(range(256)) * 4096
        reading = asyncio.create_task(asyncio.to_thread(_all, far.stdin))
        await near.write(every)
        await near.end_input()
        assert await reading == every
        os.write(far.stdout, b"out")
        assert await near.read() == ("out", b"out")
        os.write(far.stderr, b"err")
        assert await near.read() == ("err", b"err")
        far.close()
        assert await near.read() is None

    tell(story, None)


def test_one_that_reads_no_more_gets_no_more() -> None:
    async def story(near: LocalTerminal, far: FarEnd) -> None:
        far.close()
        await near.write(b"x" * 1_000_000)
        await near.end_input()

    tell(story, None)


@pytest.mark.parametrize("window", [None, Window()])
def test_writing_waits_for_the_reader(window: Window | None) -> None:
    async def story(near: LocalTerminal, far: FarEnd) -> None:
        if window is not None:
            mode = termios.tcgetattr(far.stdin)
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(far.stdin, termios.TCSANOW, mode)
        writing = asyncio.create_task(near.write(b"y" * 4_000_000))
        await asyncio.sleep(0.05)
        assert not writing.done()
        got = 0
        while got < 4_000_000:
            got += len(await asyncio.to_thread(os.read, far.stdin, 65536))
        await writing
        far.close()

    tell(story, window)


def test_a_terminal_is_one_and_has_its_size() -> None:
    async def story(near: LocalTerminal, far: FarEnd) -> None:
        assert os.isatty(far.stdin)
        assert os.get_terminal_size(far.stdin) == (100, 30)
        near.resize(Window(120, 40))
        assert os.get_terminal_size(far.stdin) == (120, 40)
        await near.write(b"hi\r")
        assert await asyncio.to_thread(os.read, far.stdin, 100) == b"hi\n"
        await near.end_input()
        assert await asyncio.to_thread(os.read, far.stdin, 100) == b""
        os.write(far.stdout, b"last words\n")
        far.close()
        seen = b""
        while (said := await near.read()) is not None:
            seen += said[1]
        assert seen.endswith(b"last words\r\n")

    tell(story, Window(100, 30))


def test_closing_wakes_who_reads() -> None:
    async def story(near: LocalTerminal, far: FarEnd) -> None:
        reading = asyncio.create_task(near.read())
        await asyncio.sleep(0)
        near.close()
        near.close()
        assert await reading is None
        far.close()

    tell(story, Window())


def _all(descriptor: int) -> bytes:
    told = b""
    while chunk := os.read(descriptor, 65536):
        told += chunk
    return told
