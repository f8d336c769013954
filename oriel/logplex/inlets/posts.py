"""Owns `POST /logs`: HTTP, who may write, and what is answered, as Heroku's Logplex has it.

Must not know frames. A body is kept whole and answered with 204, or refused and not kept at all.
Bounded: connections, the head, a body packed and unpacked, all bodies together, and time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import socket
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import cast

import h11

from oriel import faults
from oriel.logplex.inlets.bodies import Body
from oriel.logplex.inlets.bounds import Bounds, Counts
from oriel.logplex.inlets.sorting import NotTaken, Sender, Sorter
from oriel.logplex.tokens import Tokens

LOGS = b"/logs"
HEALTH = b"/healthcheck"
TYPES = (b"application/logplex-1", b"application/x-logplex-1")
_READ_BYTES = 64 * 1024
_LINGER_BYTES = 256 * 1024
_LINGER_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. With `hang_up` the rest of the request is not read."""

    status: int
    text: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    hang_up: bool = False
    kind: str = "text/plain; charset=utf-8"


_UNAUTHORIZED = Answer(401, "Unauthorized", (("WWW-Authenticate", "Basic realm=Logplex"),))
_FORBIDDEN = Answer(403, "Forbidden")


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection
    requests: int = 0
    held_bytes: int = field(default=0)


