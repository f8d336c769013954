"""Owns the two languages that clients speak once they have met: Heroku's, which is bytes and
nothing else, and our own frames. Both are heard and spoken to in the same words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from oriel import frames
from oriel.rendezvous.marker import STATUS, Marker
from oriel.rendezvous.tls import TlsStream

GREETING = b"rendezvous\r\n"
END_OF_INPUT = b"\x04"
END_QUIET_S = 0.2
"""The official client ends its input with ^D, which may also be data: it is an end when nothing
follows within this time."""

INPUT_OVER_S = 1.0
"""How long the end of a piped input is waited for when the program has ended before it."""


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes for the program."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """No more input comes."""


@dataclass(frozen=True, slots=True)
class Resize:
    """The client's window."""

    columns: int
    lines: int


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal for the program."""

    number: signal.Signals


Heard = Input | End | Resize | Signal


class Link(Protocol):
    """A client that has come. One may hear while another sends."""

    def expect(self, *, terminal: bool, status: bool, piped: bool) -> None:
        """Whether the program has a terminal, and is asked to print its own exit status; whether
        the client's own input is a pipe.
        """
        ...

    async def hear(self) -> Heard | None:
        """What comes next; None when the client has gone."""
        ...

    async def gone(self) -> None:
        """Come back when the client has gone, though what it said before was not yet heard."""
        ...

    async def taken(self, count: int) -> None:
        """So many bytes of input were taken."""
        ...

    async def send(self, kind: str, data: bytes) -> None:
        """Output, of kind `out` or `err`. Raises ConnectionError when the client has gone."""
        ...

    def abort(self) -> None:
        """Break off at once."""
        ...

    async def finish(self, code: int | None, why: str) -> None:
        """The program has ended; comes back when the client knows, or is gone."""
        ...


class RawLink:
    """A client that speaks as Heroku's does."""

    def __init__(self, stream: TlsStream, rest: bytes) -> None:
        """`rest` came behind the first line."""
        self._stream = stream
        self._rest = rest
        self._pipes = self._status = self._piped = False
        self._input_over = asyncio.Event()
        """The client has nothing more to write."""
        self._marker = Marker()
        self._reading: asyncio.Task[bytes] | None = None

    def expect(self, *, terminal: bool, status: bool, piped: bool) -> None:
        """Without a terminal ^D must be told apart from data here; a status that is waited for
        has to come, though the program ended before it could print it; and a client that finds
        us gone when it writes the ^D behind a piped input ends in an error.
        """
        self._pipes, self._status, self._piped = not terminal, status, piped

    async def hear(self) -> Heard | None:
        """What comes next."""
        if self._rest:
            data, self._rest = self._rest, b""
        else:
            data = await self._read()
        if not data or data.endswith(END_OF_INPUT):
            self._input_over.set()
        if not data:
            return None
        if not self._pipes or not data.endswith(END_OF_INPUT):
            return Input(data)
        if data != END_OF_INPUT:
            self._rest = END_OF_INPUT
            return Input(data[:-1])
        self._reading = asyncio.ensure_future(self._stream.read())
        done, _ = await asyncio.wait({self._reading}, timeout=END_QUIET_S)
        if not done:
            return End()
        self._rest = self._reading.result()
        self._reading = None
        return Input(data) if self._rest else End()

    async def _read(self) -> bytes:
        reading, self._reading = self._reading, None
        return await (reading or self._stream.read())

    async def gone(self) -> None:
        """Come back when the client has gone."""
        await self._stream.gone()

    async def taken(self, count: int) -> None:
        """Not told."""

    async def send(self, kind: str, data: bytes) -> None:
        """Output; both kinds are one."""
        for piece in self._marker.feed(data):
            await self._stream.write(piece)

    def abort(self) -> None:
        """Break off at once."""
        if self._reading is not None:
            self._reading.cancel()
        self._stream.abort()

    async def finish(self, code: int | None, why: str) -> None:
        """Close; the code is in the output, where the client asked for it. Somebody hears
        meanwhile.
        """
        if self._piped:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INPUT_OVER_S):
                    await self._input_over.wait()
        if self._reading is not None:
            self._reading.cancel()
        with contextlib.suppress(ConnectionError, OSError):
            if rest := self._marker.rest():
                await self._stream.write(rest)
            if self._status and not self._marker.is_told and code is not None:
                await self._stream.write(STATUS + str(code).encode() + b"\n")
            if code is None and why:
                await self._stream.write(f"\r\n !    {why}\r\n".encode())
        await self._stream.close()


class FrameLink:
    """A client that speaks frames."""

    def __init__(self, stream: TlsStream, rest: bytes) -> None:
        """`rest` came behind the first line."""
        self._stream = stream
        self._frames = frames.Frames(frames.INPUT + frames.END + frames.WINDOW + frames.SIGNAL)
        self._rest = rest
        self._heard: deque[Heard] = deque()
        self._credit = frames.CREDIT_BYTES

    def expect(self, *, terminal: bool, status: bool, piped: bool) -> None:
        """Nothing is different: the end has a frame of its own."""

    async def hear(self) -> Heard | None:
        """What comes next; a client that breaks the rules has gone."""
        try:
            while not self._heard:
                data, self._rest = self._rest or await self._stream.read(), b""
                if not data:
                    return None
                for kind, payload in self._frames.feed(data):
                    self._take(kind, payload)
        except frames.Malformed:
            return None
        return self._heard.popleft()

    def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == frames.INPUT:
            self._credit -= len(payload)
            if self._credit < 0:
                raise frames.Malformed("more input than there is credit for")
            self._heard.append(Input(payload))
        elif kind == frames.END:
            self._heard.append(End())
        elif kind == frames.WINDOW:
            self._heard.append(Resize(*frames.window_of(payload)))
        else:
            name = payload.decode("ascii", "replace")
            if name not in frames.SIGNALS:
                raise frames.Malformed("no such signal")
            self._heard.append(Signal(signal.Signals[f"SIG{name}"]))

    async def gone(self) -> None:
        """Come back when the client has gone."""
        await self._stream.gone()

    async def taken(self, count: int) -> None:
        """Tell it, so that it may send as much again."""
        self._credit += count
        await self._stream.write(frames.taken(count))

    async def send(self, kind: str, data: bytes) -> None:
        """Output, in frames."""
        letter = frames.ERR if kind == "err" else frames.OUT
        for start in range(0, len(data), frames.PAYLOAD_BYTES_MAX):
            piece = data[start : start + frames.PAYLOAD_BYTES_MAX]
            await self._stream.write(frames.frame(letter, piece))

    def abort(self) -> None:
        """Break off at once."""
        self._stream.abort()

    async def finish(self, code: int | None, why: str) -> None:
        """Tell the end, and close."""
        said = json.dumps({"code": code, "why": why}).encode()
        with contextlib.suppress(ConnectionError, OSError):
            await self._stream.write(frames.frame(frames.EXIT, said))
        await self._stream.close()
