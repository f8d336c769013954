"""Owns knowing a call again that was sent before: the same Request-Id, caller, path and body.

The official command line sends a call up to six times when a connection breaks, POSTs too. Then
the work is done once, and each sending gets the answer of the first. Only what succeeded is
kept: a refusal changed nothing, and may be asked for again. Bounded in number, size and time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from oriel.clock import Clock

KEPT_MAX = 512
KEPT_BYTES_MAX = 64 * 1024
KEPT_S = 120.0


@dataclass(slots=True)
class _Kept:
    answer: asyncio.Future[Response]
    since_s: float
    """When it was answered; until then, when it came."""


class Repeats:
    """The answers of the last calls that changed something."""

    def __init__(self, clock: Clock) -> None:
        """Nothing has been answered."""
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    async def once(self, key: bytes, work: Callable[[], Awaitable[Response]]) -> Response:
        """The answer of `work`, or the one that the same call got a moment ago.

        The work goes on when the caller is gone: whoever calls again gets its answer.
        """
        self._forget_old()
        kept = self._kept.get(key)
        if kept is None:
            kept = _Kept(asyncio.ensure_future(work()), self._clock.monotonic_s())
            self._kept[key] = kept
            kept.answer.add_done_callback(lambda done: self._settle(key, done))
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        # A response holds no place in its stream, so the same one can be sent again.
        return await asyncio.shield(kept.answer)

    def _settle(self, key: bytes, done: asyncio.Future[Response]) -> None:
        failed = done.cancelled() or done.exception() is not None
        kept = self._kept.get(key)
        if kept is None or kept.answer is not done:
            return
        if failed or not _worth_keeping(done.result()):
            del self._kept[key]
        else:
            kept.since_s = self._clock.monotonic_s()
            self._kept.move_to_end(key)

    def _forget_old(self) -> None:
        now = self._clock.monotonic_s()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if now - oldest.since_s < KEPT_S or not oldest.answer.done():
                return
            self._kept.popitem(last=False)


def key_of(request_id: str, caller: str, method: str, target: str, body: bytes) -> bytes:
    """What makes two calls the same. A digest: neither token nor body is kept."""
    parts = [request_id.encode(), caller.encode(), method.encode(), target.encode(), body]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _worth_keeping(answer: Response) -> bool:
    return 200 <= answer.status_code < 300 and len(bytes(answer.body)) <= KEPT_BYTES_MAX
