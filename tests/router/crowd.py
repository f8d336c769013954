"""Connections in thousands, from many addresses of the loopback's, that do next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator

EACH_ADDRESS = 400
"""Connections of one address: well below what the router allows it."""


@contextlib.contextmanager
def many_files(wanted: int) -> Iterator[None]:
    """So many open files, here and in what is started meanwhile; or as many as there may be."""
    was = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, was[1])))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (was[1], was[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, was)


def bound(number: int) -> socket.socket:
    """A socket at an address of its own, which leaves its port to others who listen at it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
    return made


class Crowd:
    """So many connections to a port of this machine's, which stay."""

    def __init__(self, port: int, count: int) -> None:
        self.members: list[socket.socket] = []
        for number in range(count):
            made = bound(number // EACH_ADDRESS)
            self.members.append(made)
            made.settimeout(10)
            made.connect(("127.0.0.1", port))

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.members:
            each.close()

    def ask(self, host: str) -> None:
        """One request of each, answered; then nothing more."""
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        # A dyno gets 1000 at once, and more than a few that queue are refused.
        for start in range(0, len(self.members), 500):
            some = self.members[start : start + 500]
            for each in some:
                each.sendall(request)
            for each in some:
                assert each.recv(65536).startswith(b"HTTP/1.1 200 ")

    @contextlib.contextmanager
    def trickling(self, host: str, pause_s: float = 1.0) -> Iterator[None]:
        """A head that never ends, a few bytes of it at a time from each (slow loris)."""
        over = threading.Event()
        for each in self.members:
            each.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode())

        def trickle() -> None:
            while not over.wait(pause_s):
                for each in self.members:
                    with contextlib.suppress(OSError):
                        each.sendall(b"x: y\r\n")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def latencies_ms(port: int, host: str, seconds: float) -> list[float]:
    """How long each request takes on one kept connection, one after another, sorted."""
    took: list[float] = []
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    until = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        while (begun := time.monotonic()) < until:
            client.sendall(request)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            took.append((time.monotonic() - begun) * 1e3)
            time.sleep(0.001)
    return sorted(took)


def p99(values: list[float]) -> float:
    return values[int(len(values) * 0.99)]


async def visit(port: int, host: str, number: int) -> int:
    """One request from one of many addresses; its status."""
    made = bound(number // EACH_ADDRESS)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=made)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return int((await reader.read()).split(b" ", 2)[1])
    finally:
        writer.close()
