"""Owns one TLS connection: reading and writing that wait for the other side, and an end that loses
nothing.

asyncio's own TLS gives up (and resets) when data comes behind its close; a client that types while
its program ends would lose that program's last words. So TLS is done here, over a plain socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl

RECORD_BYTES = 16 * 1024
CLOSE_GRACE_S = 5.0
"""How long a client may take to close its side once we closed ours."""


class TlsStream:
    """The server's side of a connection."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Takes over a connected, non-blocking socket."""
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._sending = asyncio.Lock()
        self._broken = False
        for level, option, value in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        ):
            sock.setsockopt(level, option, value)

    async def handshake(self) -> None:
        """Agree on keys; raises ConnectionError."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    raise ConnectionResetError("gone during the handshake") from None
            except ssl.SSLError as error:
                raise ConnectionError(f"no TLS: {error.reason}") from None
        await self._flush()

    async def read(self) -> bytes:
        """The next bytes; empty when the other side is done or gone."""
        while True:
            try:
                return self._tls.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                if not await self._fill():
                    return b""
            except ssl.SSLError:
                return b""

    async def write(self, data: bytes) -> None:
        """Send, a record of its own for each call (and each RECORD_BYTES); comes back when the
        kernel has all of it. Raises ConnectionError.
        """
        for start in range(0, len(data), RECORD_BYTES):
            async with self._sending:
                if self._broken:
                    raise ConnectionResetError("the connection is broken")
                try:
                    self._tls.write(data[start : start + RECORD_BYTES])
                except ssl.SSLError as error:
                    raise ConnectionError(f"TLS: {error.reason}") from None
                await self._send_out()

    async def close(self, grace_s: float = CLOSE_GRACE_S) -> None:
        """Say that no more comes, read what still does, and close."""
        try:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(grace_s):
                    with contextlib.suppress(ssl.SSLError):
                        self._tls.unwrap()
                    await self._flush()
                    self._sock.shutdown(socket.SHUT_WR)
                    while await self._recv():
                        pass
        finally:
            self._close_socket()

    async def gone(self) -> None:
        """Come back when the other side is gone, though what it sent before was not read."""
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not gone.done():
                gone.set_result(None)

        # The loop's own poll knows only "can be read", which it can for as long as nobody reads.
        with select.epoll() as poll:
            poll.register(self._sock, select.EPOLLRDHUP)
            loop.add_reader(poll.fileno(), wake)
            try:
                await gone
            finally:
                loop.remove_reader(poll.fileno())

    def abort(self) -> None:
        """Close at once, with a reset: the other side must not take it for an orderly end."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._close_socket()

    def _close_socket(self) -> None:
        """Close it, and have the loop forget it first: whoever still reads from it would otherwise
        take away the reader of the next one that gets its number.
        """
        if self._sock.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._sock)
            loop.remove_writer(self._sock)
        self._sock.close()

    async def _flush(self) -> None:
        async with self._sending:
            await self._send_out()

    async def _send_out(self) -> None:
        data = self._out.read()
        if not data:
            return
        # Half a record may be sent when this is cancelled: nothing can follow it.
        self._broken = True
        await asyncio.get_running_loop().sock_sendall(self._sock, data)
        self._broken = False

    async def _fill(self) -> bool:
        data = await self._recv()
        if data:
            self._in.write(data)
        return bool(data)

    async def _recv(self) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self._sock, 4 * RECORD_BYTES)
        except OSError:
            return b""
