"""A client that calls an ASGI application in this process, and can go away in the middle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

HOST = "127.0.0.1:5050"


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One request; `gone` makes the client leave, `arrived` says when bytes came."""

    def __init__(
        self,
        app: ASGIApp,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        query: str = "",
        host: str | None = HOST,
    ) -> None:
        self.answer = Answer()
        self.gone = asyncio.Event()
        self.arrived = asyncio.Event()
        self._app = app
        self._pieces = [body] if isinstance(body, bytes) else list(body)
        sent = {"host": host, **(headers or {})} if host is not None else dict(headers or {})
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in sent.items()],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 5050),
        }

    async def run(self) -> Answer:
        await self._app(self._scope, self._receive, self._send)
        return self.answer

    async def _receive(self) -> Message:
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.headers = {
                k.decode().lower(): v.decode() for k, v in message.get("headers", [])
            }
        else:
            self.answer.body += message.get("body", b"")
            if not message.get("more_body", False):
                self.answer.complete = True
        self.arrived.set()


def call(app: ASGIApp, method: str, path: str, **rest: Any) -> Answer:
    async def go() -> Answer:
        return await Client(app, method, path, **rest).run()

    return asyncio.run(go())
