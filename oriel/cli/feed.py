"""Owns waiting for an app's dynos to change: one held request after another, over restarts of the
server. Must not know how dynos are shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from oriel.client.address import below, query
from oriel.client.refusal import UNREACHABLE, Refusal
from oriel.client.wire import Client

HELD_S = 20
"""How long a request is held; the server holds none for longer."""

PAUSE_S = 0.2
PAUSE_MAX_S = 2.0

AWAY = (UNREACHABLE, "unavailable", "internal_error", "request_timeout")
"""What a server that is being restarted, or is too busy, is refused with: it comes back."""


class Feed:
    """An app's dynos, as often as they change."""

    def __init__(self, client: Client, app: str) -> None:
        """Nothing is asked yet; the client is this feed's alone."""
        self._client = client
        self._path = below("oriel", "apps", app, "dynos")
        self._tag = ""

    def next(
        self,
        timeout_s: float,
        away: Callable[[Refusal], None] = lambda refusal: None,
    ) -> dict[str, Any] | None:
        """What there is as soon as it is not what the last one said; None when `timeout_s` is over.

        Where the server goes away it is waited for, and `away` told each time; not the first time
        of all: that is raised.
        """
        deadline_s = time.monotonic() + timeout_s
        pause_s = PAUSE_S
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 and self._tag:
                return None
            try:
                held_s = max(0, min(HELD_S, int(left_s) + 1)) if self._tag else 0
                seen = self._client.get(self._path + query(after=self._tag, wait_s=held_s)).data
            except Refusal as refusal:
                if not self._tag or refusal.id not in AWAY:
                    raise
                away(refusal)
                self._client.pause(pause_s)
                pause_s = min(PAUSE_MAX_S, pause_s * 2)
                continue
            pause_s = PAUSE_S
            if seen["tag"] != self._tag:
                self._tag = seen["tag"]
                seen["now"] = self._client.now
                return dict(seen)
            away(BACK)


BACK = Refusal("", id="back")
"""What `away` is told when the server answers again, and nothing has changed."""
