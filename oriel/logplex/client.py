"""Owns talking to logplex from another process. Must not know what is on disk.

Every operation may be repeated without harm, so that one whose answer was lost is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.logplex import wire
from oriel.logplex.query import Query
from oriel.logplex.session import Batch

__all__ = ["Batch", "Logplex", "Query"]

REQUEST_TIMEOUT_S = 30.0
BATCH_BYTES_MAX = 64 * 1024 * 1024

_FAULTS: dict[str, type[faults.Fault]] = {
    each.id: each
    for each in vars(faults).values()
    if isinstance(each, type) and issubclass(each, faults.Fault)
}

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Logplex:
    """Logplex, as others see it."""

    def __init__(self, socket_path: Path) -> None:
        """Connects when it is first needed, and again when it has to."""
        self._path = Path(socket_path)
        self._streams: _Streams | None = None
        self._turn = asyncio.Lock()

    async def open(self, instance: str) -> None:
        """Have a dyno's FIFO read from now on."""
        await self._ask({"op": "open", "instance": instance})

    async def drain(self, instance: str) -> int:
        """Have a dead dyno's FIFO read to its end and closed; returns the bytes it had in all."""
        return int((await self._ask({"op": "drain", "instance": instance}))["bytes"])

    async def append(self, channel: str, lines: Sequence[dict[str, Any]]) -> int:
        """Have lines of the platform kept, each id once; returns the channel's last id."""
        request = {"op": "append", "channel": channel, "lines": list(lines)}
        return int((await self._ask(request))["last_id"])

    async def forget(self, channel: str) -> None:
        """Have a channel removed, with all that was said in it."""
        await self._ask({"op": "forget", "channel": channel})

    async def status(self) -> dict[str, Any]:
        """Counts, for people."""
        return await self._ask({"op": "status"})

    async def read(self, channel: str, query: Query) -> AsyncGenerator[Batch, None]:
        """The lines that a query asks for; ends when it is no tail. Cancelling hangs up."""
        reader, writer = await self._connect()
        try:
            request = {
                "op": "read",
                "channel": channel,
                "lines": query.lines,
                "tail": query.tail,
                "after": query.after,
                "sources": list(query.sources),
                "ps": list(query.ps),
                "format": query.format,
            }
            writer.write(wire.packed(request))
            _checked(await _line(reader))
            while not (header := await _line(reader)).get("end"):
                text = await _text(reader, int(header["bytes"]))
                yield Batch(header["position"], text, int(header["lines"]), int(header["skipped"]))
        finally:
            await _closed(writer)

    async def close(self) -> None:
        """Hang up."""
        streams, self._streams = self._streams, None
        if streams:
            await _closed(streams[1])

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._turn:
            fresh = self._streams is None
            try:
                return _checked(await self._exchange(request))
            except _Lost:
                if fresh:
                    raise
                # Logplex was started again since: once more, on a new connection.
                return _checked(await self._exchange(request))

    async def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        streams = self._streams
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                if streams is None:
                    streams = self._streams = await self._connect()
                streams[1].write(wire.packed(request))
                return await _line(streams[0])
        except TimeoutError:
            self._hang_up()
            raise faults.Unavailable("Logplex does not answer.") from None
        except BaseException:
            # Also when cancelled: the answer that will come is nobody's.
            self._hang_up()
            raise

    async def _connect(self) -> _Streams:
        try:
            with wire.address(self._path) as name:
                return await asyncio.open_unix_connection(name, limit=wire.LINE_BYTES_MAX)
        except OSError as error:
            raise faults.Unavailable("Logplex is not running; it is started again soon.") from error

    def _hang_up(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


class _Lost(faults.Unavailable):
    """The connection ended before the answer."""


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _line(reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        line = await reader.readuntil(b"\n")
        return wire.unpacked(line)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise _Lost("Logplex hung up; it is started again soon.") from error


async def _text(reader: asyncio.StreamReader, size: int) -> bytes:
    if not 0 <= size <= BATCH_BYTES_MAX:
        raise faults.Broken("Logplex sent a batch of a size that cannot be.")
    try:
        return await reader.readexactly(size)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise _Lost("Logplex hung up; it is started again soon.") from error


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if answer.get("ok"):
        return answer
    kind = _FAULTS.get(str(answer.get("id")), faults.Broken)
    raise kind(str(answer.get("message", "")), hint=str(answer.get("hint", "")))
