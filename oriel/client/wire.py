"""Owns one request and its answer: JSON, Range, time limits, retries, refusals.

A GET is tried again when the connection fails; what changes something is sent once, for only the
server knows whether it happened. Must not know what is asked for, or terminals.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from oriel import __version__
from oriel.client.address import Address
from oriel.client.refusal import UNREACHABLE, Refusal

CONNECT_TIMEOUT_S = 10.0
GET_TIMEOUT_S = 30.0
CHANGE_TIMEOUT_S = 3700.0
"""A change that runs a release command is answered when that has ended: an hour at most."""

PAUSES_S = (0.1, 0.4)
"""Before the second and the third try of a GET."""

KEPT_S = 1.0
"""How long an idle connection is used again; a server may close it any time after."""

BODY_MAX = 64 << 20
PAGES_MAX = 1000
CHUNK = 1 << 16

_PAGES = range(PAGES_MAX)
_BROKEN = (OSError, http.client.HTTPException)


class Answer:
    """What came back: `data` is the JSON, or the text where it was none."""

    __slots__ = ("data", "headers", "status")

    def __init__(self, status: int, headers: http.client.HTTPMessage, data: Any) -> None:
        """A good answer; refusals are raised."""
        self.status = status
        self.headers = headers
        self.data = data


class Client:
    """Talks to one API as one account."""

    def __init__(
        self, address: Address, token: str = "", *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Nothing is sent yet. `pause` waits between tries."""
        self.address = address
        self.pause = pause
        self._token = token
        self._connection: http.client.HTTPConnection | None = None
        self._used_s = 0.0
        self._dated = ""

    @property
    def now(self) -> datetime:
        """When the last answer was given, by the server's clock: ages are right on a wrong one."""
        try:
            return parsedate_to_datetime(self._dated).astimezone(UTC)
        except (ValueError, TypeError, OverflowError):
            return datetime.now(UTC)

    def get(self, path: str, *, range: str = "") -> Answer:
        """Ask for something."""
        return self.call("GET", path, headers={"Range": range} if range else None)

    def listing(self, path: str, *, range: str = "", most: int = 10_000) -> list[Any]:
        """Every item of a list, page by page, up to `most`."""
        items: list[Any] = []
        for _ in _PAGES:
            answer = self.get(path, range=range)
            if not isinstance(answer.data, list):
                raise self._strange(answer.status)
            items += answer.data
            range = answer.headers.get("Next-Range", "")
            if not range or len(items) >= most:
                break
        return items[:most]

    def post(self, path: str, body: Any = None) -> Answer:
        """Make or do something."""
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any) -> Answer:
        """Change something."""
        return self.call("PATCH", path, body)

    def put(self, path: str, body: Any) -> Answer:
        """Set what is there, whatever it was."""
        return self.call("PUT", path, body)

    def delete(self, path: str) -> Answer:
        """Take something away."""
        return self.call("DELETE", path)

    def log_in(self, email: str, password: str, body: Any) -> Answer:
        """Ask for a token with e-mail address and password."""
        both = base64.b64encode(f"{email}:{password}".encode()).decode("ascii")
        return self.call(
            "POST", "/oauth/authorizations", body, headers={"Authorization": f"Basic {both}"}
        )

    def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; raises Refusal."""
        content = None if body is None else json.dumps(body).encode()
        sent = self._headers(content, headers)
        pauses = list(PAUSES_S) if method == "GET" else []
        while True:
            try:
                return self._once(method, path, content, sent)
            except _BROKEN as problem:
                self.close()
                if not pauses or _hopeless(problem):
                    raise self._unreachable(problem, changing=method != "GET") from None
                self.pause(pauses.pop(0))

    def stream(self, target: str, *, after: str = "", timeout_s: float) -> Stream:
        """Read what keeps coming, on a connection of its own and without the token.

        `target` is path and query; `after` the position to go on from.
        """
        headers = {
            "Accept": "text/event-stream, text/plain;q=0.5",
            "User-Agent": f"oriel/{__version__}",
            **({"Last-Event-ID": after} if after else {}),
        }
        connection = self._connect(timeout_s)
        try:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                self._take(response)
                raise self._strange(response.status)
        except _BROKEN as problem:
            connection.close()
            raise self._unreachable(problem) from None
        except Refusal:
            connection.close()
            raise
        return Stream(connection, response, self._unreachable)

    def close(self) -> None:
        """Close the kept connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        if time.monotonic() - self._used_s > KEPT_S:
            self.close()
        elif self._connection is not None and not self._connection.sock:
            self.close()  # The server closed it after its last answer.
        timeout_s = GET_TIMEOUT_S if method == "GET" else CHANGE_TIMEOUT_S
        if self._connection is None:
            self._connection = self._connect(timeout_s)
        self._connection.sock.settimeout(timeout_s)
        self._connection.request(method, path, body=content, headers=dict(headers))
        answer = self._take(self._connection.getresponse())
        self._used_s = time.monotonic()
        self._dated = answer.headers.get("Date", "")
        return answer

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        kind = (
            http.client.HTTPSConnection
            if self.address.scheme == "https"
            else http.client.HTTPConnection
        )
        connection = kind(self.address.host, self.address.port, timeout=CONNECT_TIMEOUT_S)
        if self.address.scheme == "http":
            # As bytes, for text makes Python import its tables of international names. An
            # address is ASCII.
            host: Any = self.address.host.encode("ascii")
            place = (host, self.address.port)
            connection.sock = socket.create_connection(place, CONNECT_TIMEOUT_S)
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.sock.settimeout(timeout_s)
        return connection

    def _headers(self, content: bytes | None, more: Mapping[str, str] | None) -> Mapping[str, str]:
        headers = {
            "Accept": "application/vnd.heroku+json; version=3",
            "User-Agent": f"oriel/{__version__}",
            "Request-Id": _request_id(),
        }
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if content is not None:
            headers["Content-Type"] = "application/json"
        return {**headers, **(more or {})}

    def _take(self, response: http.client.HTTPResponse) -> Answer:
        body = response.read(BODY_MAX + 1)
        if len(body) > BODY_MAX:
            raise Refusal(
                f"{self.address} answered with more than {BODY_MAX >> 20} MB.", id=UNREACHABLE
            )
        if response.length:  # A bounded read says nothing of a body that breaks off.
            raise http.client.IncompleteRead(body, response.length)
        kind = response.headers.get_content_type()
        data: Any = body.decode("utf-8", "replace")
        if kind == "application/json" or kind.endswith("+json"):
            try:
                data = json.loads(body)
            except (ValueError, RecursionError):
                raise self._strange(response.status) from None
        if not 200 <= response.status < 300:
            raise self._refusal(response.status, data)
        return Answer(response.status, response.headers, data)

    def _refusal(self, status: int, data: Any) -> Refusal:
        if not (isinstance(data, dict) and isinstance(data.get("message"), str)):
            return self._strange(status)
        app = data.get("app")
        name = app.get("name") if isinstance(app, dict) else app
        return Refusal(
            data["message"],
            id=str(data.get("id") or "fault"),
            status=status,
            hint=str(data.get("hint") or ""),
            resource=str(data.get("resource") or ""),
            app=str(name or ""),
        )

    def _strange(self, status: int) -> Refusal:
        return Refusal(
            f"What answers at {self.address} (status {status}) is no Oriel API.",
            id="fault",
            status=status,
            hint="Set ORIEL_API to the address that oriel up prints.",
        )

    def _unreachable(self, problem: Exception, changing: bool = False) -> Refusal:
        message, hint = _why(self.address, problem)
        if changing and not isinstance(problem, ConnectionRefusedError | socket.gaierror):
            message += " It may have been done all the same."
            hint = "Look before you try again: oriel releases, oriel ps"
        return Refusal(message, id=UNREACHABLE, hint=hint)


