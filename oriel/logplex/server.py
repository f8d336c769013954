"""Owns logplex's door: the Unix socket and its operations. Must not know segments or lines.

Requests of a connection are answered in order. A read turns its connection into a stream of
batches until `{"end":true}`; a tail's lasts until either side hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.clock import Clock
from oriel.logplex import query as queries
from oriel.logplex import wire
from oriel.logplex.batch import Batch
from oriel.logplex.channel import PlatformLine, check_name
from oriel.logplex.datagrams import Datagrams
from oriel.logplex.drains.roster import Roster
from oriel.logplex.feed import Feeds
from oriel.logplex.glimpse import Glimpses
from oriel.logplex.inlets.desk import Desk
from oriel.logplex.inlets.doors import Doors
from oriel.logplex.intake import Intake
from oriel.logplex.limits import Limits
from oriel.logplex.session import Session
from oriel.logplex.shelf import Shelf
from oriel.logplex.turns import Turns
from oriel.logplex.upkeep import Upkeep

WRITE_BUFFER_BYTES = 256 * 1024
"""What may wait for a slow reader; beyond it, its cursor waits."""

_SOURCES = ("app", "heroku")

_log = logging.getLogger("oriel.logplex")


class Server:
    """The door, for as long as logplex runs."""

    def __init__(
        self,
        *,
        shelf: Shelf,
        intake: Intake,
        datagrams: Datagrams | None,
        limits: Limits,
        clock: Clock,
        desk: Desk | None = None,
        doors: Doors | None = None,
        drains: Roster | None = None,
        upkeep: Upkeep | None = None,
    ) -> None:
        """The parts are started and closed by whoever made them."""
        self._upkeep = upkeep
        self._desk = desk
        self._doors = doors
        self._drains = drains
        self._shelf = shelf
        self._intake = intake
        self._datagrams = datagrams
        self._limits = limits
        self._clock = clock
        self._turns = Turns()
        self._feeds = Feeds()
        self._glimpses = Glimpses(shelf, limits)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._operations: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "open": self._open,
            "drain": self._drain,
            "append": self._append,
            "forget": self._forget,
            "status": self._status,
            **(desk.operations if desk else {}),
            **(upkeep.operations if upkeep else {}),
            **(drains.operations() if drains is not None else {}),
        }

    async def start(self, path: Path) -> None:
        """Listen at `path`."""
        self._server = await asyncio.start_unix_server(
            self._serve, sock=wire.listen(path), limit=wire.LINE_BYTES_MAX
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
        if task:
            self._connections.add(task)
        try:
            if len(self._connections) > self._limits.connections:
                fault = faults.Unavailable("Logplex has too many connections; try again later.")
                writer.write(wire.packed(_refusal(fault)))
                return
            writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.CancelledError):
            # The other side hung up, or we are closing: either way this connection is over.
            pass
        finally:
            if task:
                self._connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        try:
            line = await reader.readline()
        except ValueError:
            writer.write(wire.packed(_refusal(faults.TooLarge("The request is too large."))))
            return False
        if not line.endswith(b"\n"):
            return False
        goes_on = True
        try:
            request = _parsed(line)
            if request.get("op") == "read":
                goes_on = await self._read(request, reader, writer)
            elif request.get("op") == "router-socket":
                await self._give_router_socket(writer)
            else:
                writer.write(wire.packed({"ok": True, **await self._carry_out(request)}))
        except faults.Fault as fault:
            writer.write(wire.packed(_refusal(fault)))
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            full = faults.Unavailable(f"Logplex cannot do that now: {error.strerror or error}.")
            writer.write(wire.packed(_refusal(full)))
        except Exception:
            _log.exception("a request failed")
            writer.write(wire.packed(_refusal(faults.Broken("Logplex made a mistake."))))
        await writer.drain()
        return goes_on

    async def _carry_out(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = self._operations.get(str(request.get("op")))
        if operation is None:
            raise faults.BadRequest(f"There is no operation {str(request.get('op'))[:40]!r}.")
        return await operation(request)

    async def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        self._intake.open(request.get("instance"))
        return {}

    async def _drain(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"bytes": await self._intake.drain(request.get("instance"))}

    async def _append(self, request: dict[str, Any]) -> dict[str, Any]:
        lines = _lines(request.get("lines"), self._limits)
        await self._shelf.room(request.get("channel"))
        channel = self._shelf.channel(request.get("channel"))
        last_id = channel.append_platform(lines, self._clock.wall_ns() // 1000)
        self._shelf.note_id(last_id)
        return {"last_id": last_id}

    async def _forget(self, request: dict[str, Any]) -> dict[str, Any]:
        name = check_name(request.get("channel"))
        self._intake.forget(name)
        if self._desk:
            self._desk.forget(name)
        if self._drains is not None:
            await self._drains.forget(name)
        await self._shelf.forget(name)
        return {}

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "channels": len(self._shelf),
            "sources": len(self._intake),
            "connections": len(self._connections),
            "blocked": list(self._intake.blocked),
            "router": self._datagrams.status() if self._datagrams else None,
            "inlets": self._doors.status() if self._doors else [],
            "drains": len(self._drains) if self._drains is not None else 0,
            **(self._upkeep.status() if self._upkeep else {}),
        }

    async def _read(
        self,
        request: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        query = queries.from_request(request)
        # A tail needs the channel itself: where its disk takes nothing, there is none.
        opened = self._shelf.used if query.tail else self._glimpses.used
        with opened(request.get("channel")) as channel:
            session = Session(channel, query, self._turns, self._feeds)
            try:
                await session.seek()
                writer.write(wire.packed({"ok": True}))
                if not query.tail:
                    await _pump(session, writer)
                    return True
                await _until_hung_up(_follow(session, writer), reader)
                return False
            finally:
                await session.close()

    async def _give_router_socket(self, writer: asyncio.StreamWriter) -> None:
        if self._datagrams is None:
            raise faults.NotFound("This logplex has no router's socket.", resource="socket")
        # The descriptor goes with the answer, past the stream's buffer, which must be empty.
        writer.transport.set_write_buffer_limits(high=0)
        await writer.drain()
        with writer.get_extra_info("socket").dup() as door:
            socket.send_fds(door, [wire.packed({"ok": True})], [self._datagrams.socket.fileno()])
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)


async def _pump(session: Session, writer: asyncio.StreamWriter) -> None:
    async with contextlib.aclosing(session.batches()) as batches:
        async for batch in batches:
            writer.write(batch.packed)
            await writer.drain()
    writer.write(wire.packed({"end": True}))
    await writer.drain()


async def _follow(session: Session, writer: asyncio.StreamWriter) -> None:
    """Give a tail's batches to the socket at once, without a task's turn for each reader."""

    transport = writer.transport
    fd = writer.get_extra_info("socket").fileno()

    def put(batch: Batch) -> bool:
        data = batch.packed
        waiting = transport.get_write_buffer_size()
        if not waiting and not transport.is_closing():
            # Past the stream, which costs as much again; with 200 tails that is most of the time.
            try:
                sent = os.write(fd, data)
            except OSError:
                # It takes nothing now, or it hung up: the stream finds out which.
                sent = 0
            if sent == len(data):
                return True
            data = data[sent:]
        writer.write(data)
        return waiting + len(data) < WRITE_BUFFER_BYTES

    put(session.start)
    await session.follow(put, writer.drain)
    writer.write(wire.packed({"end": True}))
    await writer.drain()


async def _until_hung_up(work: Coroutine[Any, Any, None], reader: asyncio.StreamReader) -> None:
    working = asyncio.create_task(work)
    hung_up = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait({working, hung_up}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = not working.done()
        working.cancel()
        hung_up.cancel()
        await asyncio.gather(working, hung_up, return_exceptions=True)
    if not left:
        working.result()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return wire.unpacked(line)
    except ValueError as error:
        raise faults.BadRequest("A request is one JSON object on one line.") from error


def _refusal(fault: faults.Fault) -> dict[str, Any]:
    return {"ok": False, "id": fault.id, "message": fault.message, "hint": fault.hint}


def _lines(value: object, limits: Limits) -> list[PlatformLine]:
    if not isinstance(value, list):
        raise faults.Invalid("The lines to append are a list.")
    if len(value) > limits.append_lines:
        raise faults.TooLarge(f"At most {limits.append_lines} lines at once.")
    return [_line(each, limits) for each in value]


def _line(value: object, limits: Limits) -> PlatformLine:
    if not isinstance(value, Mapping):
        raise faults.Invalid("A line to append is an object.")
    number, text, data = value.get("id"), value.get("text"), value.get("data") or {}
    severity, release = value.get("severity", 6), value.get("release", 0)
    if type(number) is not int or not 0 < number < 1 << 63 or not isinstance(text, str):
        raise faults.Invalid("A line to append has an id from 1 up, and a text.")
    if value.get("source") not in _SOURCES or not isinstance(value.get("ps"), str):
        raise faults.Invalid("A line to append is of app or heroku, and of a process.")
    if type(severity) is not int or type(release) is not int or not 0 <= release < 1 << 32:
        raise faults.Invalid("Severity and release are numbers.")
    if not isinstance(data, Mapping):
        raise faults.Invalid("A line's data is an object.")
    if len(text) > limits.append_text_bytes:
        raise faults.TooLarge(f"A line has at most {limits.append_text_bytes} characters.")
    return PlatformLine(
        number, value["source"], value["ps"][:200], text, severity & 7, release, dict(data)
    )
