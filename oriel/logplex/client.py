"""Owns talking to logplex from another process. Must not know what is on disk.

Every operation may be repeated without harm, so that one whose answer was lost is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.logplex import wire
from oriel.logplex.batch import Batch
from oriel.logplex.query import Query
from oriel.logplex.tokens import new_token

__all__ = ["Batch", "Logplex", "Query"]

REQUEST_TIMEOUT_S = 30.0
SLOW_TIMEOUT_S = 90.0
CHECK_TIMEOUT_S = 600.0
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

    async def create_channel(self, channel: str) -> bool:
        """Have a channel; whether it is new."""
        return bool((await self._ask({"op": "channel-create", "channel": channel}))["created"])

    async def channels(self) -> list[dict[str, Any]]:
        """Every channel: its name, and how many tokens it has."""
        return list((await self._ask({"op": "channels"}))["channels"])

    async def create_token(self, channel: str, name: str) -> dict[str, str]:
        """A token with which a source of that name may write into a channel."""
        # Its id is made here, so that asking again, when the answer was lost, makes no second.
        request = {"op": "token-create", "channel": channel, "name": name, "token": new_token()}
        return dict((await self._ask(request))["token"])

    async def revoke_token(self, token: str) -> bool:
        """Take a token back; whether there was one."""
        return bool((await self._ask({"op": "token-revoke", "token": token}))["revoked"])

    async def tokens(self, channel: str | None = None) -> list[dict[str, str]]:
        """The tokens of a channel, or all."""
        return list((await self._ask({"op": "tokens", "channel": channel}))["tokens"])

    async def create_credential(self, any_channel: bool) -> dict[str, Any]:
        """An id and a password for `POST /logs`; `any_channel` writes by the frames' tokens."""
        return await self._ask({"op": "credential-create", "any_channel": any_channel})

    async def revoke_credential(self, number: str) -> bool:
        """Take a credential back; whether there was one."""
        return bool((await self._ask({"op": "credential-revoke", "id": number}))["revoked"])

    async def credentials(self) -> list[dict[str, Any]]:
        """Every credential, without its password."""
        return list((await self._ask({"op": "credentials"}))["credentials"])

    async def policy(
        self, channel: str, changes: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """What a channel may keep and what is done when it is full, after `changes`.

        Its `policy`, and how much there is: `segments`, `bytes`, `since_us`.
        """
        return await self._ask({"op": "policy", "channel": channel, "set": dict(changes or {})})

    async def check(self, channel: str) -> dict[str, Any]:
        """Look at all that a channel has on disk: `segments` looked at, and all `damage`."""
        # On a connection of its own: it takes its time, and others shall not wait.
        own = Logplex(self._path)
        try:
            return await own._ask({"op": "check", "channel": channel}, CHECK_TIMEOUT_S)
        finally:
            await own.close()

    async def inlets(self) -> dict[str, dict[str, Any]]:
        """By dyno instance: bytes `moved`, whether it is `blocked`, its `flood` policy."""
        return dict((await self._ask({"op": "inlets"}))["inlets"])

    async def drains(
        self, channel: str | None = None, drain: str | None = None
    ) -> list[dict[str, Any]]:
        """The drains of a channel, or one of them, with how they are; of all, which there are."""
        request = {"op": "drains", "channel": channel, "drain": drain}
        return list((await self._ask_apart(request))["drains"])

    async def add_drain(self, channel: str, url: str, drain: str, token: str) -> dict[str, Any]:
        """Have a drain; both ids are UUIDs that the caller chose, so that twice makes one."""
        request = {"op": "drain-add", "channel": channel, "url": url, "id": drain}
        return dict((await self._ask_apart({**request, "token_id": token}))["drain"])

    async def remove_drain(self, channel: str, drain: str) -> dict[str, Any]:
        """Have a drain no more; `drain` is its id, its token or its URL. Returns what it was."""
        request = {"op": "drain-remove", "channel": channel, "drain": drain}
        return dict((await self._ask_apart(request))["drain"])

    async def test_drain(self, channel: str, drain: str, text: str) -> dict[str, Any]:
        """Send one line to a drain's receiver; returns what it answered."""
        request = {"op": "drain-test", "channel": channel, "drain": drain, "text": text}
        return await self._ask_apart(request)

    async def replay_drain(self, channel: str, drain: str, since_us: int) -> dict[str, Any]:
        """Have everything since then sent again; returns how many lines that is."""
        request = {"op": "drain-replay", "channel": channel, "drain": drain}
        return await self._ask_apart({**request, "since_us": since_us})

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
                "since_us": query.since_us,
                "until_us": query.until_us,
                "grep": query.grep,
                "regex": query.regex,
                "release": query.release,
                "raw": query.raw,
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

    async def _ask_apart(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request that may take a while, on a connection of its own: nobody waits behind it."""
        apart = Logplex(self._path)
        try:
            return await apart._ask(request, SLOW_TIMEOUT_S)
        finally:
            await apart.close()

    async def _ask(
        self, request: dict[str, Any], timeout_s: float = REQUEST_TIMEOUT_S
    ) -> dict[str, Any]:
        async with self._turn:
            fresh = self._streams is None
            try:
                return _checked(await self._exchange(request, timeout_s))
            except _Lost:
                if fresh:
                    raise
                # Logplex was started again since: once more, on a new connection.
                return _checked(await self._exchange(request, timeout_s))

    async def _exchange(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        streams = self._streams
        try:
            async with asyncio.timeout(timeout_s):
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
