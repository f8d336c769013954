"""Owns sending over HTTP and HTTPS: one request at a time, each answered.

Must not know channels or files.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

from oriel import __version__, faults
from oriel.clock import Clock, jittered
from oriel.egress import Dialer, Line, http
from oriel.logplex.drains.address import Target
from oriel.logplex.drains.machine import Denied, Failed, Outcome, Taken
from oriel.logplex.drains.outlet import NOTHING_OPEN, Closed, Times, dial, failure
from oriel.logplex.drains.reader import Batch

USER_AGENT = f"Logplex/oriel-{__version__}"
_WAITS = frozenset({408, 425, 429})


class HttpOutlet:
    """HTTP or HTTPS: one request at a time, each answered."""

    immediate = True
    believed = False
    broken = False
    old = False

    def __init__(
        self, target: Target, token: str, dialer: Dialer, clock: Clock, times: Times
    ) -> None:
        """Connects when there is something to send."""
        self._target = target
        self._token = token
        self._dialer = dialer
        self._clock = clock
        self._times = times
        self._line: Line | None = None
        self._until_s = 0.0
        self._answer_s = times.answer_s

    async def send(self, batch: Batch) -> Outcome:
        """One POST. A kept connection that turns out closed is replaced once, unnoticed."""
        request = self._request(batch)
        if self._line and self._clock.monotonic_s() >= self._until_s:
            await self.close()
        try:
            if self._line:
                with contextlib.suppress(http.HungUp):
                    return await self._exchange(self._line, request)
                self._drop()
            return await self._exchange(await self._open(), request)
        except faults.Fault as error:
            self._drop()
            return failure(error)
        except TimeoutError:
            self._drop()
            said = f"no answer within {self._answer_s:g} s"
            self._answer_s = min(self._times.answer_max_s, 2 * self._answer_s)
            return Failed(said)
        except OSError as error:
            self._drop()
            return Failed(f"the connection broke: {error.strerror or 'closed'}")

    def acknowledged(self) -> int:
        """Nothing is open between two requests."""
        return 0

    async def close(self, within_s: float = 0.0) -> Closed:
        """Hang up."""
        self._drop()
        return NOTHING_OPEN

    async def _exchange(self, line: Line, request: bytes) -> Outcome:
        async with asyncio.timeout(self._answer_s):
            answer = await http.exchange(line, request)
        if not answer.reusable:
            self._drop()
        said = f"{answer.status} {answer.reason}".strip()
        if 200 <= answer.status < 300:
            self._answer_s = self._times.answer_s
            return Taken(said)
        if answer.status in _WAITS or answer.status >= 500:
            return Failed(said, _seconds(answer.headers.get("retry-after", "")))
        return Denied(said)

    async def _open(self) -> Line:
        line = await dial(self._target, self._dialer, self._times)
        self._until_s = self._clock.monotonic_s() + jittered(self._times.age_s, 0.05)
        self._line = line
        return line

    def _drop(self) -> None:
        if self._line:
            self._line.close()
            self._line = None

    def _request(self, batch: Batch) -> bytes:
        target, body = self._target, batch.body
        headers = {
            "Host": target.host_header,
            "Content-Type": _TYPES.get(target.format, "application/logplex-1"),
            "Content-Length": str(len(body)),
            "Logplex-Msg-Count": str(len(batch.frames)),
            "Logplex-Frame-Id": frame_id(self._token, batch),
            "Logplex-Drain-Token": self._token,
            "User-Agent": USER_AGENT,
        }
        if target.authorization:
            headers["Authorization"] = target.authorization
        return http.head("POST", target.target, headers) + body


_TYPES = {"json": "application/x-ndjson"}


def frame_id(token: str, batch: Batch) -> str:
    """32 upper-case hexadecimal digits: the same for a batch that is said again, in any process."""
    digest = hashlib.md5(f"{token} {batch.start} ".encode(), usedforsecurity=False)
    digest.update(batch.body)
    return digest.hexdigest().upper()


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0.0
