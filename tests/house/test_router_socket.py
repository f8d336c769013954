"""The socket that HAProxy logs to: made, kept at its port, got back from logplex."""

import json
import socket
import threading
from pathlib import Path

import pytest

from oriel.house import router_socket


def test_it_is_at_the_same_port_again() -> None:
    first = router_socket.open_socket(0)
    port = first.getsockname()[1]
    first.close()
    with router_socket.open_socket(port) as again:
        assert again.getsockname() == ("127.0.0.1", port)


def test_a_port_that_another_took_is_given_up() -> None:
    taken = router_socket.open_socket(0)
    port = taken.getsockname()[1]
    with taken, router_socket.open_socket(port) as other:
        assert other.getsockname()[1] not in (0, port)


def _answer_once(path: Path, answer: bytes, hand_over: list[socket.socket]) -> threading.Thread:
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    door.listen()

    def serve() -> None:
        visitor, _ = door.accept()
        with door, visitor:
            visitor.recv(4096)
            if hand_over:
                socket.send_fds(visitor, [answer], [each.fileno() for each in hand_over])
            elif answer:
                visitor.send(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_it_is_got_back_from_logplex(short_path: Path) -> None:
    with router_socket.open_socket(0) as held:
        thread = _answer_once(short_path / "l", b'{"ok":true}\n', [held])
        fetched = router_socket.fetch(short_path / "l")
        thread.join()
        assert fetched is not None
        with fetched:
            assert fetched.getsockname() == held.getsockname()


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (b"", 0),
        (b"nonsense\n", 0),
        (b'{"ok":true}\n', 0),
        (b'{"ok":true}\n', 2),
        (json.dumps({"ok": False, "message": "no"}).encode() + b"\n", 1),
    ],
)
def test_any_other_answer_gives_none(short_path: Path, answer: bytes, count: int) -> None:
    handed = [router_socket.open_socket(0) for _ in range(count)]
    thread = _answer_once(short_path / "l", answer, handed)
    assert router_socket.fetch(short_path / "l") is None
    thread.join()
    for each in handed:
        each.close()


def test_no_logplex_gives_none(short_path: Path) -> None:
    assert router_socket.fetch(short_path / "nobody") is None
