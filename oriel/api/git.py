"""Owns git's smart HTTP at `/APP.git`: who comes, and the bytes both ways.

A raw ASGI application with one reader of `receive`: first it feeds the body to the verb, then it
watches for the client's going away, which cancels what is under way. (Two readers, as a framework
with a listener for disconnects has, eat each other's messages, and the push hangs.) Refusals are
plain text, which git shows as `remote:` lines. Must not know what git says.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from oriel import faults
from oriel.api import doors
from oriel.api import faults as table
from oriel.api.streams import until_gone
from oriel.control import deploy
from oriel.control.world import World
from oriel.lexicon import Actor

PATH = re.compile(r"/([^/]+)\.git/(.*)")

IDLE_S = 300.0
"""How long a client may send nothing in the middle of its body."""

UNPACKED_MAX = 64 * 1024 * 1024
"""A gzip body may grow to this. Git compresses what it asks for in a fetch, never a pack."""

CHUNKS_WAITING_MAX = 16
PIECE_BYTES = 256 * 1024

_PROTOCOL = re.compile(r"[a-z0-9=:.-]{1,100}", re.ASCII)
_SERVICES = ("git-upload-pack", "git-receive-pack")


class Git:
    """The ASGI application for every path that `PATH` matches."""

    def __init__(self, world: World, verbs: Any = deploy) -> None:
        """`verbs` has `advertise`, `fetch` and `push`."""
        self._world = world
        self._verbs = verbs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a git client."""
        match = PATH.fullmatch(scope["path"])
        app, rest = (match[1], match[2]) if match else ("", "")
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._serve(scope, receive, send_noted, app, rest)
        except Exception as problem:
            if started:
                raise
            await _refusal(problem, doors.request_id(scope))(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, app: str, rest: str) -> None:
        method = scope["method"]
        if rest == "info/refs" and method == "GET":
            await self._advertise(scope, receive, send, app)
        elif rest in _SERVICES and method == "POST":
            await self._exchange(scope, receive, send, app, rest)
        elif rest == "info/refs" or rest in _SERVICES:
            allowed = "GET" if rest == "info/refs" else "POST"
            raise table.MethodUnknown(method, scope["path"], [allowed])
        else:
            raise faults.NotFound(
                "Git's dumb protocol is not spoken here.", hint="Use git 1.6.6 or newer."
            )

    async def _advertise(self, scope: Scope, receive: Receive, send: Send, app: str) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        service = (query.get("service") or [""])[0]
        if service not in _SERVICES:
            raise faults.Forbidden("Git's dumb protocol is not spoken here.")
        actor = await self._actor(scope, service)
        protocol = _protocol(Headers(scope=scope))
        body = await self._verbs.advertise(self._world, actor, app, service, protocol)
        kind = f"application/x-{service}-advertisement"
        await Response(body, media_type=kind)(scope, receive, send)

    async def _exchange(
        self, scope: Scope, receive: Receive, send: Send, app: str, service: str
    ) -> None:
        headers = Headers(scope=scope)
        if headers.get("content-type") != f"application/x-{service}-request":
            raise table.MediaUnknown(f"This is no request of {service}.")
        actor = await self._actor(scope, service)
        body = _Body(receive)
        result = _Result(send, f"application/x-{service}-result")
        chunks = _decoded(body.chunks(), headers.get("content-encoding", ""))

        async def work() -> None:
            if service == "git-receive-pack":
                await self._verbs.push(self._world, actor, app, chunks, result.put)
            else:
                protocol = _protocol(headers)
                await self._verbs.fetch(self._world, actor, app, chunks, result.put, protocol)
            await result.end()

        await until_gone(work(), body.watch)

    async def _actor(self, scope: Scope, service: str) -> Actor:
        method = "POST" if service == "git-receive-pack" else "GET"
        login = await doors.identified(self._world, Request(scope), method)
        return Actor(login.account.id, login.account.email, "git", doors.request_id(scope))


class _Body:
    """A request's body, and after it the client's going away: the one reader of `receive`."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(CHUNKS_WAITING_MAX)
        self._ended = False

    async def watch(self) -> Message:
        """Read on, as `until_gone` asks for it; pass on what is body."""
        message = await self._receive()
        if message["type"] == "http.request" and not self._ended:
            if message.get("body"):
                await self._waiting.put(message["body"])
            if not message.get("more_body", False):
                self._ended = True
                await self._waiting.put(None)
        return message

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    chunk = await self._waiting.get()
            except TimeoutError:
                raise table.TooSlow(f"Nothing came for {IDLE_S:.0f} seconds.") from None
            if chunk is None:
                return
            yield chunk


class _Result:
    """The answer, begun with its first byte so that a refusal can still have a status."""

    def __init__(self, send: Send, kind: str) -> None:
        self._send = send
        self._kind = kind
        self._begun = False

    async def put(self, data: bytes) -> None:
        await self._begin()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._begin()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            headers = [(b"content-type", self._kind.encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})


async def _decoded(chunks: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """The chunks, unpacked where they are gzip; what comes out is bounded, in pieces and in all."""
    if encoding in ("", "identity"):
        async for chunk in chunks:
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip"):
        raise table.MediaUnknown(f"Bodies encoded as {encoding[:40]!r} are not read here.")
    unpacker = zlib.decompressobj(wbits=31)
    total = 0
    async for chunk in chunks:
        waiting = chunk
        while True:
            piece = _unpack(unpacker.decompress, waiting, PIECE_BYTES)
            waiting = unpacker.unconsumed_tail
            total += len(piece)
            if total > UNPACKED_MAX:
                raise faults.TooLarge(
                    f"The request's body unpacks to more than {UNPACKED_MAX:,} bytes."
                )
            if unpacker.unused_data:
                raise faults.BadRequest("The request's gzip body has something after its end.")
            if piece:
                yield piece
            if not waiting and len(piece) < PIECE_BYTES:
                break
    if not unpacker.eof:
        raise faults.BadRequest("The request's gzip body ends too early.")


def _protocol(headers: Headers) -> str:
    """Which protocol the client would like; it ends in an environment, so it is checked here."""
    wanted = headers.get("git-protocol", "")
    return wanted if _PROTOCOL.fullmatch(wanted) else ""


def _unpack(decompress: Callable[[bytes, int], bytes], data: bytes, most: int) -> bytes:
    try:
        return decompress(data, most)
    except zlib.error:
        raise faults.BadRequest("The request's body is not gzip, as it says.") from None


def _refusal(problem: Exception, request_id: str) -> Response:
    status = table.status_of(type(problem))
    if status == 500:
        table.tell(problem, request_id)
    told = table.describe(problem, request_id)
    text = "\n".join(part for part in (told["message"], told.get("hint", "")) if part)
    return PlainTextResponse(text + "\n", status, table.headers_of(problem, 'Basic realm="Oriel"'))
