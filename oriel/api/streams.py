"""Owns long answers: log sessions as Server-Sent Events or plain chunks, and other text that
grows while it is read.

The iteration ends when the reader is gone, and when it takes nothing for too long; the number of
streams at once is bounded. Must not know what is in the lines.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from starlette.types import Receive, Send

from oriel import faults

KEEP_ALIVE_S = 15.0
FIRST_WAIT_S = 0.25
"""How long the head of an answer waits for the first lines, so that a failure to read them can
still be a status."""

STALL_S = 300.0
"""How long a reader may take nothing: somebody may be looking at it in a pager."""

STREAMS_MAX = 500

_QUICK_END = b"retry: 1\n\n"
"""Without it the official command line lingers for 3 s after the end of what is no tail. On a
tail it would make the client come back in a tight loop."""

T = TypeVar("T")


class Batch(Protocol):
    """Whole lines, and the position after them."""

    @property
    def position(self) -> object:
        """Where a later read goes on."""
        ...

    @property
    def text(self) -> bytes:
        """The lines, each with its end."""
        ...


class Streams:
    """The long answers that are under way, counted."""

    def __init__(
        self,
        *,
        most: int = STREAMS_MAX,
        keep_alive_s: float = KEEP_ALIVE_S,
        stall_s: float = STALL_S,
    ) -> None:
        """`keep_alive_s` of silence is filled with a comment where the form has one."""
        self._most = most
        self._keep_alive_s = keep_alive_s
        self._stall_s = stall_s
        self._open = 0

    async def events(
        self,
        batches: AsyncIterator[Batch],
        *,
        tail: bool,
        receive: Receive,
        send: Send,
        raw: bool = False,
    ) -> None:
        """Answer with batches as Server-Sent Events, one event each. `raw`: see `event`."""

        async def chunks() -> AsyncIterator[bytes]:
            before = b"" if tail else _QUICK_END
            async with closing(self._paced(batches)) as paced:
                try:
                    async for batch in paced:
                        yield before + (b": keep-alive\n\n" if batch is None else event(batch, raw))
                        before = b""
                except faults.Fault:
                    # A proper end makes a tail come back to where it was; anything else breaks
                    # off, for an end would look as if that were all.
                    if not tail or before:
                        raise
                    return
            yield before

        await self._serve(chunks, "text/event-stream", receive, send)

    async def plain(self, batches: AsyncIterator[Batch], *, receive: Receive, send: Send) -> None:
        """Answer with the batches' text alone."""

        async def chunks() -> AsyncIterator[bytes]:
            async with closing(self._paced(batches)) as paced:
                async for batch in paced:
                    yield b"" if batch is None else batch.text

        await self._serve(chunks, "text/plain; charset=utf-8", receive, send)

    async def text(self, pieces: AsyncIterator[bytes], *, receive: Receive, send: Send) -> None:
        """Answer with pieces of text as they come."""

        async def chunks() -> AsyncIterator[bytes]:
            async with closing(self._paced(pieces)) as paced:
                async for piece in paced:
                    yield piece or b""

        await self._serve(chunks, "text/plain; charset=utf-8", receive, send)

    async def _serve(
        self,
        chunks: Callable[[], AsyncIterator[bytes]],
        kind: str,
        receive: Receive,
        send: Send,
    ) -> None:
        if self._open >= self._most:
            raise faults.Unavailable(
                f"{self._most} log streams are open already.", hint="Close one, or try again later."
            )
        self._open += 1
        try:
            await until_gone(self._send_all(chunks(), kind, send), receive)
        finally:
            self._open -= 1

    async def _send_all(self, chunks: AsyncIterator[bytes], kind: str, send: Send) -> None:
        async with closing(chunks) as source:
            # What comes first decides whether this is an answer or a refusal with a status.
            first = await anext(source, b"")
            headers = [(b"content-type", kind.encode()), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            # A body message, even an empty one, makes the server send the head.
            if not await self._put(first, send):
                return
            async for chunk in source:
                if chunk and not await self._put(chunk, send):
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _put(self, chunk: bytes, send: Send) -> bool:
        """Send a chunk; False when the reader took nothing for too long."""
        try:
            async with asyncio.timeout(self._stall_s):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            return False
        return True

    async def _paced(self, items: AsyncIterator[T]) -> AsyncIterator[T | None]:
        """The items, and None for each time that none came for a while."""
        coming: asyncio.Task[T] | None = None
        wait_s = min(FIRST_WAIT_S, self._keep_alive_s)
        async with closing(items) as source:
            try:
                while True:
                    coming = coming or asyncio.create_task(_next(source))
                    done, _ = await asyncio.wait({coming}, timeout=wait_s)
                    wait_s = self._keep_alive_s
                    if not done:
                        yield None
                        continue
                    ready, coming = coming, None
                    try:
                        item = ready.result()
                    except _EndError:
                        return
                    yield item
            finally:
                if coming is not None:
                    coming.cancel()
                    await asyncio.gather(coming, return_exceptions=True)


def event(batch: Batch, raw: bool = False) -> bytes:
    """A batch as one event. A carriage return ends a line there, so it does here.

    `raw`: only a newline does; the client must know.
    """
    text = batch.text
    if b"\r" in text and not raw:
        lines = text.splitlines()
    else:
        lines = text.removesuffix(b"\n").split(b"\n") if text else []
    position = str(batch.position).encode("ascii", "replace")
    body = b"\ndata: ".join(lines)
    return b"id: %b\ndata: %b\n\n" % (position, body) if lines else b"id: %b\n\n" % position


async def until_gone(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do the work while somebody waits for its answer; cancel it when nobody does any more."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = not working.done()
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
    if left and working.cancelled():
        return
    working.result()


@contextlib.asynccontextmanager
async def closing(source: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """An iteration that is ended, not only left, when this block is."""
    try:
        yield source
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


async def _gone(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return


class _EndError(Exception):
    """StopAsyncIteration may not leave a task, so this does."""


async def _next(source: AsyncIterator[T]) -> T:
    try:
        return await anext(source)
    except StopAsyncIteration:
        raise _EndError from None
