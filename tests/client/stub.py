"""A stand-in for the API: answers that were recorded, at a time that stands still."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOW = "2011-06-19T08:35:25Z"
DATE = "Sun, 19 Jun 2011 08:35:25 GMT"


class Request:
    """What was asked."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


class Reply:
    """What is answered; `raw` chunks break off where `broken`."""

    def __init__(
        self,
        data: Any = None,
        status: int = 200,
        headers: dict[str, str] | None = None,
        *,
        chunks: list[bytes] | None = None,
        kind: str = "application/json",
        broken: bool = False,
    ) -> None:
        self.data = data
        self.status = status
        self.headers = headers or {}
        self.chunks = chunks
        self.kind = kind
        self.broken = broken


Answerer = Callable[[Request], Reply]


def refusal(status: int, id: str, message: str, **more: Any) -> Reply:
    """How the API says no."""
    return Reply({"id": id, "message": message, **more}, status)


def sse(*events: tuple[str, list[bytes]], broken: bool = False) -> Reply:
    """A log stream."""
    chunks = [
        b"id: " + position.encode() + b"\n" + b"".join(b"data: %b\n" % x for x in lines) + b"\n"
        for position, lines in events
    ]
    return Reply(chunks=chunks, kind="text/event-stream", broken=broken)


class Stub:
    """The server. `on` says what to answer; several answers of one path come one after another."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[tuple[str, str], list[Answerer]] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                request = Request(self.command, self.path, dict(self.headers.items()), body)
                stub.requests.append(request)
                # Who asked may have hung up meanwhile.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    stub.send(self, stub.find(request)(request))

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = handle_any

            def date_time_string(self, timestamp: float | None = None) -> str:
                return DATE

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        self.requests.clear()
        self._answers.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Answer `path` (without its query) with each of `answers`; the last one stays."""
        self._answers[method, path] = [_answerer(each) for each in answers]

    def calls(self, method: str, path: str = "") -> list[Request]:
        return [
            each
            for each in self.requests
            if each.method == method and (not path or each.path.partition("?")[0] == path)
        ]

    def find(self, request: Request) -> Answerer:
        queue = self._answers.get((request.method, request.path.partition("?")[0]))
        if not queue:
            return lambda _: refusal(404, "not_found", f"Nothing recorded for {request.path}.")
        return queue.pop(0) if len(queue) > 1 else queue[0]

    @staticmethod
    def send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.chunks is None:
            body = reply.data if isinstance(reply.data, bytes) else json.dumps(reply.data).encode()
            handler.send_response(reply.status)
            handler.send_header("Content-Type", reply.kind)
            handler.send_header("Content-Length", str(len(body)))
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body if not reply.broken else body[: len(body) // 2])
            handler.close_connection = handler.close_connection or reply.broken
            return
        handler.send_response(reply.status)
        handler.send_header("Content-Type", reply.kind)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in reply.chunks:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            handler.wfile.flush()
        if not reply.broken:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True


def _answerer(given: Any) -> Answerer:
    if isinstance(given, Reply):
        return lambda _: given
    if callable(given):
        return given  # type: ignore[no-any-return]
    return lambda _: Reply(given)
