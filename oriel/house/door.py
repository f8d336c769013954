"""Owns up.sock: one JSON line asks, one JSON line answers. Must not know what the answers mean.

Only the user who runs `oriel up` (and root) gets in: the socket is 0600 and the peer is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from oriel import faults

LINE_BYTES_MAX = 65536
CONNECTIONS_MAX = 64
CLOSE_TIMEOUT_S = 2.0

Answer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]

_PEER = struct.Struct("iII")


class Door:
    """The listening end, held by `oriel up`."""

    def __init__(self, path: Path, answer: Answer) -> None:
        """`answer` is asked for each request; the Faults it raises become refusals."""
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._answering = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def open(self) -> None:
        """Listen; the lock is held, so a socket that lies there is a dead one's."""
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(self._path))
        os.chmod(self._path, 0o600)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listening, limit=LINE_BYTES_MAX
        )

    async def close(self) -> None:
        """Answer what was asked already, then listen no more."""
        if self._server is None:
            return
        self._path.unlink(missing_ok=True)
        self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._idle.wait()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        try:
            _, user, _ = _peer(writer.get_extra_info("socket"))
            if user not in (0, os.geteuid()) or len(self._connections) >= CONNECTIONS_MAX:
                return
            if task is not None:
                self._connections.add(task)
            while line := await reader.readline():
                await self._answer_one(line, writer)
        except (ValueError, ConnectionError, asyncio.CancelledError):
            # A line too long, a peer that went away, or the end of `oriel up`.
            pass
        finally:
            if task is not None:
                self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer_one(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        self._answering += 1
        self._idle.clear()
        try:
            writer.write(json.dumps(await self._one(line)).encode() + b"\n")
            await writer.drain()
        finally:
            self._answering -= 1
            if not self._answering:
                self._idle.set()

    async def _one(self, line: bytes) -> Mapping[str, Any]:
        try:
            asked = json.loads(line)
            if not isinstance(asked, dict):
                raise ValueError
            return await self._answer(asked)
        except faults.Fault as fault:
            return {"ok": False, "id": fault.id, "message": fault.message}
        except (ValueError, RecursionError):
            return {"ok": False, "id": "bad_request", "message": "Send one JSON object a line."}


class Visitor:
    """The asking end, used by `oriel down` and `oriel doctor`. Blocking."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        """Connect; raises Unavailable when nobody listens."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise faults.Unavailable(
                f"No `oriel up` answers at {path} ({error.strerror}).", hint="Type: oriel up"
            ) from error
        self.pid, _, _ = _peer(self._socket)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask and wait for the answer; raises Unavailable when none comes."""
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < LINE_BYTES_MAX:
                part = self._socket.recv(4096)
                if not part:
                    break
                answer += part
            read: dict[str, Any] = json.loads(answer)
        except (OSError, ValueError) as error:
            raise faults.Unavailable("`oriel up` gave no answer.") from error
        return read

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def __enter__(self) -> Visitor:
        """Usable with `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.close()


def _peer(connected: socket.socket) -> tuple[int, int, int]:
    """Pid, user and group of the other end."""
    pid, user, group = _PEER.unpack(
        connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    )
    return pid, user, group
