"""Visitors in numbers, each failure counted; and an app that ends at once when it is told to.

The app answers `/`, `/slow?S` after S seconds, `/ws` as a websocket that echoes bytes, and ends
with `/crash`. It knows nothing of a graceful end: whatever it still has to do at SIGTERM is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from types import TracebackType

SERVER = """
import asyncio, base64, hashlib, os
VERSION = {version!r}
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n"
SWITCH = ("HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n"
    "Connection: Upgrade\\r\\nSec-WebSocket-Accept: ACCEPT\\r\\n\\r\\n")
class Visit(asyncio.Protocol):
    head, echoes = b"", False
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        if self.echoes:
            self.transport.write(data)
            return
        self.head += data
        if b"\\r\\n\\r\\n" not in self.head:
            return
        path = self.head.split(b" ", 2)[1].decode()
        if path == "/crash":
            os._exit(3)
        if path == "/ws":
            key = [line for line in self.head.decode().split("\\r\\n")
                   if line.lower().startswith("sec-websocket-key:")][0].split(":")[1].strip()
            salt = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1((key + salt).encode()).digest()).decode()
            self.echoes = True
            self.transport.write(SWITCH.replace("ACCEPT", accept).encode())
        elif path.startswith("/slow?"):
            asyncio.get_running_loop().call_later(float(path[6:]), self.answer)
        else:
            self.answer()
    def answer(self):
        body = (VERSION + " " + os.environ["DYNO"]).encode()
        self.transport.write(HEAD % len(body) + body)
        self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(
        Visit, "0.0.0.0", int(os.environ["PORT"]), backlog=500)
    await server.serve_forever()
asyncio.run(main())
"""


def abrupt(version: str) -> dict[str, str]:
    """The app's tree."""
    return {"Procfile": "web: python3 server.py\n", "server.py": SERVER.format(version=version)}


class Client:
    """One connection that is kept, as a browser's."""

    def __init__(self, port: int, host: str) -> None:
        self._port, self._host = port, host
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str = "/", timeout_s: float = 60) -> tuple[int, str]:
        """Status and body; raises OSError, EOFError or TimeoutError."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._get(path)
        except BaseException:
            self.close()
            raise

    async def _get(self, path: str) -> tuple[int, str]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        body = (await reader.readexactly(length)).decode()
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), body

    async def once(self, path: str) -> tuple[int, str]:
        """The same on a connection that ends with it."""
        try:
            return await self.get(path)
        finally:
            await self.end()

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def end(self) -> None:
        """Close, and come back when it is closed: a loop that ends before leaves the socket."""
        streams = self._streams
        self.close()
        if streams:
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()


class WebSocket:
    """One that says something now and then, and tells whether it is answered."""

    def __init__(self, port: int, host: str) -> None:
        self._port, self._host = port, host

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(
            f"GET /ws HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head

    async def echoes(self, text: bytes) -> bool:
        with contextlib.suppress(OSError, EOFError):
            self._writer.write(text)
            return await asyncio.wait_for(self._reader.readexactly(len(text)), 5) == text
        return False

    async def ended(self) -> None:
        """Wait for its end."""
        while await self._reader.read(1000):
            pass
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Load:
    """So many requests a second, whether or not the ones before are answered, from a thread."""

    def __init__(self, port: int, host: str, per_s: int) -> None:
        self._port, self._host, self._per_s = port, host, per_s
        self.seen = Counter[str]()
        self.took_s: list[tuple[float, float]] = []
        """When each one began, and how long it took."""
        self._over, self._paused = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @contextlib.contextmanager
    def paused(self):  # type: ignore[no-untyped-def]
        """Nothing is under way in here."""
        self._paused.set()
        time.sleep(0.3)
        try:
            yield
        finally:
            self._paused.clear()

    @property
    def failures(self) -> dict[str, int]:
        """All that was no 200."""
        return {what: count for what, count in self.seen.items() if not what.startswith("200 ")}

    @property
    def count(self) -> int:
        return sum(self.seen.values())

    def percentile_s(self, part: float, since: float = 0.0, until: float = float("inf")) -> float:
        chosen = sorted(took for at, took in self.took_s if since <= at < until)
        return chosen[min(len(chosen) - 1, int(len(chosen) * part))] if chosen else 0.0

    async def _run(self) -> None:
        free: list[Client] = []
        visits: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self._over.is_set():
            due += 1 / self._per_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._paused.is_set():
                due = time.monotonic()
                continue
            task = asyncio.create_task(self._visit(free))
            visits.add(task)
            task.add_done_callback(visits.discard)
        await asyncio.gather(*visits)
        for client in free:
            await client.end()
        # Those that were closed after a failure have their last turn here.
        await asyncio.sleep(0.05)

    async def _visit(self, free: list[Client]) -> None:
        client = free.pop() if free else Client(self._port, self._host)
        begun = time.monotonic()
        try:
            status, body = await client.get()
            self.seen[f"{status} {body.split()[0]}" if status == 200 else f"{status}"] += 1
        except (OSError, EOFError, TimeoutError) as error:
            self.seen[repr(error)] += 1
        self.took_s.append((begun, time.monotonic() - begun))
        free.append(client)
