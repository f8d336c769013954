"""Owns the socket at which HAProxy tells that a request came for an app that is idle.

It is an abstract Unix socket: HAProxy gave up its rights and reaches no file of Oriel's, and a dyno
in a network of its own cannot see it. Who connects is known by its uid all the same. A line is an
app's id, the answer `ok` or nothing; who is not answered asks again. Must not know what waking is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import pwd
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from oriel.clock import Clock

_NAME_BYTES = 108
"""HAProxy 2.6 fills an abstract name up with zeros to sun_path's length, which makes it another."""

_CONNECTIONS_MAX = 64
_LINE_S = 2.0
_LINE_BYTES = 128
_RETRY_S = 0.2
_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]{0,63}\n")

_log = logging.getLogger(__name__)


def waker_name(data: Path) -> str:
    """The socket's name for a data directory: several platforms may run on one machine."""
    return f"oriel-waker-{hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:20]}"


def address(name: str) -> bytes:
    """The address of that name, as HAProxy has it."""
    return (b"\0" + name.encode()).ljust(_NAME_BYTES, b"\0")


class Waker:
    """Listens, and says which app is asked for."""

    def __init__(
        self, name: str, asked: Callable[[str], object], clock: Clock, *, user: str | None = None
    ) -> None:
        """`asked` is given an app's id, as often as HAProxy tells it; `user` is HAProxy's."""
        self._name = name
        self._asked = asked
        self._clock = clock
        self._uids = {os.geteuid(), *([pwd.getpwnam(user).pw_uid] if user else [])}
        self._connections = 0
        self._server: asyncio.Server | None = None
        self._binding: asyncio.Task[None] | None = None

    @property
    def listens(self) -> bool:
        """Whether HAProxy can be heard."""
        return self._server is not None

    async def start(self) -> None:
        """Listen; where another has the name, try again until it is free."""
        if not await self._bind():
            _log.error("waker: @%s is taken; no app goes idle until it is free", self._name)
            self._binding = asyncio.create_task(self._bind_later())

    async def close(self) -> None:
        """Listen no more. Who asks meanwhile asks again."""
        if self._binding:
            self._binding.cancel()
            await asyncio.gather(self._binding, return_exceptions=True)
        if self._server:
            self._server.close()
            self._server = None

    async def _bind(self) -> bool:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind(address(self._name))
        except OSError:
            made.close()
            return False
        self._server = await asyncio.start_unix_server(
            self._serve, sock=made, limit=_LINE_BYTES, backlog=_CONNECTIONS_MAX
        )
        return True

    async def _bind_later(self) -> None:
        while not await self._bind():
            await self._clock.sleep(_RETRY_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= _CONNECTIONS_MAX and self._is_ours(writer):
                with contextlib.suppress(OSError, TimeoutError, ValueError):
                    async with asyncio.timeout(_LINE_S):
                        await self._hear(await reader.readline(), writer)
        finally:
            self._connections -= 1
            writer.close()

    async def _hear(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        if _ID.fullmatch(line):
            self._asked(line.decode().rstrip())
            writer.write(b"ok\n")
            await writer.drain()

    def _is_ours(self, writer: asyncio.StreamWriter) -> bool:
        peer = writer.get_extra_info("socket")
        kept = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return struct.unpack("3i", kept)[1] in self._uids
