"""Owns asking a web dyno whether it is up: a connection to its port, or a request that it answers.

Must not know what follows from the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable

from oriel.manifold.dyno import Check

CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 5.0
"""How long one request of a check may take."""

HEAD_BYTES_MAX = 1024
"""Of an answer only the status line is read."""

Reaches = Callable[[str, int, Check], Awaitable[bool]]

_STATUS = re.compile(rb"HTTP/1\.[01] ([23])\d\d(?: |\r?\n)")


async def reaches(host: str, port: int, check: Check) -> bool:
    """Whether the web dyno at that address is up now, as its app's check has it."""
    if check.path:
        return await answers(host, port, check)
    return await accepts(host, port)


async def accepts(host: str, port: int) -> bool:
    """Whether something accepts a connection there, now."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    await _close(writer)
    return True


async def answers(host: str, port: int, check: Check) -> bool:
    """Whether a GET of the check's path is answered with 2xx or 3xx, now."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port, limit=HEAD_BYTES_MAX)
            try:
                writer.write(request(check, f"{host}:{port}"))
                line = await reader.readuntil(b"\n")
            finally:
                await _close(writer)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    return _STATUS.match(line) is not None


def request(check: Check, address: str) -> bytes:
    """The bytes of a check's request."""
    host = check.host or address
    return (
        f"GET {check.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Oriel-Check\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
