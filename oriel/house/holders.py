"""Owns asking the others to hold a dyno's FIFO: `oriel up`, and logplex, which also reads it.

Best effort, in bounded time: where one of them is away, control holds the FIFO alone until that
one is back and finds it by itself. Must not know what a dyno is.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.logplex.client import Logplex

ASK_TIMEOUT_S = 1.0

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_log = logging.getLogger("oriel.house.holders")


class Holders:
    """`oriel up` and logplex, as holders of FIFOs."""

    def __init__(self, up_socket: Path, logplex: Logplex) -> None:
        """Ask through `up_socket` and logplex's client."""
        self._up_socket = up_socket
        self._up: _Streams | None = None
        self._turn = asyncio.Lock()
        self._logplex = logplex

    async def hold(self, instance: str) -> None:
        """Both open the instance's FIFO, or are known to be away."""
        await asyncio.gather(
            _best("oriel up", self._ask_up("hold", instance)),
            _best("logplex", self._logplex.open(instance)),
        )

    async def release(self, instance: str) -> None:
        """Both let go. Logplex has done so when it had drained it, but after a kill of control it
        may have been asked to hold one more time what was drained already.
        """
        await asyncio.gather(
            _best("oriel up", self._ask_up("release", instance)),
            _best("logplex", self._logplex.drain(instance)),
        )

    def close(self) -> None:
        """Hang up; whoever asks again connects again."""
        if self._up is not None:
            self._up[1].close()
            self._up = None

    async def _ask_up(self, op: str, instance: str) -> None:
        """Ask `oriel up` on the one connection that there is; it may have been started again since,
        so that one which answers nothing is left for a fresh one, once.
        """
        request = json.dumps({"op": op, "instance": instance}).encode() + b"\n"
        async with self._turn:
            was_open = self._up is not None
            line = await self._exchange(request)
            if not line and was_open:
                line = await self._exchange(request)
        answer = json.loads(line or b"{}")
        if not answer.get("ok"):
            raise faults.Unavailable(str(answer.get("message", "it did not answer")))

    async def _exchange(self, request: bytes) -> bytes:
        """The answer's line; empty where the other side has hung up."""
        reader, writer = self._up or await asyncio.open_unix_connection(self._up_socket)
        self._up, line = (reader, writer), b""
        try:
            writer.write(request)
            line = await reader.readline()
        except ConnectionError:
            return b""
        finally:
            if not line.endswith(b"\n"):  # also when cancelled: what may yet come is nobody's
                self.close()
        return line


async def _best(who: str, ask: Coroutine[Any, Any, object]) -> None:
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            await ask
    except (OSError, ValueError, TimeoutError, faults.Fault) as error:
        _log.warning("%s was not told of a dyno's output: %s", who, error)