class Posts:
    """One listening socket."""

    def __init__(
        self, sock: socket.socket, *, sorter: Sorter, tokens: Tokens, bounds: Bounds
    ) -> None:
        """Takes over `sock`, which is bound to its address."""
        self.socket = sock
        self.counts = Counts()
        self._sorter, self._tokens, self._bounds = sorter, tokens, bounds
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._held_bytes = 0
        self._seen: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    async def start(self) -> None:
        """Answer from now on."""
        self._server = await asyncio.start_server(
            self._serve, sock=self.socket, limit=_READ_BYTES, backlog=128
        )

    async def close(self) -> None:
        """Hang up on everybody."""
        if self._server:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._bounds.connections:
            self.counts.refused += 1
            writer.close()
            return
        self._connections.add(task)
        self.counts.connections += 1
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._bounds.head_bytes)
        connection = _Connection(reader, writer, http)
        try:
            while await self._exchange(connection):
                connection.http.start_next_cycle()
        except (OSError, TimeoutError, h11.ProtocolError, asyncio.CancelledError):
            # It hung up, was too slow, or we are closing: this connection is over.
            pass
        finally:
            self._held_bytes -= connection.held_bytes
            self._connections.discard(task)
            writer.transport.abort()

    async def _exchange(self, connection: _Connection) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            async with asyncio.timeout(
                self._bounds.request_s if connection.requests else self._bounds.silent_s
            ):
                request = await self._event(connection)
        except TimeoutError:
            self.counts.silent += 1
            return False
        except h11.RemoteProtocolError as problem:
            await self._say(connection, Answer(problem.error_status_hint, "Bad Request"), True)
            return False
        if not isinstance(request, h11.Request):
            return False
        connection.requests += 1
        async with asyncio.timeout(self._bounds.request_s):
            try:
                answer = await self._answer(connection, request)
            except h11.RemoteProtocolError as problem:
                answer = Answer(problem.error_status_hint, "Bad Request", hang_up=True)
            finally:
                self._held_bytes -= connection.held_bytes
                connection.held_bytes = 0
            hang_up = answer.hang_up or connection.http.their_state is not h11.DONE
            await self._say(connection, answer, hang_up)
        return connection.http.our_state is h11.DONE and connection.http.their_state is h11.DONE

    async def _answer(self, connection: _Connection, request: h11.Request) -> Answer:
        path = request.target.partition(b"?")[0]
        if path == HEALTH:
            await self._event(connection)
            return Answer(200, '{"status":"normal"}', kind="application/json")
        if path != LOGS:
            return Answer(404, "Not Found")
        if request.method != b"POST":
            return Answer(405, "Method Not Allowed", (("Allow", "POST"),))
        headers = {bytes(name): bytes(value) for name, value in request.headers}
        identity = self._identified(headers.get(b"authorization", b""))
        if isinstance(identity, Answer):
            return identity
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if kind not in TYPES or encoding not in (b"identity", b"gzip", b"x-gzip"):
            return Answer(415, "Unsupported Media Type")
        if _number(headers.get(b"content-length")) > self._bounds.post_bytes:
            return Answer(413, "Request Entity Too Large", hang_up=True)
        try:
            return await self._take(connection, identity, headers, encoding != b"identity")
        except faults.TooLarge as fault:
            return Answer(413, fault.message, hang_up=True)
        except faults.BadRequest as fault:
            self.counts.malformed += 1
            return Answer(400, fault.message)
        except (NotTaken, faults.Unavailable):
            return Answer(503, "Service Unavailable", (("Retry-After", "1"),))

    async def _take(
        self,
        connection: _Connection,
        identity: tuple[str, Sender],
        headers: dict[bytes, bytes],
        gzipped: bool,
    ) -> Answer:
        name, sender = identity
        if connection.http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            connection.writer.write(connection.http.send(go_on) or b"")
        body = Body(self._bounds, gzipped)
        problem: faults.BadRequest | None = None
        while isinstance(event := await self._event(connection), h11.Data):
            if problem is None:
                before = body.size
                try:
                    body.feed(bytes(event.data))
                except faults.BadRequest as fault:
                    # Read to its end, so that the connection goes on.
                    problem = fault
                self._count_held(connection, body.size - before)
        if not isinstance(event, h11.EndOfMessage):
            raise faults.BadRequest("The request ended too early.")
        if problem:
            raise problem
        announced = headers.get(b"logplex-msg-count")
        runs = body.end(None if announced is None else _number(announced))
        frame_id = headers.get(b"logplex-frame-id")
        if frame_id is None or (name, frame_id) not in self._seen:
            self._sorter.store(runs, sender, self.counts)
            if frame_id is not None:
                self._remember((name, frame_id))
        return Answer(204)

    def _count_held(self, connection: _Connection, size: int) -> None:
        if self._held_bytes + size > self._bounds.posts_bytes:
            raise faults.Unavailable("Too many requests are under way.")
        self._held_bytes += size
        connection.held_bytes += size

    def _remember(self, request: tuple[str, bytes]) -> None:
        """A sender that lost our answer sends the same again: it is kept once."""
        self._seen[request] = None
        while len(self._seen) > self._bounds.frame_ids:
            self._seen.popitem(last=False)

    def _identified(self, header: bytes) -> tuple[str, Sender] | Answer:
        scheme, _, packed = header.partition(b" ")
        try:
            words = base64.b64decode(packed.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return _UNAUTHORIZED
        user, colon, password = words.partition(":")
        if scheme.lower() != b"basic" or not colon:
            return _UNAUTHORIZED
        if user == "token":
            token = self._tokens.get(password)
            return (token.id, Sender(token, by_process=True)) if token else _UNAUTHORIZED
        credential = self._tokens.credential(user, password)
        if credential is None:
            return _UNAUTHORIZED
        if not credential.any_channel:
            return _FORBIDDEN
        return credential.id, Sender(None, by_process=True)

    async def _event(self, connection: _Connection) -> h11.Event:
        while True:
            event = connection.http.next_event()
            if event is not h11.NEED_DATA and event is not h11.PAUSED:
                return cast(h11.Event, event)
            connection.http.receive_data(await connection.reader.read(_READ_BYTES))

    async def _say(self, connection: _Connection, answer: Answer, hang_up: bool) -> None:
        http, writer = connection.http, connection.writer
        if http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = answer.text.encode()
        headers = [*answer.headers]
        if answer.status != 204:
            headers += [("Content-Type", answer.kind), ("Content-Length", str(len(body)))]
        if hang_up:
            headers.append(("Connection", "close"))
        head = h11.Response(status_code=answer.status, headers=headers)
        parts = [http.send(head), http.send(h11.Data(data=body)) if body else b""]
        parts.append(http.send(h11.EndOfMessage()))
        writer.write(b"".join(part or b"" for part in parts))
        await writer.drain()
        if hang_up:
            await _linger(connection)


async def _linger(connection: _Connection) -> None:
    """Let the other side read its answer before what it still sends meets a closed socket."""
    with contextlib.suppress(OSError, TimeoutError):
        if connection.writer.can_write_eof():
            connection.writer.write_eof()
        async with asyncio.timeout(_LINGER_S):
            left = _LINGER_BYTES
            while left > 0 and (data := await connection.reader.read(_READ_BYTES)):
                left -= len(data)


def _number(value: bytes | None) -> int:
    """A header's number; -1, which nothing equals, when it is none."""
    if value is None:
        return 0
    return int(value) if value.isdigit() and len(value) < 16 else -1
