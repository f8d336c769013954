"""Owns the way from a sandbox's own loopback to one port of the machine's: a proxy or an index
that the operator named, for builds. It lives as long as this process, as builds do.

The listening socket is made inside the sandbox's network, by a thread that goes there and ends; a
socket stays where it was made. So no rule of the firewall is needed, and no address rewritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable

from oriel.sandbox import linux

CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 256
HOST = "127.0.0.1"

Carry = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Relay:
    """Ports of the machine's loopback, at a sandbox's own."""

    def __init__(self) -> None:
        """Nothing is relayed yet."""
        self._servers: list[asyncio.Server] = []
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)

    async def open(self, pid: int, ports: Iterable[int]) -> None:
        """Listen at `ports` in the network of a process; raises OSError."""
        for port in ports:
            for listener in await asyncio.to_thread(listen_inside, pid, port):
                carry = self._carrier(port)
                self._servers.append(await asyncio.start_server(carry, sock=listener))

    def close(self) -> None:
        """Listen no more; connections end with the sandbox."""
        for server in self._servers:
            server.close()

    def _carrier(self, port: int) -> Carry:
        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with self._turns:
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S):
                        there = await asyncio.open_connection(HOST, port)
                except (OSError, TimeoutError):
                    writer.close()
                    return
                try:
                    await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
                finally:
                    there[1].close()
                    writer.close()

        return carry


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(CHUNK_BYTES):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


def listen_inside(pid: int, port: int) -> list[socket.socket]:
    """Listening sockets on both loopbacks of the network that `pid` is in."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def go() -> None:
        try:
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                linux.setns(namespace, linux.CLONE_NEWNET)
            finally:
                os.close(namespace)
            made.append(socket.create_server((HOST, port)))
            with contextlib.suppress(OSError):
                made.append(socket.create_server(("::1", port), family=socket.AF_INET6))
        except OSError as error:
            failed.append(error)

    # A thread of its own, not of a pool: it never comes back from there.
    thread = threading.Thread(target=go, name="oriel-relay")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made
