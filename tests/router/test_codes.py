"""Limits, silent and hasty clients, bad bodies, proxies in front, streams: with a real HAProxy."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.router import Server

from .conftest import House, app, table, until

pytestmark = pytest.mark.real

HEAD = b"Host: foo.localhost\r\n"


@contextlib.contextmanager
def open_requests(house: House, count: int, path: bytes = b"/hang") -> Iterator[None]:
    doors = []
    try:
        for _ in range(count):
            doors.append(socket.create_connection(("127.0.0.1", house.port)))
            doors[-1].sendall(b"GET %s HTTP/1.1\r\n%s\r\n" % (path, HEAD))
        yield
    finally:
        for each in doors:
            each.close()


def test_a_queue_that_is_too_long_is_H11(house: House) -> None:
    dyno = house.dyno("x")
    house.serve(
        table(app("foo", house.server(dyno)), app("bar", house.server(house.dyno("bar")))),
        dyno_requests_max=2,
        dyno_backlog_max=3,
        first_byte_timeout_s=10,
    )
    with open_requests(house, 5):
        until(lambda: len(dyno.requests) == 2, "two are at the dyno")
        until(lambda: _queued(house) == 3, "three queue")
        answer = house.get("foo.localhost")
        assert answer.status == 503
        assert "Application error" in answer.body
        line = house.line()
        assert 'at=error code=H11 desc="Backlog too deep"' in line
        assert " dyno= connect= service= status=503 " in line
        assert house.get("bar.localhost").status == 200


def _queued(house: House) -> int:
    rows = [row.split(",") for row in house.ask("show stat").splitlines() if row]
    place = rows[0].index("qcur")
    return max(int(row[place] or 0) for row in rows[1:] if row[1] == "BACKEND")


def test_one_address_that_takes_too_many_connections_is_refused_H22(house: House) -> None:
    house.serve(table(app("foo", house.server(house.dyno("x")))), client_connections_max=3)
    with open_requests(house, 3):
        answer = house.get("foo.localhost")
        assert answer.status == 503
        assert "Application error" in answer.body
        assert 'at=error code=H22 desc="Connection limit reached"' in house.line()
    until(lambda: house.get("foo.localhost").status == 200, "there is room again")


def test_idle_connections_of_one_address_leave_room_for_others(house: House) -> None:
    house.serve(
        table(app("foo", house.server(house.dyno("x")))),
        client_connections_max=50,
        trusted=("127.0.0.2/32",),
    )
    doors = []
    for _ in range(1000):
        with contextlib.suppress(ConnectionResetError):
            doors.append(socket.create_connection(("127.0.0.1", house.port)))
    idle = int(re.search(r"^CurrConns: (\d+)", house.ask("show info"), re.MULTILINE)[1])  # type: ignore[index]
    assert idle <= 102
    # Another address, here one that is trusted, is answered meanwhile.
    with socket.create_connection(
        ("127.0.0.1", house.port), source_address=("127.0.0.2", 0)
    ) as door:
        door.sendall(b"GET / HTTP/1.0\r\n%s\r\n" % HEAD)
        assert b" 200 " in door.recv(100)
    for door in doors:
        door.close()


def test_a_client_that_dribbles_its_head_is_cut_off(house: House) -> None:
    house.serve(table(app("foo", house.server(house.dyno("x")))), head_timeout_s=0.4)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", house.port)) as door:
        door.settimeout(5)
        with contextlib.suppress(OSError):
            door.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(20):
                door.sendall(b"X: y\r\n")
                time.sleep(0.05)
        with contextlib.suppress(ConnectionResetError):
            assert b" 408 " in door.recv(65536)
    assert time.monotonic() - begun < 3


def test_a_client_that_stops_reading_its_answer_is_H28(house: House) -> None:
    house.serve(
        table(app("foo", house.server(house.dyno("x")))),
        idle_timeout_s=0.4,
        first_byte_timeout_s=10,
    )
    with socket.create_connection(("127.0.0.1", house.port)) as door:
        door.sendall(b"GET /big HTTP/1.1\r\n%s\r\n" % HEAD)
        line = house.line()
    assert 'sock=client at=warning code=H28 desc="Client Connection Idle"' in line
    assert " status=499 " in line


@pytest.mark.parametrize(
    ("head", "body", "status", "cause"),
    [
        (b"Expect: the-unexpected\r\n", b"", 417, "unsupported expect header value"),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\nabc\r\n", 400, "bad chunk"),
    ],
)
def test_what_a_client_gets_wrong_is_H26(
    house: House, head: bytes, body: bytes, status: int, cause: str
) -> None:
    house.serve(table(app("foo", house.server(house.dyno("x")))), first_byte_timeout_s=5)
    with socket.create_connection(("127.0.0.1", house.port)) as door:
        door.sendall(b"POST /hang HTTP/1.1\r\n%s%s\r\n" % (HEAD, head))
        if body:
            time.sleep(0.1)
            door.sendall(body)
        answer = door.recv(65536)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"<h1>Application error</h1>" in answer
    assert f'at=error code=H26 desc="Request Error" cause="{cause}"' in (line := house.line())
    assert f" status={status} " in line


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"X: a\r\n b\r\nContent-Length: 5\r\n",
        b"X: a\rContent-Length: 100\r\nContent-Length: 5\r\n",
        b": no name\r\nContent-Length: 5\r\n",
    ],
)
def test_no_request_is_smuggled_past_the_router(house: House, head: bytes) -> None:
    """The dyno sees one request at most, whole, and no second one that was in the first's body."""
    dyno = house.dyno("x")
    house.serve(table(app("foo", house.server(dyno))))
    hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\n" + HEAD + b"\r\n"
    answer = house.raw(
        b"POST /a HTTP/1.1\r\nConnection: close\r\n" + HEAD + head + b"\r\n" + hidden
    )
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")), answer
    assert not any(b"/hidden HTTP" in each.split(b"\r\n")[0] for each in dyno.requests)
    assert len(dyno.requests) <= 1
    for each in dyno.requests:
        seen = each.lower().split(b"\r\n\r\n")[0]
        assert not (b"content-length" in seen and b"transfer-encoding" in seen)
        assert seen.count(b"content-length") <= 1


