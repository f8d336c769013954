"""A client and a process, brought together until one of them has had enough; with a stepped clock,
a link and a terminal that a test speaks through.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from oriel.control.attaching import IDLE_S, attend
from oriel.manifold import Exit, Terminal, Window
from oriel.rendezvous import End, Heard, Input, Resize, Signal
from tests.fakes.clock import SteppedClock
from tests.fakes.launcher import FakeTerminal


class FakeLink:
    """A client that says and hears what a test wants."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Heard | None] = asyncio.Queue()
        self.sent: list[tuple[str, bytes]] = []
        self.took = 0
        self.finished: tuple[int | None, str] | None = None
        self.is_gone = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()

    def expect(self, *, terminal: bool, status: bool, piped: bool) -> None:
        return

    async def hear(self) -> Heard | None:
        return await self.heard.get()

    async def gone(self) -> None:
        await self.is_gone.wait()

    async def taken(self, count: int) -> None:
        self.took += count

    async def send(self, kind: str, data: bytes) -> None:
        await self.reads.wait()
        self.sent.append((kind, data))

    def abort(self) -> None:
        return

    async def finish(self, code: int | None, why: str) -> None:
        self.finished = (code, why)


class FakeProcess:
    """A process that ends when a test says so, or when it is hung up on."""

    def __init__(self) -> None:
        self.fake = FakeTerminal(None)
        self.terminal: Terminal = self.fake
        self.over: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.signals: list[signal.Signals] = []
        self.hung_up = ""

    async def wait(self) -> Exit:
        return await asyncio.shield(self.over)

    async def send(self, what: signal.Signals) -> None:
        self.signals.append(what)

    async def hang_up(self, why: str) -> None:
        self.hung_up = why

    def why(self) -> str:
        return ""

    def end(self, code: int) -> None:
        self.over.set_result(Exit.of(code))
        self.fake.hang()


Story = Callable[
    [FakeLink, FakeProcess, SteppedClock, "asyncio.Task[Exit | None]"], Awaitable[None]
]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def tell(story: Story) -> None:
    async def whole() -> None:
        link, process, clock = FakeLink(), FakeProcess(), SteppedClock()
        task = asyncio.create_task(attend(link, process, clock))
        await settle()
        async with asyncio.timeout(20):
            await story(link, process, clock, task)
        assert process.fake.closed

    asyncio.run(whole())


def test_the_end_comes_after_all_output() -> None:
    async def story(
        link: FakeLink, process: FakeProcess, clock: SteppedClock, task: asyncio.Task[Exit | None]
    ) -> None:
        link.reads.clear()
        process.fake.say(b"one")
        process.fake.say(b"two", "err")
        process.end(7)
        await settle()
        assert link.finished is None
        link.reads.set()
        assert await task == Exit(7)
        assert link.sent == [("out", b"one"), ("err", b"two")]
        assert link.finished == (7, "")

    tell(story)


def test_what_the_client_says_gets_there() -> None:
    async def story(
        link: FakeLink, process: FakeProcess, clock: SteppedClock, task: asyncio.Task[Exit | None]
    ) -> None:
        for each in (Input(b"ls\n"), Resize(120, 40), Signal(signal.SIGINT), End()):
            link.heard.put_nowait(each)
        await settle()
        assert process.fake.heard == b"ls\n"
        assert link.took == 3
        assert process.fake.window == Window(120, 40)
        assert process.signals == [signal.SIGINT]
        assert process.fake.at_end
        process.end(0)
        assert await task == Exit(0)

    tell(story)


def test_a_client_that_goes_is_an_end() -> None:
    async def story(
        link: FakeLink, process: FakeProcess, clock: SteppedClock, task: asyncio.Task[Exit | None]
    ) -> None:
        link.heard.put_nowait(None)
        assert await task is None
        assert process.hung_up == "its client has gone"

    tell(story)


def test_an_hour_of_silence_is_an_end_and_every_word_begins_it_anew() -> None:
    async def story(
        link: FakeLink, process: FakeProcess, clock: SteppedClock, task: asyncio.Task[Exit | None]
    ) -> None:
        await clock.advance(IDLE_S - 1, settle)
        process.fake.say(b"still here")
        await clock.advance(IDLE_S - 1, settle)
        assert not task.done()
        await clock.advance(2, settle)
        assert await task is None
        assert process.hung_up == f"nothing was said for {IDLE_S:.0f} s"
        assert link.finished == (None, f"it was ended: {process.hung_up}")

    tell(story)


def test_when_the_platform_stops_the_client_hears_of_it() -> None:
    async def story(
        link: FakeLink, process: FakeProcess, clock: SteppedClock, task: asyncio.Task[Exit | None]
    ) -> None:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert link.finished == (None, "the platform was stopped while it ran")

    tell(story)


def test_a_process_that_does_not_read_is_interrupted_all_the_same() -> None:
    async def story(
        link: FakeLink, process: FakeProcess, clock: SteppedClock, task: asyncio.Task[Exit | None]
    ) -> None:
        process.fake.reads.clear()
        for each in (Input(b"x" * 100_000), Input(b"y"), Signal(signal.SIGINT), Resize(9, 9)):
            link.heard.put_nowait(each)
        await settle()
        assert (process.signals, process.fake.window) == ([signal.SIGINT], Window(9, 9))
        assert link.took == 0
        process.fake.reads.set()
        await settle()
        assert link.took == 100_001
        process.end(130)
        assert await task == Exit.of(130)

    tell(story)


def test_a_client_that_goes_is_seen_though_nobody_reads_what_it_said() -> None:
    async def story(
        link: FakeLink, process: FakeProcess, clock: SteppedClock, task: asyncio.Task[Exit | None]
    ) -> None:
        process.fake.reads.clear()
        for _ in range(20):
            link.heard.put_nowait(Input(b"x" * 16_384))
        await settle()
        assert link.heard.qsize() == 4, "no more is taken than may wait"
        link.is_gone.set()
        assert await task is None
        assert process.hung_up == "its client has gone"

    tell(story)
