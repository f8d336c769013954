"""Owns the other side of one git request: the body that it sends, the answer that it takes.

Must not know git. A client may fall silent, go deaf, pour without end or be gone; each is noticed
in bounded time. Who serves a push decides what then happens, so there it is only remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from oriel.builder.limits import Limits
from oriel.faults import TooLarge, Unavailable

Send = Callable[[bytes], Awaitable[None]]


class Client:
    """Who fetches or pushes."""

    def __init__(
        self, body: AsyncIterator[bytes], send: Send, limits: Limits, *, pushes: bool = False
    ) -> None:
        """With `pushes`, a client that is gone raises nothing here but settles `gone`."""
        self._body = body
        self._send = send
        self._limits = limits
        self._pushes = pushes
        self.begun = False
        """Whether anything was answered."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(self, piece: bytes) -> None:
        """Answer; thrown away when nobody listens any more."""
        if self.gone.done():
            return
        self.begun = True
        try:
            async with asyncio.timeout(self._limits.idle_s):
                await self._send(piece)
        except TimeoutError:
            self._fail(Unavailable("The other side of the transfer takes no answer."))
        except Exception as error:
            self._fail(error)

    def dismiss(self) -> None:
        """Neither listen to it nor talk to it any more."""
        if not self.gone.done():
            self.gone.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._pushes:
            raise error
        if not self.gone.done():
            self.gone.set_exception(error)
            self.gone.exception()  # it is looked at, or it no longer matters

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body: bounded in size and silence, and over when the client is gone."""
        size = 0
        while piece := await self._next():
            size += len(piece)
            # Git itself refuses a pack over its limit, in a sentence that the pusher sees; this
            # only ends what is poured out after that.
            if size > 2 * self._limits.push_bytes_max + (1 << 20):
                raise TooLarge("The push is too large.")
            yield piece

    async def _next(self) -> bytes:
        """The next piece that is not empty; empty at the end."""
        pulling = asyncio.ensure_future(_pull(self._body))
        waiting: set[asyncio.Future[Any]] = {pulling, self.gone}
        try:
            await asyncio.wait(
                waiting, timeout=self._limits.idle_s, return_when=asyncio.FIRST_COMPLETED
            )
            if self.gone.done():
                return b""
            if not pulling.done():
                raise Unavailable("The other side of the transfer fell silent.")
            return pulling.result()
        except Exception as error:
            # Git is let come to its own end: only then it removes what was pushed.
            self._fail(error)
            return b""
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)


async def _pull(body: AsyncIterator[bytes]) -> bytes:
    async for piece in body:
        if piece:
            return piece
    return b""
