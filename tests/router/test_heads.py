"""Heads that cannot be read, of requests and of answers: with a real HAProxy."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from oriel.house import edge_probes
from oriel.house.layout import Layout

from .conftest import House, app, table, until
from .test_lines import Logplex

pytestmark = pytest.mark.real

HEAD = b"Host: foo.localhost\r\n"
BIG = b"x" * 40_000
NO_REQUEST = {
    "a header without a name": b"GET / HTTP/1.1\r\n%s: x\r\n\r\n" % HEAD,
    "a control character": b"GET /\x01 HTTP/1.1\r\n%s\r\n" % HEAD,
    "two hosts": b"GET / HTTP/1.1\r\n%sHost: b\r\n\r\n" % HEAD,
    "two lengths": b"POST / HTTP/1.1\r\n%sContent-Length: 5\r\nContent-Length: 6\r\n\r\n" % HEAD,
    "a head of 40 kB": b"GET / HTTP/1.1\r\n%sX: %s\r\n\r\n" % (HEAD, BIG),
    "a path of 40 kB": b"GET /%s HTTP/1.1\r\n%s\r\n" % (BIG, HEAD),
    "200 headers": b"GET / HTTP/1.1\r\n%s%s\r\n" % (HEAD, b"X: 1\r\n" * 200),
    "another protocol": b"SSH-2.0-OpenSSH_9\r\n",
}


def literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


ASKED = (
    literal(b":method", b"GET")
    + literal(b":scheme", b"http")
    + literal(b":path", b"/")
    + literal(b":authority", b"foo.localhost")
)
RESET, GOAWAY = 3, 7
NO_REQUEST_2 = {
    "a header in capitals": (ASKED + literal(b"X-Up", b"1"), RESET),
    "a pseudo header of their own": (ASKED + literal(b":foo", b"1"), RESET),
    "no path": (literal(b":method", b"GET") + literal(b":scheme", b"http"), RESET),
    "a connection header": (ASKED + literal(b"connection", b"close"), RESET),
    "a line break in a header": (ASKED + literal(b"x", b"a\r\nb: c"), RESET),
    "a length that is none": (ASKED + literal(b"content-length", b"abc"), RESET),
    "what is no HPACK": (b"\xff" * 6, GOAWAY),
}


def ask_2(port: int, head: bytes) -> list[int]:
    """The kinds of frames that come back, by HTTP/2 with prior knowledge."""
    opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as door:
        door.sendall(opening + frame(1, 5, 1, head))
        answer, kinds = b"", list[int]()
        while not {0, RESET, GOAWAY} & set(kinds):
            part = door.recv(65536)
            assert part, answer
            answer += part
            kinds, rest = [], answer
            while len(rest) >= 9:
                kinds.append(rest[3])
                rest = rest[9 + int.from_bytes(rest[:3], "big") :]
        return kinds


def test_what_is_no_request_is_counted_and_reaches_no_dyno(house: House, tmp_path: Path) -> None:
    """It is refused before it is known whose it is, so that it stands in no app's log."""
    data = tmp_path / "plex"
    dyno = house.dyno("x")
    house.log.setblocking(True)
    logplex = Logplex(data, house.log)
    try:
        house.serve(table(app("foo", house.server(dyno))), head_timeout_s=0.3)
        until(lambda: (data / "run" / "logplex.sock").exists(), "it is up")
        for what, request in NO_REQUEST.items():
            assert house.raw(request).startswith(b"HTTP/1.1 400 "), what
        for what, (head, kind) in NO_REQUEST_2.items():
            assert kind in ask_2(house.port, head), what
        with socket.create_connection(("127.0.0.1", house.port)) as door:
            door.sendall(b"GET / HT")
            assert door.recv(100).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", house.port)) as door:
            door.sendall(b"GET / HT")
        # One that says nothing at all is none: browsers open connections ahead.
        socket.create_connection(("127.0.0.1", house.port)).close()
        wanted = {"heads_bad": len(NO_REQUEST) + len(NO_REQUEST_2), "heads_slow": 1, "heads_cut": 1}

        def counted() -> dict[str, int]:
            status = logplex.status()
            return {each: status[each] for each in wanted}

        until(lambda: counted() == wanted, "they are counted")
        assert logplex.status()["kept"] == logplex.status()["malformed"] == 0
        assert dyno.requests == []
        (data / "run" / "haproxy.sock").symlink_to(house.run / "haproxy.sock")
        assert Layout(data).logplex_socket == data / "run" / "logplex.sock"
        seen = edge_probes.lines(data)
        assert seen.unread == {"bad heads": 15, "too slow": 1, "broken off": 1}
        assert seen.last_bad.endswith(" from 127.0.0.1")
        assert time.strftime("%b/%Y") in seen.last_bad
        assert set(seen.lost.values()) == {0}
    finally:
        logplex.kill()


def test_an_answers_head_has_a_limit(house: House) -> None:
    """Over 20 kB it is H25. What HAProxy cannot hold at all it takes for no HTTP: H17."""
    dyno = house.dyno("x")
    house.serve(table(app("foo", house.server(dyno))), first_byte_timeout_s=5)
    for count, size, code, status in (
        (10, 1000, "", 200),
        (100, 100, "", 200),
        (22, 1000, "H25", 502),
        (27, 1000, "H25", 502),
        (29, 1000, "H17", 503),
        (300, 1000, "H17", 503),
        (1, 40_000, "H17", 503),
        (130, 1, "H17", 503),
    ):
        heads = b"".join(b"X%d: %s\r\n" % (number, b"x" * size) for number in range(count))
        reply = b"HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n\r\n" % heads
        dyno._reply = lambda _, reply=reply: reply  # type: ignore[assignment,misc]
        asked = b"GET / HTTP/1.1\r\nConnection: close\r\n%s\r\n" % HEAD
        with contextlib.suppress(ConnectionResetError):
            assert house.raw(asked).startswith(b"HTTP/1.1 %d " % status), (count, size)
        line = house.line()
        assert f" status={status} " in line, (count, size)
        assert (f"code={code} " if code else "at=info method") in line, (count, size)
