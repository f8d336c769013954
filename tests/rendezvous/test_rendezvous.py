"""The port, with real TLS over real sockets: who is let in, who is not, and that noise does no
harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from oriel import frames
from oriel.authority import Authority
from oriel.clock import SystemClock
from oriel.faults import Unavailable
from oriel.lexicon import Address
from oriel.rendezvous import End, Input, Link, Meeting, Rendezvous, Resize, Signal
from oriel.rendezvous.rendezvous import STRANGERS_MAX

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Place:
    """A rendezvous, and clients of it."""

    def __init__(self, rendezvous: Rendezvous, trusted: str) -> None:
        self.rendezvous = rendezvous
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(cadata=trusted)
        self._writers: list[asyncio.StreamWriter] = []
        self._links: list[Link] = []

    async def connect(self) -> Streams:
        # As the official program: no name in the handshake.
        streams = await asyncio.open_connection(
            "127.0.0.1", self.rendezvous.port, ssl=self._context, server_hostname="127.0.0.1"
        )
        self._writers.append(streams[1])
        return streams

    async def met(self, query: str = "", more: bytes = b"") -> tuple[Link, Streams]:
        meeting = self.rendezvous.arrange(30)
        reader, writer = await self.connect()
        writer.write(f"{meeting.secret}{query}\r\n".encode() + more)
        link = await self.rendezvous.meet(meeting, 10)
        assert link is not None
        self._links.append(link)
        return link, (reader, writer)

    def close(self) -> None:
        for link in self._links:
            link.abort()
        for writer in self._writers:
            with contextlib.suppress(AttributeError):  # Python's own, of one that was closed
                writer.transport.abort()


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[Place]:
    authority = Authority.open(root / "authority.pem", SystemClock())
    context = authority.server(["127.0.0.1"]).context
    rendezvous = Rendezvous(Address("127.0.0.1", 0), "127.0.0.1", context, SystemClock())
    rendezvous.start()
    place = Place(rendezvous, authority.certificate)
    try:
        yield place
    finally:
        place.close()
        await rendezvous.close()


Story = Callable[[Place], Awaitable[None]]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def whole() -> None:
            async with asyncio.timeout(30), opened(tmp_path) as place:
                await story(place)

        asyncio.run(whole())

    return run


def test_a_client_that_speaks_as_herokus_does(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        link, (reader, writer) = await place.met(more=b"early")
        assert await reader.readline() == b"rendezvous\r\n"
        assert await link.hear() == Input(b"early")
        writer.write(b"ls\r")
        assert await link.hear() == Input(b"ls\r")
        await link.send("out", b"one ")
        await link.send("err", b"two")
        ending = asyncio.create_task(link.finish(0, ""))
        assert await reader.read() == b"one two"
        writer.close()
        await ending

    tell(story)


def test_what_is_typed_while_it_ends_costs_no_output(tell: Callable[[Story], None]) -> None:
    """asyncio's own TLS resets here."""

    async def story(place: Place) -> None:
        link, (reader, writer) = await place.met()
        await reader.readline()
        for _ in range(50):
            writer.write(b"typed" * 100)
        await link.send("out", b"last words" * 10_000)
        ending = asyncio.create_task(link.finish(0, ""))
        for _ in range(50):
            writer.write(b"typed" * 100)
            await asyncio.sleep(0)
        assert len(await reader.read()) == 100_000
        writer.close()
        await ending

    tell(story)


