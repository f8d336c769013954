"""Owns the port: who connects is asked for a secret, within a time and a length, and then led to
whoever waits for that secret. The room's one shell.

Strangers are bounded in number and time: the one who has been at the door for longest is sent
away for the next, so that nobody can fill it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from oriel import frames
from oriel.clock import Clock, new_secret
from oriel.faults import Unavailable
from oriel.lexicon import Address
from oriel.rendezvous.invitations import Invitations
from oriel.rendezvous.line import Knock, Malformed, split
from oriel.rendezvous.link import GREETING, FrameLink, Link, RawLink
from oriel.rendezvous.tls import TlsStream

STRANGERS_MAX = 64
"""How many may be at the door at once."""

KNOCK_TIMEOUT_S = 10.0
"""For the handshake and the first line, together."""

BACKLOG = 128
SECRET_BYTES = 32

_log = logging.getLogger("oriel.rendezvous")


@dataclass(slots=True)
class Meeting:
    """One that was arranged: where the client has to go, and who comes."""

    url: str = field(repr=False)
    secret: str = field(repr=False)
    came: asyncio.Future[Link]


class Rendezvous:
    """The port and its invitations."""

    def __init__(
        self, listen: Address, shown_host: str, context: Callable[[], ssl.SSLContext], clock: Clock
    ) -> None:
        """`shown_host` is the name that clients are given; `context` is asked for each one."""
        self._listen = listen
        self._shown_host = f"[{shown_host}]" if ":" in shown_host else shown_host
        self._context = context
        self._clock = clock
        self._invitations: Invitations[Meeting] = Invitations()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._strangers: dict[asyncio.Task[None], None] = {}
        self._why = "it has not been started"

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.getsockname()[1] if self._listener else self._listen.port

    def start(self) -> None:
        """Begin to listen. Where that fails only meetings do: the platform goes on without."""
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        try:
            place = (self._listen.host, self._listen.port)
            self._listener = socket.create_server(place, family=family, backlog=BACKLOG)
        except OSError as error:
            self._why = f"nothing can listen at {self._listen}: {error.strerror}"
            _log.error("no rendezvous: %s", self._why)
            return
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))

    async def close(self) -> None:
        """Listen no more. Who has met goes on."""
        tasks = [task for task in (self._accepting, *self._strangers) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener:
            self._listener.close()

    def arrange(self, timeout_s: float) -> Meeting:
        """A meeting with one who does not know of it yet; Unavailable where there is no port."""
        if self._listener is None:
            raise Unavailable(
                f"No client can be attached: {self._why}.",
                hint="Type: oriel up --rendezvous HOST:PORT. Or run it with --detached.",
            )
        secret = new_secret(SECRET_BYTES)
        url = f"rendezvous://{self._shown_host}:{self.port}/{secret}"
        meeting = Meeting(url, secret, asyncio.get_running_loop().create_future())
        self._invitations.invite(secret, self._clock.monotonic_s() + timeout_s, meeting)
        return meeting

    async def meet(self, meeting: Meeting, timeout_s: float) -> Link | None:
        """Whoever came to it; None when nobody did in time."""
        alarm = asyncio.ensure_future(self._clock.sleep(timeout_s))
        try:
            either: set[asyncio.Future[Any]] = {meeting.came, alarm}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return meeting.came.result() if meeting.came.done() else None
        except asyncio.CancelledError:
            if meeting.came.done() and not meeting.came.cancelled():
                meeting.came.result().abort()
            raise
        finally:
            alarm.cancel()
            self._invitations.withdraw(meeting.secret)
            meeting.came.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors, perhaps: it passes
                _log.warning("nobody can be let in: %s", error)
                await self._clock.sleep(0.1)
                continue
            while len(self._strangers) >= STRANGERS_MAX:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                oldest.cancel()
            task = asyncio.create_task(self._greet(sock))
            self._strangers[task] = None
            task.add_done_callback(lambda done: self._strangers.pop(done, None))

    async def _greet(self, sock: socket.socket) -> None:
        """Find out who it is. Whatever is not right ends the connection, without a word."""
        try:
            stream = TlsStream(sock, self._context())
        except (OSError, ssl.SSLError):
            sock.close()
            return
        met = False
        try:
            async with asyncio.timeout(KNOCK_TIMEOUT_S):
                await stream.handshake()
                knock, rest = await self._knock(stream)
                met = await self._lead(stream, knock, rest)
        except (OSError, TimeoutError, Malformed):
            pass
        finally:
            if not met:
                stream.abort()

    async def _knock(self, stream: TlsStream) -> tuple[Knock, bytes]:
        received = b""
        while (found := split(received)) is None:
            data = await stream.read()
            if not data:
                raise ConnectionResetError("gone before a word")
            received += data
        return found

    async def _lead(self, stream: TlsStream, knock: Knock, rest: bytes) -> bool:
        """To whoever waits for it; False when nobody does."""
        in_frames = knock.query == frames.QUERY
        meeting = self._invitations.take(knock.secret, self._clock.monotonic_s())
        if meeting is None or meeting.came.done():
            if in_frames:
                with contextlib.suppress(OSError):
                    await stream.write(frames.REFUSAL)
                await stream.close(1.0)
            return False
        await stream.write(frames.GREETING if in_frames else GREETING)
        if meeting.came.done():
            return False
        meeting.came.set_result(FrameLink(stream, rest) if in_frames else RawLink(stream, rest))
        return True