def test_a_proxy_that_is_trusted_says_how_the_client_came(house: House) -> None:
    dyno = house.dyno("x")
    first = table(app("foo", house.server(dyno)))
    house.serve(first, trusted=("127.0.0.1/32", "::1/128"))
    told = {"X_Forwarded_Proto": "https", "X_Forwarded_Port": "443", "X_Forwarded_For": "9.9.9.9"}
    house.get("foo.localhost", **told)
    head = dyno.requests[-1].lower()
    assert b"x-forwarded-proto: https\r\n" in head
    assert b"x-forwarded-port: 443\r\n" in head
    assert b"x-forwarded-for: 9.9.9.9, 127.0.0.1\r\n" in head
    house.get("foo.localhost", X_Forwarded_Proto="gopher", X_Forwarded_Port="99999999")
    head = dyno.requests[-1].lower()
    assert b"x-forwarded-proto: http\r\n" in head
    assert f"x-forwarded-port: {house.port}\r\n".encode() in head


def test_an_apps_own_pages_take_the_place_of_the_routers(house: House) -> None:
    own = "<title>Ours</title><p class='a b'>100 % \"ours\" $HOME | ä {x} \\n &#10; %0A</p>"
    foo = app("foo", mode="crashed")
    object.__setattr__(foo, "error_page", own)
    house.serve(table(foo, app("bar", mode="crashed")))
    answer = house.get("foo.localhost")
    assert answer.status == 503
    assert answer.body.startswith(own)
    request_id = re.search(r"request_id=(\S+)", house.line())[1]  # type: ignore[index]
    assert answer.body.endswith(f"<!-- request {request_id} -->")
    assert "Application error" in house.get("bar.localhost").body
    assert '"id":"application_error"' in house.get("foo.localhost", Accept="application/json").body


def test_an_apps_own_page_comes_and_goes_without_a_reload(house: House) -> None:
    style = "".join(f".c{n}{{color:red;margin:0 1px;content:'\\\\'}}" for n in range(300))
    own = f"<<style>{style}</style><p>Ours; del map #0 x; &amp; all</p>"
    foo = app("foo", mode="crashed", hosts=("foo.localhost", "*.foo.localhost"))

    async def story() -> None:
        router = house.router()
        await router.start(table(foo))
        await asyncio.to_thread(house.start_proxy)
        for page in (own, own.replace("Ours", "Other"), ""):
            await router.apply(table(replace(foo, error_page=page)))
            for host in ("foo.localhost", "a.foo.localhost"):
                answer = await asyncio.to_thread(house.get, host)
                assert answer.status == 503
                assert answer.body.startswith(page or "<!doctype html>")
        assert router.status().reloads == 0
        assert router.status().refused == ""
        await router.close()

    asyncio.run(story())


