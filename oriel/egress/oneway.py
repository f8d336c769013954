"""Owns a connection that only carries things away: what was sent, what was acknowledged, its end.

It is a socket without a buffer of ours: what `send` has handed over is the kernel's, so that the
kernel can be asked how much the other machine has. What the other side says is thrown away, a
little at a time. Must not know what is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import socket
import ssl
import struct
import termios
from collections.abc import Callable

HUNG_UP = "the receiver closed the connection"
_READ_BYTES = 16 * 1024
_REST_S = 0.05
"""After something was heard: who talks without end costs next to nothing."""
_UNANSWERED_S = 0.2
"""How long after TLS has ended the connection itself may stay."""


class Stalled(OSError):
    """Nothing at all was taken for as long as is waited."""


class OneWay:
    """A connected socket, with TLS or without. One `send` at a time."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        """Takes over a connected, non-blocking socket."""
        self.address = address
        self.ended = ""
        """Why it has ended; empty while it has not."""
        self.sent = 0
        """Bytes handed to the kernel, without what TLS adds."""
        self.read_all = False
        """It has ended, and the other side had read all that was sent: it closed with nothing
        left in its buffer (or it would be a reset), and all was acknowledged."""
        self.on_end: Callable[[], None] = _nobody
        self._sock = sock
        self._recv: Callable[[int], bytes] = sock.recv
        self._loop = asyncio.get_running_loop()
        self._left = memoryview(b"")
        self._turn = asyncio.Event()
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._saying_goodbye = False
        self._loop.add_reader(sock.fileno(), self._heard)

    async def send(self, data: bytes, stall_s: float) -> None:
        """Hand all of it to the kernel. Raises OSError when the connection is broken, or Stalled.

        Where it is cut short by a cancellation, `goodbye` sends what is left first.
        """
        self._left = memoryview(data)
        await self._flush(stall_s)

    def waiting(self) -> int:
        """Bytes that the other machine has not acknowledged."""
        if self._sock.fileno() < 0:
            return 0
        with contextlib.suppress(OSError):
            raw = fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4))
            return int(struct.unpack("i", raw)[0])
        return self.sent

    async def goodbye(self, within_s: float) -> bool:
        """Say that there is no more; whether the other side then read it all, and ended too."""
        self._saying_goodbye = True
        if self.ended:
            return self.read_all
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(within_s):
                await self._flush(within_s)
                await self._shut()
                await self._over.wait()
        return self.read_all

    def close(self) -> None:
        """Hang up. What the kernel has, it goes on sending."""
        if self._sock.fileno() < 0:
            return
        self._stop_listening()
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self.ended = self.ended or "closed"
        self._turn.set()
        self._over.set()

    async def _flush(self, stall_s: float) -> None:
        while self._left:
            if self.ended:
                raise ConnectionError(self.ended)
            try:
                size = self._sock.send(self._left)
            except (BlockingIOError, ssl.SSLWantWriteError):
                await self._room(stall_s)
            except ssl.SSLWantReadError:
                self._turn.clear()
                await self._turned(stall_s)
            except OSError as error:
                self._end(_said(error))
                raise
            else:
                self._left = self._left[size:]
                self.sent += size

    async def _room(self, stall_s: float) -> None:
        """Wait until the kernel takes more, for as long as the other side takes any."""
        fd, before = self._sock.fileno(), self.waiting()
        self._turn.clear()
        self._loop.add_writer(fd, self._turn.set)
        try:
            await self._turned(stall_s)
        except Stalled:
            # The kernel asks for more only when a good part of its buffer is free.
            if self.waiting() >= before:
                raise
        finally:
            if self._sock.fileno() == fd:
                self._loop.remove_writer(fd)

    async def _turned(self, stall_s: float) -> None:
        try:
            async with asyncio.timeout(stall_s):
                await self._turn.wait()
        except TimeoutError:
            raise Stalled(f"nothing was taken for {stall_s:g} s") from None

    async def _shut(self) -> None:
        """End our direction: TLS's own end first, then the connection's."""
        while isinstance(self._sock, ssl.SSLSocket):
            try:
                self._sock.unwrap()
            except ssl.SSLWantWriteError:
                await self._room(_REST_S)
                continue
            except (ssl.SSLWantReadError, ValueError, OSError):
                # It is out; the answer may come or not: the connection's own end tells.
                pass
            break
        self._recv = functools.partial(socket.socket.recv, self._sock)
        self._sock.shutdown(socket.SHUT_WR)
        self._listen()

    def _listen(self) -> None:
        self._timer = None
        if not self.ended and self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._heard)

    def _heard(self) -> None:
        try:
            data = self._recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._turn.set()
            return
        except OSError as error:
            self._end(_said(error))
            return
        self._turn.set()
        if data and self._saying_goodbye:
            return
        if data:
            self._rest()
        elif isinstance(self._sock, ssl.SSLSocket) and self._recv == self._sock.recv:
            # TLS is over; whether all was read, the connection's own end tells, at once or never.
            self._recv = functools.partial(socket.socket.recv, self._sock)
            if not self._timer:
                self._timer = self._loop.call_later(_UNANSWERED_S, self._end, HUNG_UP)
        else:
            self.read_all = not self._left and self.waiting() == 0
            self._end(HUNG_UP)

    def _rest(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        if not self._timer:
            self._timer = self._loop.call_later(_REST_S, self._listen)

    def _end(self, said: str) -> None:
        if self.ended:
            return
        self.ended = said
        self._stop_listening()
        self._turn.set()
        self._over.set()
        self.on_end()

    def _stop_listening(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())


def _said(error: OSError) -> str:
    return f"the connection broke: {error.strerror or 'closed'}"


def _nobody() -> None:
    """Nobody wants to know."""