class Stream:
    """An answer that is read as it comes."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        broken: Callable[[Exception], Refusal],
    ) -> None:
        """`broken` makes the refusal for a connection that fails."""
        self.events = response.headers.get_content_type() == "text/event-stream"
        self._connection = connection
        self._response = response
        self._broken = broken

    def __enter__(self) -> Stream:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closed, however it ended."""
        self._response.close()
        self._connection.close()

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they come. Raises Refusal (unreachable) when it breaks off."""
        while True:
            try:
                chunk = self._response.read1(CHUNK)
            except _BROKEN as problem:
                raise self._broken(problem) from None
            if not chunk:
                return
            yield chunk


def _why(address: Address, problem: Exception) -> tuple[str, str]:
    """What happened, and what to type."""
    if isinstance(problem, ConnectionRefusedError):
        return (
            f"Nothing answers at {address}.",
            "Start it with: oriel up. If it runs elsewhere, set ORIEL_API to its address.",
        )
    if isinstance(problem, socket.gaierror):
        return f"There is no host {address.host}.", "Set ORIEL_API to the address of your Oriel."
    if isinstance(problem, TimeoutError):
        return f"{address} did not answer in time.", "Try again, or look at the server."
    if type(problem).__name__ == "SSLCertVerificationError":
        return (
            f"The certificate of {address} is not one that this machine trusts.",
            "Set SSL_CERT_FILE to the file of the authority that signed it.",
        )
    if type(problem).__module__ == "ssl":
        return f"{address} does not speak TLS.", "Is it http:// rather than https://?"
    return f"The connection to {address} broke off.", "Try again, or look at the server."


def _hopeless(problem: Exception) -> bool:
    """Whether another try would end the same."""
    return isinstance(problem, socket.gaierror | TimeoutError) or (
        type(problem).__module__ == "ssl"
    )


def _request_id() -> str:
    # Importing uuid for this would cost more than the request.
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
