"""Whether a web dyno is up, asked of real sockets."""

from __future__ import annotations

import asyncio

import pytest

from oriel.manifold import probe
from oriel.manifold.dyno import Check
from oriel.manifold.probe import reaches, request

HEALTH = Check(path="/health", host="foobaz.example.com")


async def asked(answer: bytes, check: Check) -> tuple[bool, bytes]:
    """What comes of asking a server that answers that, and what it was asked."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if check.path:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        return await reaches(host, port, check), b"".join(heard)


@pytest.mark.parametrize(
    ("answer", "is_up"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nfine", True),
        (b"HTTP/1.0 204\r\n\r\n", True),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://x/\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"HTTP/1.1 500 Oh\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 2000 OK\r\n\r\n", False),
        (b"nonsense\n", False),
        (b"", False),
        (b"HTTP/1.1 200" + b" " * 5000, False),
    ],
)
def test_a_check_wants_2xx_or_3xx(answer: bytes, is_up: bool) -> None:
    found, heard = asyncio.run(asked(answer, HEALTH))
    assert found is is_up
    assert heard == request(HEALTH, "unused")
    assert heard.startswith(b"GET /health HTTP/1.1\r\nHost: foobaz.example.com\r\n")


def test_without_a_path_the_port_is_enough() -> None:
    assert asyncio.run(asked(b"", Check()))[0] is True


@pytest.mark.parametrize("check", [Check(), HEALTH])
def test_a_port_on_which_nobody_listens(check: Check) -> None:
    async def tell() -> bool:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        server.close()
        await server.wait_closed()
        return await reaches(host, port, check)

    assert asyncio.run(tell()) is False


def test_one_that_never_answers_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ANSWER_TIMEOUT_S", 0.05)

    async def tell() -> bool:
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await done.wait()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            found = await reaches(host, port, HEALTH)
            done.set()
            return found

    assert asyncio.run(tell()) is False