def test_the_end_of_input_without_a_terminal(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        link, (_, writer) = await place.met()
        link.expect(terminal=False, status=False, piped=True)
        writer.write(b"a\x04b\x04")
        assert await link.hear() == Input(b"a\x04b")
        assert await link.hear() == End()

    tell(story)


def test_a_status_that_the_program_did_not_come_to_tell(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        link, (reader, writer) = await place.met()
        await reader.readline()
        link.expect(terminal=True, status=True, piped=False)
        ending = asyncio.create_task(link.finish(9, ""))
        assert await reader.read() == "\uffff heroku-command-exit-status: 9\n".encode()
        writer.close()
        await ending

    tell(story)


def test_the_end_of_a_piped_input_is_waited_for(tell: Callable[[Story], None]) -> None:
    """The official program writes it without looking, and fails when nobody is there."""

    async def story(place: Place) -> None:
        link, (reader, writer) = await place.met()
        await reader.readline()
        link.expect(terminal=True, status=False, piped=True)
        hearing = asyncio.create_task(link.hear())
        ending = asyncio.create_task(link.finish(0, ""))
        await asyncio.sleep(0.05)
        assert not ending.done()
        assert not reader.at_eof()
        writer.write(b"\x04")
        assert await reader.read() == b""
        writer.close()
        await ending
        await hearing

    tell(story)


def test_a_client_that_speaks_frames(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        link, (reader, writer) = await place.met("?frames=1")
        assert await reader.readline() == frames.GREETING
        writer.write(
            frames.window(120, 40)
            + frames.frame(frames.INPUT, b"ls")
            + frames.frame(frames.SIGNAL, b"INT")
            + frames.frame(frames.END)
        )
        assert await link.hear() == Resize(120, 40)
        assert await link.hear() == Input(b"ls")
        heard = await link.hear()
        assert isinstance(heard, Signal)
        assert heard.number.name == "SIGINT"
        assert await link.hear() == End()
        await link.taken(2)
        await link.send("err", b"oops")
        ending = asyncio.create_task(link.finish(7, "stopped"))
        taking = frames.Frames(frames.ERR + frames.TAKEN + frames.EXIT)
        found = taking.feed(await reader.read())
        assert found[:2] == [(frames.TAKEN, b"\0\0\0\2"), (frames.ERR, b"oops")]
        assert json.loads(found[2][1]) == {"code": 7, "why": "stopped"}
        writer.close()
        await ending

    tell(story)


@pytest.mark.parametrize(
    "sent",
    [
        frames.frame(b"o", b"a frame of the other side"),
        frames.frame(frames.SIGNAL, b"KILL"),
        frames.frame(frames.WINDOW, b"a"),
        b"i\xff\xff\xff\xff",
        b"".join(frames.frame(frames.INPUT, b"x" * 60_000) for _ in range(4)),
    ],
)
def test_who_breaks_the_rules_has_gone(tell: Callable[[Story], None], sent: bytes) -> None:
    async def story(place: Place) -> None:
        link, (_, writer) = await place.met("?frames=1")
        writer.write(sent)
        while (heard := await link.hear()) is not None:
            assert isinstance(heard, Input)

    tell(story)


async def is_refused(place: Place, line: bytes) -> bool:
    reader, writer = await place.connect()
    writer.write(line)
    try:
        return await reader.read() in (b"", frames.REFUSAL)
    except OSError:
        return True


def test_wrong_used_late_and_withdrawn_secrets(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        link, _ = await place.met()
        assert link is not None
        meeting = place.rendezvous.arrange(30)
        assert await is_refused(place, b"A" * 43 + b"\r\n")
        assert await is_refused(place, b"A" * 43 + b"?frames=1\r\n")
        # Its own, and once: a second client does not take over the first one's session.
        reader, writer = await place.connect()
        writer.write(meeting.secret.encode() + b"\r\n")
        assert await reader.readline() == b"rendezvous\r\n"
        meeting.came.result().abort()
        assert await is_refused(place, meeting.secret.encode() + b"\r\n")
        late = place.rendezvous.arrange(0.0)
        assert await is_refused(place, late.secret.encode() + b"\r\n")
        assert await place.rendezvous.meet(late, 0.01) is None
        withdrawn = place.rendezvous.arrange(30)
        assert await place.rendezvous.meet(withdrawn, 0.01) is None
        assert await is_refused(place, withdrawn.secret.encode() + b"\r\n")

    tell(story)


def test_a_secret_has_256_bits_and_is_not_shown(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        meeting: Meeting = place.rendezvous.arrange(30)
        assert len(meeting.secret) == 43
        assert meeting.url == f"rendezvous://127.0.0.1:{place.rendezvous.port}/{meeting.secret}"
        assert meeting.secret not in repr(meeting)

    tell(story)


def test_noise_does_no_harm(tell: Callable[[Story], None]) -> None:
    """Plain bytes where TLS should be, and TLS with noise inside; then somebody still comes."""
    noise = random.Random(4)

    async def plain(place: Place) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.rendezvous.port)
        writer.write(noise.randbytes(noise.randrange(1, 600)))
        try:
            writer.write_eof()
            await reader.read()
        except OSError:
            pass
        writer.close()

    async def story(place: Place) -> None:
        for _ in range(30):
            await plain(place)
            assert await is_refused(place, noise.randbytes(noise.randrange(600)) + b"\n")
        assert await is_refused(place, b"x" * 5000)
        link, _ = await place.met()
        assert link is not None

    tell(story)


def test_the_door_cannot_be_filled(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        silent = [
            await asyncio.open_connection("127.0.0.1", place.rendezvous.port)
            for _ in range(STRANGERS_MAX + 10)
        ]
        link, _ = await place.met()
        assert link is not None
        for _, writer in silent:
            writer.transport.abort()

    tell(story)


def test_no_descriptor_is_left(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        async def round_() -> None:
            link, (reader, writer) = await place.met()
            ending = asyncio.create_task(link.finish(0, ""))
            await reader.read()
            writer.close()
            await ending
            await is_refused(place, b"wrong\r\n")

        await round_()
        place.close()
        await asyncio.sleep(0.05)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await round_()
        place.close()
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= before

    tell(story)


def test_a_port_that_is_taken_is_said_when_it_is_needed(tell: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        listen = Address("127.0.0.1", place.rendezvous.port)
        second = Rendezvous(
            listen, "127.0.0.1", lambda: ssl.create_default_context(), SystemClock()
        )
        second.start()
        with pytest.raises(Unavailable, match="nothing can listen"):
            second.arrange(30)
        await second.close()

    tell(story)
