"""Owns one program that was started inside a running sandbox, seen from outside: its signals, its
end. `enter` is the other end of the socket. Must not know what the program is for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import socket
from dataclasses import asdict
from typing import Any

from oriel.faults import Invalid, Unavailable
from oriel.sandbox.confinement import LOST, Exit, Visit

LINE_BYTES_MAX = 4096


def visit(what: Visit, pid: int | None, seccomp: str, *, root: bool) -> bytes:
    """The request that `enter` reads, for the sandbox whose pid 1 is `pid`; `seccomp` is the filter
    of all sandboxes, in hexadecimal.
    """
    if root and what.uid <= 0:
        raise Invalid("Nothing runs as root in a sandbox.")
    plan = {
        **asdict(what),
        "env": dict(what.env),
        "pid": pid,
        "uid": what.uid if root else None,
        "filter": base64.b64encode(what.filter or bytes.fromhex(seccomp)).decode(),
    }
    return json.dumps(plan).encode()


class Entered:
    """A program inside. Closing it is hanging up: it gets SIGHUP, and SIGKILL if it stays."""

    def __init__(self, door: socket.socket) -> None:
        """Takes over the socket to the program's monitor, non-blocking."""
        self._door = door
        self._kept = b""
        self._over: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._watch: asyncio.Task[None] | None = None

    async def begin(self, timeout_s: float) -> None:
        """Come back when the program runs; Unavailable says why it does not."""
        try:
            async with asyncio.timeout(timeout_s):
                told = await self._next()
        except TimeoutError:
            self._door.close()
            raise Unavailable("The process took too long to start.") from None
        if "running" not in told:
            self._door.close()
            why = told.get("error") or "the process that was to start it has ended"
            raise Unavailable(f"Nothing could be started in the dyno: {why}.")
        self._watch = asyncio.create_task(self._await_end())

    async def wait(self) -> Exit:
        """Come back when the program has ended, or its whole sandbox."""
        return await asyncio.shield(self._over)

    async def send(self, what: signal.Signals) -> None:
        """A signal to the program and the others of its process group."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._door, bytes([what]))

    def close(self) -> None:
        """Let go of it, whether it has ended or not."""
        if self._watch is not None:
            self._watch.cancel()
        # The loop forgets it first, or the next descriptor of that number would lose its reader.
        asyncio.get_running_loop().remove_reader(self._door)
        self._door.close()
        if not self._over.done():
            self._over.set_result(LOST)

    async def _await_end(self) -> None:
        told = await self._next()
        code = told.get("exit-code")
        if not self._over.done():
            self._over.set_result(LOST if not isinstance(code, int) else Exit.of(code))

    async def _next(self) -> dict[str, Any]:
        """The next thing that the monitor tells; empty when it is gone."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._kept and len(self._kept) < LINE_BYTES_MAX:
            try:
                chunk = await loop.sock_recv(self._door, LINE_BYTES_MAX)
            except OSError:
                return {}
            if not chunk:
                return {}
            self._kept += chunk
        line, _, self._kept = self._kept.partition(b"\n")
        told = json.loads(line)
        return told if isinstance(told, dict) else {}
