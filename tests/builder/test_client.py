from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from oriel.builder.client import Client
from oriel.builder.limits import Limits
from oriel.faults import TooLarge, Unavailable


async def feed(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def silence() -> AsyncIterator[bytes]:
    yield b"x"
    await asyncio.Event().wait()


async def broken() -> AsyncIterator[bytes]:
    yield b"x"
    raise ConnectionResetError("gone")


async def hear(client: Client) -> bytes:
    return b"".join([piece async for piece in client.pieces()])


async def take(piece: bytes) -> None: ...


async def deaf(piece: bytes) -> None:
    await asyncio.Event().wait()


def test_a_body_comes_whole() -> None:
    async def main() -> None:
        assert await hear(Client(feed(b"a", b"", b"b"), take, Limits())) == b"ab"
        assert await hear(Client(feed(), take, Limits())) == b""

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "fault"), [(silence, Unavailable), (broken, ConnectionResetError)]
)
def test_a_client_that_is_gone(body: type, fault: type[Exception]) -> None:
    async def main() -> None:
        limits = Limits(idle_s=0.01)
        with pytest.raises(fault):
            await hear(Client(body(), take, limits))
        pusher = Client(body(), take, limits, pushes=True)
        assert await hear(pusher) == b"x"
        with pytest.raises(fault):
            pusher.gone.result()

    asyncio.run(main())


def test_a_client_that_takes_nothing() -> None:
    async def main() -> None:
        limits = Limits(idle_s=0.01)
        with pytest.raises(Unavailable):
            await Client(feed(), deaf, limits).send(b"x")
        pusher = Client(feed(), deaf, limits, pushes=True)
        await pusher.send(b"x")
        await pusher.send(b"thrown away at once")
        assert isinstance(pusher.gone.exception(), Unavailable)

    asyncio.run(main())


def test_a_client_that_pours_without_end() -> None:
    async def main() -> None:
        client = Client(feed(*[b"x" * (1 << 20)] * 5), take, Limits(push_bytes_max=1 << 20))
        with pytest.raises(TooLarge):
            await hear(client)

    asyncio.run(main())


def test_who_is_dismissed_is_neither_heard_nor_told() -> None:
    async def main() -> None:
        client = Client(silence(), deaf, Limits(), pushes=True)
        client.dismiss()
        assert await hear(client) == b""
        await client.send(b"x")
        assert not client.begun

    asyncio.run(main())