def test_what_an_app_says_of_its_content_stays(house: House) -> None:
    foo = app("foo", house.server(house.dyno("x")))
    foo = replace(foo, error_page="<p>e</p>", maintenance_page="<p>m</p>")
    house.serve(table(foo))
    assert house.get("foo.localhost", "/policy").headers["content-security-policy"] == "mine"


def test_a_large_upload_streams_and_the_router_stays_small(house: House) -> None:
    received = 0
    size = 64 << 20

    def swallow(listener: socket.socket) -> None:
        nonlocal received
        door, _ = listener.accept()
        with door:
            tail = b""
            while not tail.endswith(b"0\r\n\r\n"):
                part = door.recv(1 << 20)
                received += len(part)
                tail = (tail + part)[-5:]
            door.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = house.server(house.dyno("x"))
    house.serve(table(app("foo", server)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _move(house, server, listener)
        thread = threading.Thread(target=swallow, args=(listener,))
        thread.start()
        before = _resident_kb(house)
        with socket.create_connection(("127.0.0.1", house.port)) as door:
            door.sendall(b"POST / HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n" % HEAD)
            chunk = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
            for _ in range(size >> 20):
                door.sendall(chunk)
            door.sendall(b"0\r\n\r\n")
            assert door.recv(1000).startswith(b"HTTP/1.1 200")
        thread.join(10)
    assert received > size
    assert _resident_kb(house) - before < 4096


def _move(house: House, server: Server, listener: socket.socket) -> None:
    """The dyno is where a test listens."""
    slot = re.search(r"slot-\d{4}", house.ask("show servers state"))[0]  # type: ignore[index]
    where = f"addr 127.0.0.1 port {listener.getsockname()[1]}"
    house.ask(f"set server {slot}/{server.label} {where}")


def _resident_kb(house: House) -> int:
    text = Path(f"/proc/{house.worker()}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1])  # type: ignore[index]


def test_100_continue_comes_from_the_dyno(house: House) -> None:
    server = house.server(house.dyno("x"))
    house.serve(table(app("foo", server)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _move(house, server, listener)
        with socket.create_connection(("127.0.0.1", house.port)) as door:
            door.sendall(
                b"POST / HTTP/1.1\r\n%sExpect: 100-continue\r\nContent-Length: 3\r\n\r\n" % HEAD
            )
            dyno, _ = listener.accept()
            with dyno:
                assert b"100-continue" in dyno.recv(65536).lower()
                dyno.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                assert door.recv(1000).startswith(b"HTTP/1.1 100 ")
                door.sendall(b"abc")
                assert dyno.recv(10) == b"abc"
                dyno.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                assert door.recv(1000).startswith(b"HTTP/1.1 200")
    assert " status=200 " in house.line()


def test_http2_with_prior_knowledge(house: House) -> None:
    """h2c on the plain port; the head is HPACK literals, so that no library is needed."""
    dyno = house.dyno("hello")
    house.serve(table(app("foo", house.server(dyno))))

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
        return (
            len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
        )

    head = b"".join(
        literal(name, value)
        for name, value in (
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b'/h2?"x"'),
            (b":authority", b"foo.localhost"),
        )
    )
    with socket.create_connection(("127.0.0.1", house.port), timeout=5) as door:
        door.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 5, 1, head))
        answer = b""
        while b"hello" not in answer:
            part = door.recv(65536)
            assert part, answer
            answer += part
    line = house.line()
    assert 'path="/h2?%22x%22" host=foo.localhost' in line
    assert " protocol=http2.0 tls=false" in line


def test_events_reach_the_client_as_they_are_said(house: House) -> None:
    server = house.server(house.dyno("x"))
    house.serve(table(app("foo", server)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _move(house, server, listener)
        with socket.create_connection(("127.0.0.1", house.port), timeout=5) as door:
            door.sendall(b"GET /events HTTP/1.1\r\n%s\r\n" % HEAD)
            dyno, _ = listener.accept()
            with dyno:
                dyno.recv(65536)
                dyno.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                assert b"text/event-stream" in door.recv(65536)
                for number in range(3):
                    dyno.sendall(b"data: %d\n\n" % number)
                    assert b"data: %d" % number in door.recv(65536)
