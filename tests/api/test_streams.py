"""Long answers: their form, their end, and readers that leave or take nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oriel import faults
from oriel.api.streams import Streams, event

from .asgi import Answer, Client, call


@dataclass(frozen=True)
class Lines:
    position: str
    text: bytes


class Source:
    """Gives batches, then what `after` says; notes that it was ended."""

    def __init__(self, *batches: Lines, after: str = "end") -> None:
        self.closed = False
        self._batches = batches
        self._after = after

    async def __aiter__(self) -> AsyncIterator[Lines]:
        try:
            for batch in self._batches:
                yield batch
            if self._after == "wait":
                await asyncio.Event().wait()
            if self._after == "fail":
                raise faults.Unavailable("Logplex is away.")
        finally:
            self.closed = True


ONE = Lines("p1", b"2026 app[web.1]: one\n2026 app[web.1]: two\n")
TWO = Lines("p2", b"2026 app[web.1]: three\n")


def _app(source: Source, *, tail: bool = False, form: str = "events", **limits: float) -> ASGIApp:
    streams = Streams(**limits)  # type: ignore[arg-type]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        batches = source.__aiter__()
        if form == "events":
            await streams.events(batches, tail=tail, receive=receive, send=send)
        else:
            await streams.plain(batches, receive=receive, send=send)

    return app


def test_a_session_as_events_ends_quickly_and_properly() -> None:
    answer = call(_app(Source(ONE, TWO)), "GET", "/")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.complete
    assert answer.body == (
        b"retry: 1\n\n"
        b"id: p1\ndata: 2026 app[web.1]: one\ndata: 2026 app[web.1]: two\n\n"
        b"id: p2\ndata: 2026 app[web.1]: three\n\n"
    )


def test_an_empty_session_ends_as_quickly() -> None:
    answer = call(_app(Source()), "GET", "/")
    assert (answer.body, answer.complete) == (b"retry: 1\n\n", True)


def test_a_tail_is_not_told_to_come_back_at_once() -> None:
    assert b"retry" not in call(_app(Source(ONE), tail=True), "GET", "/").body


def test_plain_text_is_the_lines_alone() -> None:
    answer = call(_app(Source(ONE, TWO), form="plain"), "GET", "/")
    assert answer.body == ONE.text + TWO.text
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("form", ["events", "plain"])
def test_a_failure_before_the_first_line_is_a_status(form: str) -> None:
    with pytest.raises(faults.Unavailable):
        call(_app(Source(after="fail"), form=form), "GET", "/")


def test_a_failure_in_the_middle_ends_a_tail_so_that_it_comes_back() -> None:
    answer = call(_app(Source(ONE, after="fail"), tail=True), "GET", "/")
    assert answer.complete


@pytest.mark.parametrize("form", ["events", "plain"])
def test_a_failure_in_the_middle_of_what_is_no_tail_does_not_look_like_its_end(form: str) -> None:
    client = Client(_app(Source(ONE, after="fail"), form=form), "GET", "/")
    with pytest.raises(faults.Unavailable):
        asyncio.run(client.run())
    assert b"one" in client.answer.body
    assert not client.answer.complete


async def _until(client: Client, done: Callable[[Answer], bool]) -> None:
    while not done(client.answer):
        client.arrived.clear()
        await asyncio.wait_for(client.arrived.wait(), 5)


def _story(tell: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(tell(), 10))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["events", "plain"])
def test_the_head_comes_before_the_first_line_and_a_reader_that_leaves_ends_it(form: str) -> None:
    async def tell() -> None:
        source = Source(after="wait")
        client = Client(_app(source, tail=True, form=form, keep_alive_s=0.02), "GET", "/")
        running = asyncio.create_task(client.run())
        await _until(client, lambda answer: answer.status == 200)
        if form == "events":
            await _until(client, lambda answer: answer.body.count(b": keep-alive\n\n") >= 2)
        client.gone.set()
        await running
        assert source.closed
        assert not client.answer.complete

    _story(tell)


def test_a_reader_that_takes_nothing_is_let_go() -> None:
    async def tell() -> None:
        source = Source(ONE, after="wait")
        app = _app(source, tail=True, stall_s=0.02)
        started = asyncio.Event()

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def stuck(message: Message) -> None:
            started.set()
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        await app({"type": "http", "method": "GET"}, receive, stuck)
        assert started.is_set()
        assert source.closed

    _story(tell)


def test_being_cancelled_ends_the_source() -> None:
    async def tell() -> None:
        source = Source(ONE, after="wait")
        client = Client(_app(source, tail=True), "GET", "/")
        running = asyncio.create_task(client.run())
        await _until(client, lambda answer: b"one" in answer.body)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert source.closed

    _story(tell)


def test_there_are_only_so_many() -> None:
    async def tell() -> None:
        streams = Streams(most=1)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            batches = Source(ONE, after="wait").__aiter__()
            await streams.events(batches, tail=True, receive=receive, send=send)

        first = Client(app, "GET", "/")
        running = asyncio.create_task(first.run())
        await _until(first, lambda answer: b"one" in answer.body)
        with pytest.raises(faults.Unavailable):
            await Client(app, "GET", "/").run()
        first.gone.set()
        await running
        second = Client(app, "GET", "/")
        running = asyncio.create_task(second.run())
        await _until(second, lambda answer: b"one" in answer.body)
        second.gone.set()
        await running

    _story(tell)


@given(st.binary(max_size=200))
def test_any_text_stays_in_its_event(text: bytes) -> None:
    shown = event(Lines("p", text))
    head, *lines = shown.removesuffix(b"\n\n").split(b"\n")
    assert head == b"id: p"
    assert all(line.startswith(b"data: ") for line in lines)
    assert b"\r" not in shown
    assert [line.removeprefix(b"data: ") for line in lines] == text.splitlines()


def test_a_raw_line_keeps_its_carriage_returns() -> None:
    batch = Lines("p1", b"2026 app[web.1]: 10 %\r20 %\r\n2026 app[web.1]: x\n")
    assert event(batch, raw=True) == (
        b"id: p1\ndata: 2026 app[web.1]: 10 %\r20 %\r\ndata: 2026 app[web.1]: x\n\n"
    )
    assert event(batch).count(b"data:") == 3
    assert event(Lines("p2", b"")) == b"id: p2\n\n"
