"""The guard: hosts, origins, request ids, headers of every answer."""

from __future__ import annotations

import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from oriel.api.guard import Guard, first_id

from .asgi import call

KNOWN = frozenset({"localhost", "127.0.0.1", "::1", "oriel.example.com"})


async def _inner(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"id": scope["oriel.request_id"]})(scope, receive, send)


GUARD = Guard(_inner, KNOWN)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:5050", "127.0.0.1:5050", "[::1]:5050", "[::1]", "oriel.example.com",
     "oriel.example.com.:443"],
)  # fmt: skip
def test_known_hosts_are_answered(host: str) -> None:
    assert call(GUARD, "GET", "/", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example:5050", "localhost@evil", "localhost:x", "", "[::2]",
     "oriel.example.com/", "::1", None],
)  # fmt: skip
def test_other_hosts_are_refused(host: str | None) -> None:
    answer = call(GUARD, "GET", "/", host=host)
    assert answer.status == 421
    assert answer.json["id"] == "misdirected_request"


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:5050", 200), ("https://oriel.example.com", 200), ("null", 403),
     ("http://evil.example", 403), ("file://localhost", 403), ("http://[", 403)],
)  # fmt: skip
def test_pages_of_others_are_refused(origin: str, status: int) -> None:
    assert call(GUARD, "POST", "/", headers={"origin": origin}).status == status


def test_an_answer_is_kept_out_of_caches_and_frames() -> None:
    headers = call(GUARD, "GET", "/").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_request_id_is_echoed_the_newest_of_many() -> None:
    sent = "11111111-2222-3333-4444-555555555555,00000000-2222-3333-4444-555555555555"
    answer = call(GUARD, "GET", "/", headers={"request-id": sent})
    assert answer.headers["request-id"] == "11111111-2222-3333-4444-555555555555"
    assert answer.json["id"] == "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize("sent", [None, "", "short", "x" * 300, "a b c d e f g", "<script>alert"])
def test_an_id_that_cannot_be_echoed_is_replaced(sent: str | None) -> None:
    assert first_id(sent) == ""
    answer = call(GUARD, "GET", "/", headers={"request-id": sent} if sent else {})
    assert len(answer.headers["request-id"]) == 36


def test_what_breaks_behind_the_guard_is_a_500_with_the_request_id() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret")

    answer = call(Guard(broken, KNOWN), "GET", "/", headers={"request-id": "abcdefgh-1"})
    assert answer.status == 500
    assert "abcdefgh-1" in answer.json["message"]
    assert b"secret" not in answer.body


def test_what_breaks_after_its_beginning_is_broken_off() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("secret")

    answer = call(Guard(broken, KNOWN), "GET", "/")
    assert (answer.status, answer.body, answer.complete) == (200, b"half", False)


def test_a_handlers_own_cache_header_stays() -> None:
    async def cached(scope: Scope, receive: Receive, send: Send) -> None:
        response = PlainTextResponse("x", headers={"cache-control": "no-cache"})
        await response(scope, receive, send)

    assert call(Guard(cached, KNOWN), "GET", "/").headers["cache-control"] == "no-cache"
