"""Owns one HTTP/1.1 request and its answer on a dialled connection, and `fetch` with redirects.

Bounded: the answer's head and body, the redirects, the time. Must not know what is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin, urlsplit

from oriel import __version__, faults
from oriel.egress.dial import Dialer, Line, Unreachable

HEAD_BYTES_MAX = 32 * 1024
BODY_BYTES_MAX = 64 * 1024
REDIRECTS_MAX = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Garbled(Unreachable):
    """What came back is not an HTTP answer, or one beyond its limits."""


class HungUp(Unreachable):
    """The connection ended before an answer began."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `reusable`: the connection may carry another request."""

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; the last one of several."""
    body: bytes = b""
    reusable: bool = False


def head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request's head. Values must hold no line breaks: raises Invalid."""
    rows = [f"{method} {target} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
    if any("\r" in row or "\n" in row for row in rows):
        raise faults.Invalid("A line break in an HTTP header.")
    return ("\r\n".join(rows) + "\r\n\r\n").encode("latin-1", "replace")


async def exchange(line: Line, request: bytes, *, body_max: int = BODY_BYTES_MAX) -> Answer:
    """Send a whole request, read the answer; the caller bounds the time.

    An answer may come before all was sent, and its sender then hang up: it counts all the same.
    """
    try:
        line.writer.write(request)
        answer = await _answer(line.reader, body_max)
        unsent = line.writer.transport.get_write_buffer_size()
        return replace(answer, reusable=False) if unsent else answer
    except (asyncio.LimitOverrunError, ValueError):
        raise Garbled("The answer is not HTTP.") from None
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Garbled("The answer broke off.") from None
        raise HungUp("The connection was closed without an answer.") from None
    except OSError as error:
        raise HungUp(f"The connection broke: {error.strerror or 'closed'}.") from None


async def _answer(reader: asyncio.StreamReader, body_max: int) -> Answer:
    while True:
        status, reason, version = await _status(reader)
        headers = await _headers(reader)
        if status >= 200 or status == 101:
            break
    keeps = version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
    if status in (204, 304):
        return Answer(status, reason, headers, b"", keeps)
    body, whole = await _body(reader, headers, body_max)
    return Answer(status, reason, headers, body, keeps and whole)


async def _status(reader: asyncio.StreamReader) -> tuple[int, str, str]:
    row = (await reader.readuntil(b"\n")).decode("latin-1").strip()
    version, _, rest = row.partition(" ")
    code, _, reason = rest.strip().partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise ValueError(row[:80])
    return int(code), reason[:200], version


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    found: dict[str, str] = {}
    size = 0
    while row := (await _rest(reader.readuntil(b"\n"))).strip():
        size += len(row)
        if size > HEAD_BYTES_MAX:
            raise ValueError("head")
        name, _, value = row.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()
    return found


async def _body(
    reader: asyncio.StreamReader, headers: Mapping[str, str], most: int
) -> tuple[bytes, bool]:
    """The body as far as it is wanted, and whether the connection stands behind it."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(reader, most)
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        size = int(length[:18])
        if size > most:
            return await _rest(reader.readexactly(most)), False
        return await _rest(reader.readexactly(size)), True
    parts = bytearray()
    while len(parts) <= most and (part := await reader.read(most)):
        parts += part
    return bytes(parts[:most]), False


async def _chunks(reader: asyncio.StreamReader, most: int) -> tuple[bytes, bool]:
    parts = bytearray()
    while True:
        row = await _rest(reader.readuntil(b"\n"))
        size = int(row.split(b";")[0].strip(), 16)
        if size < 0:
            raise ValueError(row[:80])
        if len(parts) + size > most:
            # As much as is wanted, so that who asked sees that there was more.
            return bytes(parts + await _rest(reader.readexactly(most - len(parts)))), False
        if not size:
            await _headers(reader)
            return bytes(parts), True
        parts += await _rest(reader.readexactly(size))
        await _rest(reader.readuntil(b"\n"))


async def _rest(reading: Awaitable[bytes]) -> bytes:
    """What follows an answer's beginning: an end here is an answer that broke off."""
    try:
        return await reading
    except asyncio.IncompleteReadError:
        raise Garbled("The answer broke off.") from None


async def fetch(
    dialer: Dialer, url: str, *, timeout_s: float = 30.0, body_max: int = BODY_BYTES_MAX
) -> Answer:
    """GET a URL, following redirects; each place on the way is judged anew."""
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(REDIRECTS_MAX + 1):
                answer = await _get(dialer, url, body_max)
                if answer.status not in _REDIRECTS or "location" not in answer.headers:
                    return answer
                url = urljoin(url, answer.headers["location"])
    except TimeoutError:
        raise Unreachable(f"No answer within {timeout_s:g} s.") from None
    raise Unreachable(f"More than {REDIRECTS_MAX} redirects.")


async def _get(dialer: Dialer, url: str, body_max: int) -> Answer:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise faults.Invalid("That is not a URL.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise faults.Invalid("Only http:// and https:// can be fetched.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = target.replace(" ", "%20")
    if parts.scheme == "https":
        line = await dialer.tls(host, port or 443)
    else:
        line = await dialer.tcp(host, port or 80)
    headers = {
        "Host": parts.netloc.rpartition("@")[2],
        "User-Agent": f"Oriel/{__version__}",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    try:
        return await exchange(line, head("GET", target, headers), body_max=body_max)
    finally:
        line.close()
