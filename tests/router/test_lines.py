"""No router line is lost or doubled: logplex killed, HAProxy reloaded, at full speed."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest

from oriel.house.router_socket import open_socket

from .conftest import House, app, table, until
from .plex import Logplex

pytestmark = pytest.mark.real


class Client(threading.Thread):
    """Asks on one connection as fast as it is answered; remembers what was answered."""

    def __init__(self, port: int, first: int, step: int) -> None:
        super().__init__(daemon=True)
        self.port, self.next, self.step = port, first, step
        self.answered: set[int] = set()
        self.failed: set[int] = set()
        self.over = False

    def run(self) -> None:
        while not self.over:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=10) as door:
                    self._ask(door)
            except OSError:
                self.failed.add(self.next)
                self.next += self.step

    def _ask(self, door: socket.socket) -> None:
        while not self.over:
            door.sendall(b"GET /n/%d HTTP/1.1\r\nHost: foo.localhost\r\n\r\n" % self.next)
            answer = b""
            while not answer.endswith(b"hello"):
                piece = door.recv(4096)
                if not piece:
                    raise ConnectionError
                answer += piece
            self.answered.add(self.next)
            self.next += self.step


@pytest.mark.parametrize(
    ("kills", "clients", "rest_s"),
    [(3, 6, 0.3), pytest.param(40, 12, 0.5, marks=pytest.mark.long)],
)
def test_kills_of_logplex_and_reloads_lose_no_line(
    house: House, tmp_path: Path, kills: int, clients: int, rest_s: float
) -> None:
    data = tmp_path / "plex"
    with open_socket(0) as sock:
        house.log_port = sock.getsockname()[1]
        logplex = Logplex(data, sock)
        house.serve(table(app("foo", house.server(house.dyno("hello")))))
        asking = [Client(house.port, n, clients) for n in range(clients)]
        for each in asking:
            each.start()
        try:
            for turn in range(kills):
                time.sleep(rest_s + turn % 7 * 0.031)
                logplex.kill()
                if turn % 2:
                    house.reload()
                logplex.start()
        finally:
            for each in asking:
                each.over = True
        for each in asking:
            each.join(20)
        answered = set[int]().union(*(each.answered for each in asking))
        failed = set[int]().union(*(each.failed for each in asking))
        assert len(answered) > 300
        until(lambda: answered <= set(logplex.stored()), "every line is stored", 20)
        found = logplex.stored()
        assert not [number for number, times in found.items() if times > 1]
        assert set(found) <= answered | failed | {each.next for each in asking}
        assert logplex.status()["kernel_dropped"] == 0
        logplex.kill()


def test_what_the_kernel_drops_is_counted(tmp_path: Path) -> None:
    with open_socket(0) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sender.connect(sock.getsockname())
        logplex = Logplex(tmp_path, sock)
        until(lambda: (tmp_path / "run" / "logplex.sock").exists(), "it is up")
        logplex.process.send_signal(19)
        for _ in range(500):
            sender.send(b"x" * 100)
        logplex.process.send_signal(18)

        def dropped() -> bool:
            sender.send(b"one that says how many were dropped before it")
            return logplex.status()["kernel_dropped"] > 400

        until(dropped, "it is counted")
        logplex.kill()


def test_lines_of_a_killed_turn_are_stored_once(tmp_path: Path) -> None:
    """Every state that a kill may leave: received; stored for one channel, in part, for all."""
    from oriel.clock import SystemClock
    from oriel.logplex.catch import Catch
    from oriel.logplex.datagrams import Datagrams
    from oriel.logplex.limits import Limits
    from oriel.logplex.losses import Losses
    from oriel.logplex.shelf import Shelf

    def line(channel: str, number: int) -> bytes:
        return (
            f'<158>1 2026-11-27T18:17:00+00:00 oriel router 1 - [oriel channel="{channel}"'
            f' server="web.1:00" ts="--" own="-" n="{number}"] at=info path="/n/{number}"\n'
        ).encode()

    async def story(stored: dict[str, int], data: Path) -> None:
        clock, limits = SystemClock(), Limits()
        shelf = Shelf(data / "channels", limits, clock, "boot")
        await shelf.start()
        lines = {name: [line(name, n) for n in range(3)] for name in ("a", "b")}
        for name, count in stored.items():
            channel = shelf.channel(name)
            source = channel.source("heroku", "router")
            channel.append_frames(source, [line(name, 77)], 1)
            if count:
                channel.append_frames(source, lines[name][:count], 1)
        with open_socket(0) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            caught = Catch(data / "catch", "boot")
            for each in [*lines["a"], *lines["b"]]:
                sender.sendto(each, sock.getsockname())
                caught.take(sock)
            caught.close()
            again, losses = Catch(data / "catch", "boot"), Losses(data / "losses", "boot")
            reader = Datagrams(sock.dup(), shelf, limits, clock, again, losses)
            reader.start()
            reader.close()
        for name in ("a", "b"):
            path = next((data / "channels" / name).glob("*.log"))
            assert path.read_bytes() == line(name, 77) + b"".join(lines[name])
        assert Catch(data / "catch", "boot").left == b""
        assert Catch(data / "catch", "another boot").left == b""
        await shelf.close()

    for number, stored in enumerate(
        ({"a": 0, "b": 0}, {"a": 3, "b": 0}, {"a": 2, "b": 0}, {"a": 3, "b": 3})
    ):
        asyncio.run(story(stored, tmp_path / str(number)))
