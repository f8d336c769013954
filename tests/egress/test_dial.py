"""Dialling: each address is judged, certificates are checked, redirects are judged anew."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from oriel.egress import Dialer, Refused, Rules, Untrusted, http
from oriel.egress.dial import Unreachable
from tests.egress.authority import Authority

Play = Callable[[Dialer], Awaitable[None]]


def play(story: Play, *, allow: str = "127.0.0.1", ca: Path | None = None) -> None:
    async def played() -> None:
        dialer = Dialer(Rules.parse([allow]), str(ca) if ca else None)
        try:
            await asyncio.wait_for(story(dialer), 30)
        finally:
            dialer.close()

    asyncio.run(played())


async def serving(
    answer: bytes, context: ssl.SSLContext | None = None
) -> tuple[asyncio.Server, int, list[bytes]]:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    return server, server.sockets[0].getsockname()[1], heard


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "0.0.0.0"])
def test_this_machine_is_refused_by_any_name(host: str) -> None:
    async def story(dialer: Dialer) -> None:
        with pytest.raises(Refused, match="Oriel does not connect there"):
            await dialer.tcp(host, 1)
        with pytest.raises(Refused):
            await dialer.udp(host, 1)

    play(story, allow="10.99.0.0/16")


def test_of_several_addresses_only_the_good_ones_are_dialled() -> None:
    class Names(Dialer):
        async def _resolve(self, host: str, timeout_s: float) -> list[ipaddress.IPv4Address]:
            return [ipaddress.IPv4Address("169.254.169.254"), ipaddress.IPv4Address("127.0.0.1")]

    async def story() -> None:
        names = Names(Rules.parse(["127.0.0.1"]))
        assert [str(each) for each in await names.addresses("two.example")] == ["127.0.0.1"]
        names.close()

    asyncio.run(story())


def test_a_name_that_is_not_there_and_a_port_that_is_closed() -> None:
    async def story(dialer: Dialer) -> None:
        with pytest.raises(Unreachable, match="not found"):
            await dialer.tcp("nothing.invalid", 1)
        with pytest.raises(Unreachable, match="refused"):
            await dialer.tcp("127.0.0.1", 1)

    play(story)


def test_certificates_are_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def story(dialer: Dialer) -> None:
        good, port, _ = await serving(b"", authority.server("127.0.0.1"))
        other, wrong, _ = await serving(b"", authority.server("elsewhere.example"))
        (await dialer.tls("127.0.0.1", port)).close()
        with pytest.raises(Untrusted, match="mismatch"):
            await dialer.tls("127.0.0.1", wrong)
        (await dialer.tls("127.0.0.1", wrong, verify=False)).close()
        stranger = Dialer(dialer.rules)
        with pytest.raises(Untrusted, match="issuer|self"):
            await stranger.tls("127.0.0.1", port)
        stranger.close()
        good.close()
        other.close()

    play(story, ca=authority.ca)


def test_an_answer_is_read_within_its_limits() -> None:
    answers = {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi": (200, b"hi"),
        b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\n\r\n": (200, b"hi"),
        b"HTTP/1.0 503 Busy\r\n\r\nuntil the end": (503, b"until the end"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 Empty\r\n\r\n": (204, b""),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 70_000: (
            200,
            b"x" * http.BODY_BYTES_MAX,
        ),
    }

    async def story(dialer: Dialer) -> None:
        for raw, (status, body) in answers.items():
            server, port, _ = await serving(raw)
            got = await http.fetch(dialer, f"http://127.0.0.1:{port}/a?b=c")
            assert (got.status, got.body) == (status, body)
            server.close()
        bad = (b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 9000 + b"\r\n",
               b"x" * 200_000, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi")  # fmt: skip
        for raw in (*bad, b""):
            server, port, _ = await serving(raw)
            with pytest.raises(Unreachable):
                await http.fetch(dialer, f"http://127.0.0.1:{port}/")
            server.close()

    play(story)


def test_an_answer_before_all_was_sent_counts() -> None:
    """As from a receiver that refuses by the head alone, and reads no more."""

    async def story(dialer: Dialer) -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await over.wait()
            writer.transport.abort()

        over = asyncio.Event()
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        line = await dialer.tcp("127.0.0.1", server.sockets[0].getsockname()[1])
        request = http.head("POST", "/", {"Content-Length": "20000000"}) + b"x" * 20_000_000
        answer = await asyncio.wait_for(http.exchange(line, request), 10)
        assert (answer.status, answer.reusable) == (413, False)
        over.set()
        line.close()
        server.close()

    play(story)


def test_a_redirect_is_judged_anew() -> None:
    async def story(dialer: Dialer) -> None:
        where = (b"http://169.254.169.254/latest", b"http://[::1]:1/", b"file:///etc/passwd")
        for place in where:
            server, port, _ = await serving(b"HTTP/1.1 302 Go\r\nLocation: " + place + b"\r\n\r\n")
            with pytest.raises((Refused, http.faults.Invalid)):
                await http.fetch(dialer, f"http://127.0.0.1:{port}/")
            server.close()
        server, port, heard = await serving(b"HTTP/1.1 302 Go\r\nLocation: /again\r\n\r\n")
        with pytest.raises(Unreachable, match="redirects"):
            await http.fetch(dialer, f"http://127.0.0.1:{port}/")
        assert len(heard) == http.REDIRECTS_MAX + 1
        server.close()

    play(story)


def test_a_header_cannot_be_forged() -> None:
    with pytest.raises(http.faults.Invalid):
        http.head("GET", "/", {"A": "b\r\nC: d"})
