"""Owns what every request goes through before anything looks at it.

It refuses a Host or Origin that it does not know, so that no web page can reach the API by
rebinding its name to this address; gives each request an id, echoed in the answer; and puts on
each answer the headers that keep it out of caches and frames. Must not know any path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oriel import faults
from oriel.api import faults as table
from oriel.clock import new_id

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer: all of them hold what only the asker may know, URLs included."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}", re.ASCII)
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::[0-9]{1,5})?", re.ASCII)


class Guard:
    """The outermost application."""

    def __init__(self, inner: ASGIApp, known_hosts: Iterable[str]) -> None:
        """`known_hosts` are names and addresses, without ports."""
        self._inner = inner
        self._known = frozenset(host.lower().strip("[]") for host in known_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent_id = first_id(headers.get("request-id") or headers.get("x-request-id"))
        request_id = sent_id or new_id()
        scope["oriel.sent_id"], scope["oriel.request_id"] = sent_id, request_id
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                out["Request-Id"] = str(scope["oriel.request_id"])
            await send(message)

        try:
            self._check(headers)
            await self._inner(scope, receive, send_guarded)
        except Exception as problem:
            if started:
                # Too late for an answer: the server below breaks the connection off when an
                # application returns early, and does not print the exception, which may quote
                # a secret.
                table.tell(problem, request_id)
                return
            await table.answer(problem, request_id)(scope, receive, send_guarded)

    def _check(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._knows(hosts[0]):
            shown = hosts[0][:100] if hosts else ""
            raise table.Misdirected(
                f"Oriel's API does not answer to the host {shown!r}.",
                hint="Start it with --domain NAME if that is its name.",
            )
        origin = headers.get("origin")
        if origin is not None and not self._knows_origin(origin):
            raise faults.Forbidden(f"Pages of {origin[:100]!r} may not use Oriel's API.")

    def _knows(self, host: str) -> bool:
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        return str(match[1] or match[2]).removesuffix(".") in self._known

    def _knows_origin(self, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
            return parts.scheme in ("http", "https") and self._knows(parts.netloc)
        except ValueError:
            return False


def first_id(header: str | None) -> str:
    """The newest of the ids that a client sent: the official command line sends all of its own,
    the newest first. Nothing when it is not one that can be echoed."""
    first = (header or "").partition(",")[0].strip()
    return first if _REQUEST_ID.fullmatch(first) else ""
