"""Apps' own pages: fetched from a real server, kept, dropped; what cannot be used is said."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from oriel.control import pages as control_pages
from oriel.control.pages import Pages
from oriel.egress import Dialer, Rules

GOOD = "<h1>Ours\nä</h1>"


class Server:
    """Answers each path in its own way."""

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.asked: list[str] = []

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._told(reader, writer)
        finally:
            writer.close()

    async def _told(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        self.asked.append(path)
        if path == "/drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            return
        if path == "/chunks":
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            chunk = b"3a98\r\n" + b"x" * 15_000 + b"\r\n"
            writer.write(head + 2 * chunk + b"0\r\n\r\n")
            return
        if path.startswith("/to?"):
            writer.write(b"HTTP/1.1 302 X\r\nLocation: %s\r\n\r\n" % path[4:].encode())
            return
        status, kind, body = {
            "/good": (200, "text/html; charset=utf-8", GOOD.encode()),
            "/other": (200, "text/html", b"<p>other</p>"),
            "/gone": (404, "text/html", b"no"),
            "/image": (200, "image/png", b"x"),
            "/large": (200, "text/html", b"x" * 50_000),
            "/latin": (200, "text/html", b"\xe4"),
            "/empty": (200, "text/html", b" "),
        }[path]
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def play(directory: Path, story: object, allowed: tuple[str, ...] = ("127.0.0.1",)) -> None:
    async def whole() -> None:
        server = Server()
        await server.start()
        said: asyncio.Queue[str] = asyncio.Queue()

        async def say(app_id: str, text: str) -> None:
            await said.put(f"{app_id}: {text}")

        dialer = Dialer(Rules.parse(allowed))

        def pages() -> Pages:
            return Pages(directory, dialer, say, lambda: None)

        await story(server, pages, said)  # type: ignore[operator]
        dialer.close()
        server.server.close()

    asyncio.run(whole())


def test_a_page_is_fetched_kept_replaced_and_dropped(tmp_path: Path) -> None:
    async def story(server: Server, make: object, said: asyncio.Queue[str]) -> None:
        pages = make()  # type: ignore[operator]
        config = {"ERROR_PAGE_URL": server.url("/good")}
        pages.look("a", config)
        assert "ERROR_PAGE_URL fetched: " in await said.get()
        assert pages.of("a", "error") == "<h1>Ours ä</h1>"
        assert pages.of("a", "maintenance") == ""
        pages.look("a", config)
        assert server.asked == ["/good"]
        assert make().of("a", "error") == pages.of("a", "error")  # type: ignore[operator]
        pages.look("a", {"ERROR_PAGE_URL": server.url("/gone")})
        assert "could not be fetched: The answer was 404, not 200. The page before" in (
            await said.get()
        )
        assert pages.of("a", "error") == "<h1>Ours ä</h1>"
        pages.look("a", {"ERROR_PAGE_URL": server.url("/other")})
        await said.get()
        assert pages.of("a", "error") == "<p>other</p>"
        pages.forget("a")
        assert pages.of("a", "error") == ""
        assert not list(tmp_path.glob("*.json"))
        await pages.close()

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/image", "It is image/png, not text/html."),
        ("/large", "It has more than 20 kB."),
        ("/chunks", "It has more than 20 kB."),
        ("/latin", "It is not UTF-8."),
        ("/empty", "It is empty."),
    ],
)
def test_what_is_no_page_is_said(tmp_path: Path, path: str, why: str) -> None:
    async def story(server: Server, make: object, said: asyncio.Queue[str]) -> None:
        pages = make()  # type: ignore[operator]
        pages.look("a", {"MAINTENANCE_PAGE_URL": server.url(path)})
        line = await said.get()
        assert line == (
            f"a: MAINTENANCE_PAGE_URL could not be fetched: {why} Oriel's own page stays."
        )
        await pages.close()

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("to", "fetched", "why"),
    [
        ("/good", True, "ERROR_PAGE_URL fetched"),
        ("http://127.0.0.2:{port}/good", False, "127.0.0.2"),
        ("http://[::1]:{port}/good", False, "::1"),
        ("http://169.254.169.254/latest/meta-data", False, "169.254.169.254"),
        ("file:///etc/passwd", False, "http"),
        ("/to?/to?/to?/to?/good", False, "redirect"),
    ],
)
def test_redirects_are_followed_to_where_one_may_go(
    tmp_path: Path, to: str, fetched: bool, why: str
) -> None:
    async def story(server: Server, make: object, said: asyncio.Queue[str]) -> None:
        pages = make()  # type: ignore[operator]
        where = to.format(port=server.port)
        pages.look("a", {"ERROR_PAGE_URL": server.url(f"/to?{where}")})
        line = await said.get()
        assert why in line
        assert ("could not be fetched" in line) is not fetched
        assert ("/good" in server.asked) is fetched
        await pages.close()

    play(tmp_path, story)


def test_a_page_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_pages, "FETCH_TIMEOUT_S", 0.3)

    async def story(server: Server, make: object, said: asyncio.Queue[str]) -> None:
        pages = make()  # type: ignore[operator]
        pages.look("a", {"ERROR_PAGE_URL": server.url("/drip")})
        line = await asyncio.wait_for(said.get(), 5)
        assert "could not be fetched" in line
        assert "stays" in line
        await pages.close()

    play(tmp_path, story)


def test_no_page_is_fetched_from_this_machine_unless_it_is_allowed(tmp_path: Path) -> None:
    async def story(server: Server, make: object, said: asyncio.Queue[str]) -> None:
        pages = make()  # type: ignore[operator]
        pages.look("a", {"ERROR_PAGE_URL": server.url("/good")})
        assert "could not be fetched" in await said.get()
        assert server.asked == []
        await pages.close()

    play(tmp_path, story, allowed=())
