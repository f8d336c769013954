"""What was read at the other end is found out without an answer; who ends nothing shows nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from oriel.egress import Dialer, OneWay, Rules
from oriel.egress.oneway import HUNG_UP, Stalled
from tests.egress.authority import Authority

Story = Callable[[OneWay, socket.socket], Awaitable[None]]
"""Our end, and the receiver's: a blocking socket, for threads."""


def play(story: Story, authority: Authority | None = None) -> None:
    async def played() -> None:
        dialer = Dialer(Rules.parse(["127.0.0.1"]), str(authority.ca) if authority else None)
        context = authority.server("127.0.0.1") if authority else None
        with socket.create_server(("127.0.0.1", 0)) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
            accepting = asyncio.create_task(asyncio.to_thread(_accepted, door, context))
            port = door.getsockname()[1]
            line = await dialer.one_way("127.0.0.1", port, tls=authority is not None)
            with await accepting as taker:
                taker.settimeout(20)
                try:
                    await asyncio.wait_for(story(line, taker), 30)
                finally:
                    line.close()
                    dialer.close()

    asyncio.run(played())


def _accepted(door: socket.socket, context: ssl.SSLContext | None) -> socket.socket:
    made, _ = door.accept()
    return context.wrap_socket(made, server_side=True) if context else made


def _read_on(taker: socket.socket) -> bytes:
    """As a receiver does: everything, to the end; then it hangs up."""
    got = bytearray()
    while data := taker.recv(65536):
        got += data
    taker.close()
    return bytes(got)


@pytest.fixture(params=["tcp", "tls"])
def authority(request: pytest.FixtureRequest, tmp_path: Path) -> Authority | None:
    return Authority(tmp_path) if request.param == "tls" else None


def test_who_reads_to_the_end_and_hangs_up_has_read_everything(
    authority: Authority | None,
) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        reading = asyncio.create_task(asyncio.to_thread(_read_on, taker))
        data = bytes(range(256)) * 20_000
        await line.send(data, 10)
        assert line.sent == len(data)
        assert await line.goodbye(10)
        assert await reading == data
        assert (line.ended, line.read_all, line.waiting()) == (HUNG_UP, True, 0)

    play(story, authority)


def test_who_dies_with_something_unread_has_not(authority: Authority | None) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        await line.send(b"x" * 1000, 10)
        await _until(lambda: line.waiting() == 0)  # Its machine has it.
        saying = asyncio.create_task(line.goodbye(10))
        await asyncio.sleep(0.05)
        taker.close()
        assert not await saying
        assert not line.read_all

    play(story, authority)


def test_who_hung_up_before_the_last_of_it_has_not(authority: Authority | None) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        await line.send(b"one", 10)
        assert await asyncio.to_thread(taker.recv, 100) == b"one"
        taker.close()
        with contextlib.suppress(OSError):
            await line.send(b"two", 10)
            await line.goodbye(5)
        assert not line.read_all

    play(story, authority)


def test_who_says_no_more_while_something_is_on_its_way_has_not_read_it(
    authority: Authority | None,
) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        ended = asyncio.Event()
        line.on_end = ended.set
        sending = asyncio.create_task(line.send(b"x" * 3_000_000, 10))
        await asyncio.sleep(0.1)
        assert line.waiting() > 0
        socket.socket.shutdown(taker, socket.SHUT_WR)
        await ended.wait()
        assert not line.read_all
        await asyncio.gather(sending, return_exceptions=True)

    play(story, authority)


def test_who_hung_up_when_it_had_everything_has_read_it(authority: Authority | None) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        ended = asyncio.Event()
        line.on_end = ended.set
        await line.send(b"one", 10)
        await asyncio.to_thread(taker.recv, 100)
        if isinstance(taker, ssl.SSLSocket):
            # TLS's own end, as a server says it that does not wait for ours.
            with contextlib.suppress(OSError, ValueError):
                taker.settimeout(0)
                taker.unwrap()
        taker.close()
        await ended.wait()
        assert line.read_all

    play(story, authority)


def test_who_does_not_answer_the_end_is_not_believed(authority: Authority | None) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        await line.send(b"one", 10)
        assert not await line.goodbye(0.1)
        assert not line.ended

    play(story, authority)


def test_what_a_cancellation_cut_short_is_sent_with_the_goodbye(
    authority: Authority | None,
) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        data = bytes(range(256)) * 60_000
        sending = asyncio.create_task(line.send(data, 10))
        await asyncio.sleep(0.1)
        assert not sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        reading = asyncio.create_task(asyncio.to_thread(_read_on, taker))
        assert await line.goodbye(10)
        assert await reading == data
        assert line.sent == len(data)

    play(story, authority)


def test_who_takes_nothing_is_given_up_and_who_takes_little_is_not(
    authority: Authority | None,
) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        with pytest.raises(Stalled, match="nothing was taken for 0.3 s"):
            await line.send(b"x" * 12_000_000, 0.3)
        # Now it is full. Before and after each wait: how much the other machine has not taken.
        left = [9, 8, 8, 7, 7, 7]
        line.waiting = lambda: left.pop(0)  # type: ignore[method-assign]
        with pytest.raises(Stalled, match="nothing was taken for 0.05 s"):
            await line._flush(0.05)
        assert left == []

    play(story, authority)


def test_who_talks_without_end_is_heard_little_by_little(authority: Authority | None) -> None:
    async def story(line: OneWay, taker: socket.socket) -> None:
        said, over = 0, threading.Event()

        def talk() -> None:
            nonlocal said
            taker.settimeout(0.1)
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    said += taker.send(b"x" * 65536)

        talking = asyncio.create_task(asyncio.to_thread(talk))
        heard = 0
        recv = line._recv

        def counted(size: int) -> bytes:
            nonlocal heard
            data = recv(size)
            heard += len(data)
            return data

        line._recv = counted
        await asyncio.sleep(0.5)
        await line.send(b"and still it goes", 10)
        over.set()
        await talking
        assert said > 500_000
        assert heard < 500_000

    play(story, authority)


async def _until(check: Callable[[], bool]) -> None:
    for _ in range(2000):
        if check():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never")
