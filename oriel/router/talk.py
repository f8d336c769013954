"""Owns one question to a socket of HAProxy's and the whole answer; must not know what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

_ANSWER_S = 5.0
_ANSWER_BYTES = 64 << 20
_LINE_BYTES = 8000
"""A line of commands must fit in HAProxy's buffer."""
_MASTER_ASKED_MAX = 4
"""The master accepts ten connections at once, and refuses what is beyond."""


class Away(Exception):
    """HAProxy does not answer just now."""


async def ask(socket: Path, line: str) -> str:
    """One line of commands, and all that is answered to it; raises Away."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(line.encode() + b"\n")
                await writer.drain()
                answer = await _read_all(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise Away(f"{socket.name}: {error or 'no answer'}") from error
    return answer.decode("utf-8", "replace")


class Master:
    """The master's socket, which leads to its workers too."""

    def __init__(self, socket: Path) -> None:
        """Touches nothing yet."""
        self._socket = socket
        self._turns = asyncio.Semaphore(_MASTER_ASKED_MAX)

    async def ask(self, line: str) -> str:
        """As `ask`; it keeps a connection until it is told not to. Raises Away."""
        async with self._turns:
            return await ask(self._socket, f"{line}\nquit")

    async def ask_worker(self, pid: int, line: str) -> str:
        """One command to a worker: of several in a line only the first would go to it."""
        return await self.ask(f"@!{pid} {line}")

    async def reload(self) -> None:
        """Have it start a worker from the files; it closes each connection. Raises Away."""
        await ask(self._socket, "reload")


def lines(commands: Iterable[str]) -> Iterator[str]:
    """Commands joined into lines that HAProxy's buffer holds."""
    line: list[str] = []
    size = 0
    for each in commands:
        # What brings a content along stands alone.
        alone = "\n" in each
        if line and (alone or size + len(each) > _LINE_BYTES):
            yield ";".join(line)
            line, size = [], 0
        if alone:
            yield each
            continue
        line.append(each)
        size += len(each) + 1
    if line:
        yield ";".join(line)


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    """Until the end, within bounds."""
    pieces: list[bytes] = []
    size = 0
    while piece := await reader.read(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > _ANSWER_BYTES:
            raise OSError("the answer does not end")
    return b"".join(pieces)
