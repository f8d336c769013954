"""Drains of the log router alone, as typed, to a receiver that is really there."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from oriel.cli import exits
from tests.house.alone.conftest import OPTIONS, Router, Say, door, post


class Receiver:
    """Takes syslog over TCP, and says when a text has come."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._said = bytearray()
        self._more = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def has(self, text: bytes, times: int = 1) -> bool:
        with self._more:
            return self._more.wait_for(lambda: self._said.count(text) >= times, 30)

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._take, args=[line], daemon=True).start()

    def _take(self, line: socket.socket) -> None:
        with line:
            while data := line.recv(65536):
                with self._more:
                    self._said += data
                    self._more.notify_all()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_what_is_said_is_sent_on_and_again(router: Router, say: Say, receiver: Receiver) -> None:
    router.start(*OPTIONS, "--allow-egress", "127.0.0.1")
    say("logplex:create", "shop")
    token = say("logplex:tokens-add", "shop", "app").strip()
    assert say("logplex:drains", "shop") == "shop has no drains.\n"
    url = f"syslog://127.0.0.1:{receiver.port}"
    drain = say("logplex:drains-add", "shop", url).strip()
    assert re.fullmatch(r"d\.[0-9a-f-]{36}", drain)
    assert post(door(say, "http"), token, "hello") == 204
    assert receiver.has(b"app web.1 - - hello\n")
    # Over a kill too: what it had, and how far it was, is on disk.
    router.end()
    router.start(*OPTIONS, "--allow-egress", "127.0.0.1")
    assert post(door(say, "http"), token, "again") == 204
    assert receiver.has(b"app web.1 - - again\n")
    assert f"=== {drain}" in say("logplex:drains-info", "shop", drain)
    (shown,) = json.loads(say("logplex:drains", "shop", "--json"))
    assert (shown["token"], shown["url"]) == (drain, url)
    assert drain in say("logplex:drains", "shop")
    assert say("logplex:drains-test", "shop", drain).startswith("taken: ")
    assert say("logplex:drains-replay", "shop", drain, "--since", "1h") == "2 lines to send.\n"
    assert receiver.has(b"app web.1 - - hello\n", times=2)
    assert say("logplex:drains-remove", "shop", drain) == "Drain removed.\n"
    assert say("logplex:drains", "shop") == "shop has no drains.\n"
    say("logplex:drains-info", "shop", drain, code=exits.code_of("not_found"))


def test_this_machine_is_refused_unless_it_is_allowed(
    router: Router, say: Say, receiver: Receiver
) -> None:
    router.start(*OPTIONS)
    say("logplex:create", "shop")
    url = f"syslog://127.0.0.1:{receiver.port}"
    said = say("logplex:drains-add", "shop", url, code=exits.code_of("invalid_params"))
    assert "127.0.0.1" in said
    assert say("logplex:drains", "shop") == "shop has no drains.\n"
