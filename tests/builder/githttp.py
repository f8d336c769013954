"""A tiny git-over-HTTP server over a `Repositories`, and a developer's clone to push from."""

from __future__ import annotations

import asyncio
import os
import signal
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from oriel.builder import Limits, Push, Repositories
from oriel.clock import SystemClock
from oriel.sandbox import Sandboxes

UID = os.getuid() or 200_001
APP_ID = "6d7a0d2e-0000-4000-8000-000000000001"

OnPush = Callable[[Push], Awaitable[bool]]


async def accept(push: Push) -> bool:
    return True


@dataclass
class Host:
    """Serves one app's repository at /app.git until it is closed."""

    repositories: Repositories
    data: Path
    on_push: OnPush = accept
    port: int = 0
    faults: list[BaseException] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/app.git"

    @property
    def repository(self) -> Path:
        return self.data / "repos" / f"{APP_ID}.git"

    def ref(self, name: str = "refs/heads/main") -> str:
        try:
            return (self.repository / name).read_text().strip()
        except FileNotFoundError:
            return ""

    def quarantines(self) -> list[str]:
        return [p.name for p in (self.repository / "objects").iterdir() if "incoming" in p.name]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.ended.set()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readline()).decode().split()
        if not request:
            return
        headers = {}
        while line := (await reader.readline()).decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.requests.append(f"{request[0]} {request[1]}")
        protocol = headers.get("git-protocol", "")
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request[0] == "GET":
            service = request[1].rpartition("service=")[2]
            body = await self.repositories.advertise(APP_ID, UID, service, protocol)
            kind = f"application/x-{service}-advertisement"
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            await writer.drain()
            return
        service = request[1].rpartition("/")[2]
        kind = f"application/x-{service}-result"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())

        async def send(piece: bytes) -> None:
            writer.write(piece)
            await writer.drain()

        body_ended = asyncio.Event()
        body = _body(reader, headers, body_ended)
        if service == "git-upload-pack":
            work = self.repositories.upload_pack(APP_ID, UID, body, send, protocol)
        else:
            work = self.repositories.receive_pack(APP_ID, UID, body, send, self.on_push)
        working = asyncio.ensure_future(work)
        watching = asyncio.create_task(_disconnect(reader, body_ended))
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
        watching.cancel()
        outcome = (await asyncio.gather(working, watching, return_exceptions=True))[0]
        if isinstance(outcome, BaseException):
            self.faults.append(outcome)


async def _disconnect(reader: asyncio.StreamReader, body_ended: asyncio.Event) -> None:
    await body_ended.wait()
    await reader.read(1)


async def _body(
    reader: asyncio.StreamReader, headers: dict[str, str], ended: asyncio.Event
) -> AsyncIterator[bytes]:
    unpack = zlib.decompressobj(31) if headers.get("content-encoding") == "gzip" else None
    async for piece in _raw(reader, headers):
        yield unpack.decompress(piece) if unpack else piece
    ended.set()


async def _raw(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).strip() or b"0", 16):
            yield await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return
    left = int(headers.get("content-length", "0"))
    while left:
        piece = await reader.read(min(left, 65536))
        if not piece:
            raise ConnectionResetError
        left -= len(piece)
        yield piece


@asynccontextmanager
async def host(
    data: Path, limits: Limits | None = None, on_push: OnPush = accept
) -> AsyncIterator[Host]:
    """A served repository."""
    sandboxes = Sandboxes()
    await sandboxes.start()
    try:
        repositories = Repositories(data, sandboxes, SystemClock(), limits or Limits())
        await repositories.create(APP_ID, UID)
        it = Host(repositories, data, on_push)
        server = await asyncio.start_server(it.handle, "127.0.0.1", 0, limit=1 << 20)
        it.port = server.sockets[0].getsockname()[1]
        try:
            yield it
        finally:
            server.close()
            await server.wait_closed()
    finally:
        await sandboxes.close()


@dataclass
class Clone:
    """A developer's working copy."""

    path: Path

    async def git(self, *argv: str, ok: bool | None = True) -> str:
        """Run git; what it printed. `ok` None: either way."""
        process = await self.start(*argv)
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        text = output.decode(errors="replace")
        if ok is not None:
            assert (process.returncode == 0) == ok, text
        return text

    async def start(self, *argv: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "git",
            *("-c", "user.name=Ned", "-c", "user.email=ned@foobazco.com"),
            *("-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"),
            *argv,
            cwd=self.path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.path),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_HTTP_LOW_SPEED_LIMIT": "0",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    async def interrupt(self, process: asyncio.subprocess.Process) -> None:
        """As Ctrl-C does: git and its helpers."""
        os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()

    async def commit(self, files: dict[str, str | bytes], message: str = "change") -> str:
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        await self.git("add", "--all")
        await self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return await self.head()

    async def head(self, name: str = "HEAD") -> str:
        return (await self.git("rev-parse", name)).strip()


async def clone(path: Path, files: dict[str, str | bytes] | None = None) -> Clone:
    """A fresh repository with one commit."""
    path.mkdir(parents=True)
    it = Clone(path)
    await it.git("init", "--quiet")
    await it.commit(files or {"Procfile": "web: true\n"}, "first")
    return it


def sandboxes_of(data: Path) -> list[str]:
    """Processes that still have something of `data` mounted."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                mounts = (process / "mountinfo").read_text()
            except OSError:
                continue
            if str(data) in mounts:
                found.append(process.name)
    return found
