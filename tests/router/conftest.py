"""A real HAProxy, tiny real dynos and a reader of its log lines, all on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oriel.clock import SystemClock
from oriel.logplex.requests import whole
from oriel.router import AppRoute, Listen, Router, RouteTable, Server, command


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(holds: Callable[[], object], what: str, timeout_s: float = 10) -> object:
    """Wait for a condition outside of our reach, looking often."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout_s} s: {what}")


class Dyno:
    """A web server of a few lines: says its name, or misbehaves as the path asks."""

    def __init__(
        self, says: str, host: str = "127.0.0.1", listener: socket.socket | None = None
    ) -> None:
        self.says = says
        self.requests: list[bytes] = []
        self.listener = listener or socket.create_server(
            (host, 0), backlog=200, family=_family(host)
        )
        self.host, self.port = host, self.listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._over = threading.Event()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            self.requests.append(head)
            connection.sendall(self._reply(head))
            if b"/stall" in head or b"/hang" in head:
                self._over.wait(20)

    def _reply(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if path == b"/close" or path == b"/hang":
            return b""
        if path == b"/garbage":
            return b"lol\r\n\r\n"
        body = self.says.encode()
        status, length = b"200 OK", len(body)
        if path in (b"/cut", b"/stall"):
            length += 100
        if path == b"/big":
            return b"HTTP/1.1 200 OK\r\n\r\n" + bytes(32 << 20)
        if path == b"/chunk":
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"
        if path == b"/heads":
            heads = b"".join(b"Set-Cookie: %d=%s\r\n" % (n, b"x" * 3000) for n in range(8))
            return b"HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n\r\n" % heads
        if path == b"/policy":
            status = b"200 OK\r\nContent-Security-Policy: mine"
        if path == b"/503":
            status = b"503 Mine\r\nX-Oriel-Own: 504"
        return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, length, body)

    def close(self) -> None:
        self._over.set()
        self.listener.close()
        # An accept that waits in another thread holds the port until it is woken.
        with contextlib.suppress(OSError), socket.socket(_family(self.host)) as waker:
            waker.settimeout(0.2)
            waker.connect((self.host, self.port))
        self._accepting.join(5)
        for connection in self._open:
            connection.close()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Answer:
    """One HTTP answer, read whole."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.read().decode()


class House:
    """The directory, ports and processes around a Router under test."""

    def __init__(self, directory: Path) -> None:
        self.run = directory
        self.directory = directory / "router"
        self.port = free_port()
        self.log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.log.bind(("127.0.0.1", 0))
        self.log.settimeout(5)
        self.log_port = self.log.getsockname()[1]
        self.proxy: subprocess.Popen[bytes] | None = None
        self._dynos: list[Dyno] = []
        self._count = 0

    def router(self, **changes: object) -> Router:
        options: dict[str, object] = {
            "web": Listen("127.0.0.1", self.port),
            "spares": 4,
            "clock": SystemClock(),
            "connect_timeout_s": 0.5,
            "first_byte_timeout_s": 0.6,
            "idle_timeout_s": 5,
            "boot_hold_s": 0.1,
        }
        return Router(
            directory=self.directory,
            runtime_socket=self.run / "haproxy.sock",
            master_socket=self.run / "master.sock",
            log_port=self.log_port,
            **{**options, **changes},  # type: ignore[arg-type]
        )

    def serve(self, first: RouteTable, **changes: object) -> None:
        """Files written, HAProxy started: for tests that only ask."""

        async def write() -> None:
            router = self.router(**changes)
            await router.start(first)
            await router.close()

        asyncio.run(write())
        self.start_proxy()

    def reload(self) -> None:
        """As the router does, through the master's socket; returns when the new worker answers."""
        before = self.worker()
        until(lambda: self._tries_to_reload(), "the master listens")
        until(lambda: self._answers() and self.worker() != before, "it is reloaded")

    def _tries_to_reload(self) -> bool:
        # After a start or a reload the master executes itself anew, a moment later than its worker
        # answers: what it has not read by then is reset, and was not asked.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asker:
            asker.connect(str(self.run / "master.sock"))
            asker.sendall(b"reload\n")
            while asker.recv(65536):
                pass
            return True
        return False

    def start_proxy(self) -> int:
        """As `oriel up` does; the worker's pid once it answers."""
        with (self.run / "haproxy.err").open("ab") as said:
            self.proxy = subprocess.Popen(
                command(self.directory, self.run / "master.sock"), stdout=said, stderr=said
            )
        until(lambda: self.listens() and self._answers(), "HAProxy listens and answers")
        return self.worker()

    def listens(self) -> bool:
        return _connects(self.port)

    def _answers(self) -> bool:
        try:
            return "Pid: " in self.ask("show info")
        except OSError:
            return False

    def worker(self) -> int:
        return int(re.search(r"^Pid: (\d+)", self.ask("show info"), re.MULTILINE)[1])  # type: ignore[index]

    def kill_proxy(self) -> None:
        """SIGKILL to master and worker at once."""
        assert self.proxy is not None
        worker = self.worker()
        self.proxy.kill()
        self.proxy.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        until(lambda: not self.listens(), "HAProxy is gone")

    def ask(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(str(self.run / "haproxy.sock"))
            asker.sendall(line.encode() + b"\n")
            asker.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := asker.recv(65536):
                answer += piece
            return answer.decode()

    def ask_master(self, line: str) -> str:
        """Of the master; while it is not there yet, nothing."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asker:
            asker.connect(str(self.run / "master.sock"))
            asker.sendall(f"{line}\nquit\n".encode())
            return asker.makefile("rb").read().decode()
        return ""

    def dyno(self, says: str, host: str = "127.0.0.1") -> Dyno:
        self._dynos.append(Dyno(says, host))
        return self._dynos[-1]

    def adopt(self, listener: socket.socket, says: str) -> Dyno:
        """A dyno that listens where a test has bound."""
        self._dynos.append(Dyno(says, listener=listener))
        return self._dynos[-1]

    @contextlib.contextmanager
    def deaf(self, full: bool = True) -> Iterator[tuple[Server, Callable[[], None]]]:
        """A dyno that accepts nothing: its backlog is full, at once or when it is told."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            clients: list[socket.socket] = []

            def fill() -> None:
                # What HAProxy's look at its start left in the backlog is taken out of it.
                listener.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    listener.accept()[0].close()
                for _ in range(3):
                    clients.append(socket.socket())
                    clients[-1].setblocking(False)
                    clients[-1].connect_ex(listener.getsockname())

            if full:
                fill()
            server = self.server(self.dyno("x"))
            object.__setattr__(server, "port", listener.getsockname()[1])
            try:
                yield server, fill
            finally:
                for client in clients:
                    client.close()

    def server(self, dyno: Dyno, name: str = "web.1") -> Server:
        self._count += 1
        return Server(name, f"{self._count:08x}" + "0" * 24, dyno.host, dyno.port)

    def get(self, host: str, path: str = "/", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.putrequest("GET", path, skip_host=True)
            connection.putheader("Host", host)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            return Answer(connection.getresponse())

    def raw(self, request: bytes) -> bytes:
        """Bytes in, all bytes out."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(request)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    answer += piece
            return answer

    def line(self) -> str:
        """The next router line, as it is stored: its data and message."""
        frame = whole(self._frame().rstrip(b"\n")).decode()
        match = re.fullmatch(r"<(\d+)>1 \S+ oriel router \d+ - (\[.*?\]) (.*)\n", frame, re.DOTALL)
        assert match, frame
        return re.sub(r' own="[^"]*" n="\d+"\]', "]", match[2]) + f" {match[3]}"

    def _frame(self) -> bytes:
        """The next one that has data; what HAProxy says of itself has none, and no app."""
        while b" - - " in (frame := self.log.recv(65536))[:90]:
            pass
        return frame

    def no_line(self) -> bool:
        """Nothing is waiting to be read."""
        self.log.settimeout(0.05)
        try:
            return not self._frame()
        except TimeoutError:
            return True
        finally:
            self.log.settimeout(5)

    def close(self) -> None:
        if self.proxy is not None and self.proxy.poll() is None:
            self.proxy.terminate()
            self.proxy.wait(10)
        for dyno in self._dynos:
            dyno.close()
        self.log.close()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def app(
    name: str,
    *servers: Server,
    mode: str = "serve",
    hosts: tuple[str, ...] = (),
    sticky: bool = False,
) -> AppRoute:
    return AppRoute(
        app_id=f"id-{name}",
        app=name,
        channel=f"channel-{name}",
        hosts=hosts or (f"{name}.localhost",),
        servers=servers,
        mode=mode,  # type: ignore[arg-type]
        sticky=sticky,
    )


def table(*apps: AppRoute) -> RouteTable:
    return RouteTable(apps)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    try:
        yield built
    finally:
        built.close()
