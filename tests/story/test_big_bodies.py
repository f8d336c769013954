"""Uploads and downloads of any size go through, and stay in nobody's memory."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story.platform import AppCopy, Platform, User

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

MB = 1 << 20
MORE_MB_MAX = 30.0
"""What a part of the platform may take more meanwhile."""

SERVER = """
import asyncio, os
PIECE = b"x" * 65536
async def serve(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    path = head.split(b" ", 2)[1].decode()
    if path == "/count":
        # The body is made of x; its chunks end with an empty one.
        count, end = 0, b""
        while not end.endswith(b"0\\r\\n\\r\\n"):
            data = await reader.read(1 << 20)
            if not data:
                return
            count += data.count(b"x")
            end = (end + data)[-16:]
        body = b"%d" % count
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    else:
        size = int(path.partition("?")[2] or 0)
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % size)
        for _ in range(size // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", int(os.environ["PORT"]))
    await server.serve_forever()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def app(rick: User) -> AppCopy:
    made = rick.app("bodies")
    made.commit({"Procfile": "web: python3 server.py\n", "server.py": SERVER})
    made.push()
    made.settles("up", "web.1")
    return made


class Memory(threading.Thread):
    """What each part of the platform takes, at first and at most."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(daemon=True)
        assert platform.up
        names = ("control", "logplex", "haproxy")
        self._pids = {name: platform.pid(name) for name in names} | {"up": platform.up.pid}
        master = self._pids["haproxy"]
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        self._pids["haproxy"] = int(children[-1])
        self.before = self._look()
        self.most = dict(self.before)
        self._over = threading.Event()

    def _look(self) -> dict[str, float]:
        said = {name: Path(f"/proc/{pid}/status").read_text() for name, pid in self._pids.items()}
        found = {name: re.search(r"VmRSS:\s+(\d+)", text) for name, text in said.items()}
        return {name: int(match[1]) / 1024 for name, match in found.items() if match}

    def run(self) -> None:
        while not self._over.wait(0.05):
            for name, size_mb in self._look().items():
                self.most[name] = max(self.most[name], size_mb)

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {self.before[name]:.0f} -> {self.most[name]:.0f} MB" for name in self.most
        )

    @contextlib.contextmanager
    def measured(self, what: str, size: int) -> Iterator[None]:
        begun = time.monotonic()
        self.start()
        try:
            yield
        finally:
            self._over.set()
            self.join()
        took_s = time.monotonic() - begun
        print(f"\n{what} of {size // MB} MB in {took_s:.1f} s, at most: {self}")
        for name, most_mb in self.most.items():
            assert most_mb - self.before[name] < MORE_MB_MAX, (name, str(self))


SIZES = pytest.mark.parametrize("size", [64 * MB, pytest.param(2048 * MB, marks=pytest.mark.long)])


@SIZES
def test_a_chunked_upload(app: AppCopy, size: int) -> None:
    platform = app.user.platform
    data = b"x" * 65536
    chunk = b"%x\r\n%b\r\n" % (len(data), data)
    with (
        Memory(platform).measured("An upload", size),
        socket.create_connection(("127.0.0.1", platform.web_port), timeout=30) as client,
    ):
        client.sendall(
            f"POST /count HTTP/1.1\r\nHost: {app.name}.localhost\r\n"
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
        )
        for _ in range(size // len(data)):
            client.sendall(chunk)
        client.sendall(b"0\r\n\r\n")
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n%d" % size)


@SIZES
def test_a_download(app: AppCopy, size: int) -> None:
    platform = app.user.platform
    with (
        Memory(platform).measured("A download", size),
        socket.create_connection(("127.0.0.1", platform.web_port), timeout=30) as client,
    ):
        client.sendall(
            f"GET /?{size} HTTP/1.1\r\nHost: {app.name}.localhost\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1)
        assert head.startswith(b"HTTP/1.1 200 ")
        count, buffer = 0, bytearray(MB)
        while got := client.recv_into(buffer):
            count += got
    assert count == size
