"""Owns one attached run, seen from the client: TLS to the rendezvous, frames, the terminal.

Standard input goes there and output comes back, each at the other's pace: nothing is kept but the
piece that is on its way. The terminal is put back as it was however this ends. Needs a Unix: the
modules for that are imported only here, and only when something is attached.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import ssl
import sys
import time
import urllib.parse
from collections.abc import Iterator
from types import FrameType

from oriel import frames
from oriel.client.refusal import UNREACHABLE, Refusal

CONNECT_TIMEOUT_S = 15.0
CHUNK = 16 * 1024
PIPE_BYTES = 4096
"""Never more at once to a place that says it takes some: a pipe that is ready takes as much."""

FORCE_COUNT, FORCE_WITHIN_S = 4, 1.0
"""So many Ctrl-C in so short a time, and nothing came back: the other side does not answer."""

INTERRUPT = b"\x03"


class Ended:
    """How it ended: the program's exit code, or None and why."""

    __slots__ = ("code", "why")

    def __init__(self, code: int | None, why: str) -> None:
        """As the server told it, or as the connection did."""
        self.code = code
        self.why = why


class Interrupted(Exception):
    """The user does not want to wait any longer."""


def attach(url: str, authority: str, *, tty: bool) -> Ended:
    """Meet the process that `url` leads to, and stay to the end. Raises Refusal, Interrupted.

    `authority` is the certificate (PEM) that the server's has to be signed by: the API gave it,
    over the connection that the token went over.
    """
    if sys.platform == "win32":
        raise Refusal(
            "Attaching needs a Unix terminal, which this machine has not.",
            id="fault",
            hint="Run it with --detached, and read it with: oriel logs --tail",
        )
    wire = _meet(url, authority)
    try:
        with _raw_terminal(tty), _woken(tty) as woken:
            return _Attached(wire, woken, tty=tty).run()
    finally:
        wire.close()


def _meet(url: str, authority: str) -> ssl.SSLSocket:
    parts = urllib.parse.urlsplit(url)
    host, port, secret = parts.hostname or "", parts.port or 0, parts.path.lstrip("/")
    place = f"{host}:{port}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority)
    try:
        plain = socket.create_connection(_through() or (host, port), CONNECT_TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        wire = context.wrap_socket(plain, server_hostname=host)
        wire.sendall(f"{secret}?{frames.QUERY}\r\n".encode())
        greeting = b""
        while not greeting.endswith(b"\n") and len(greeting) < 64:
            # One byte at a time: what is behind the line belongs to the frames.
            byte = wire.recv(1)
            if not byte:
                break
            greeting += byte
    except ssl.SSLCertVerificationError:
        raise Refusal(
            f"The certificate at {place} is not of the authority that the API named.",
            id=UNREACHABLE,
            hint="Somebody may be in between. Is a proxy there that ends TLS?",
        ) from None
    except OSError as problem:
        raise Refusal(
            f"{place}, where the process waits, cannot be reached: {problem.strerror or problem}.",
            id=UNREACHABLE,
            hint="Through a tunnel, forward that port too and set ORIEL_RENDEZVOUS=HOST:PORT. "
            "Or run it with --detached.",
        ) from None
    if greeting != frames.GREETING:
        wire.close()
        raise Refusal(
            "The session is over, or was used already.", id="conflict", hint="Type it once more."
        )
    wire.setblocking(False)
    return wire


def _through() -> tuple[str, int] | None:
    """Another way there, as through a tunnel; the certificate must be for the place itself."""
    host, colon, port = os.environ.get("ORIEL_RENDEZVOUS", "").rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdecimal() else None


class _Attached:
    """The loop over four places: the wire and standard input, output, error."""

    def __init__(self, wire: ssl.SSLSocket, woken: int, *, tty: bool) -> None:
        """`woken` is readable when a signal has come; its bytes say which."""
        self._wire = wire
        self._woken = woken
        self._tty = tty
        self._frames = frames.Frames(frames.OUT + frames.ERR + frames.TAKEN + frames.EXIT)
        self._credit = frames.CREDIT_BYTES
        self._to_wire = bytearray()
        self._to_user: list[tuple[int, memoryview]] = []
        self._stdin_open = True
        self._wants_write = False
        self._interrupts: list[float] = []
        self._ended: Ended | None = None
        self._gone = False

    def run(self) -> Ended:
        """Until the program has ended and all of its output is written."""
        if self._tty:
            self._resize()
        while not (self._ended or self._gone) or self._to_user:
            self._turn()
        return self._ended or Ended(
            None, "the connection broke off: the platform was stopped, or the network is gone"
        )

    def _turn(self) -> None:
        reading: list[int] = [self._woken]
        writing: list[int] = []
        if not self._to_user and not (self._gone or self._ended):
            reading.append(self._wire.fileno())
        if self._stdin_open and self._credit > 0 and not self._to_wire and not self._ended:
            reading.append(0)
        if (self._to_wire or self._wants_write) and not (self._gone or self._ended):
            writing.append(self._wire.fileno())
        if self._to_user:
            writing.append(self._to_user[0][0])
        # TLS may hold what the socket no longer shows.
        pending = self._wire.fileno() in reading and self._wire.pending() > 0
        readable, writable, _ = select.select(reading, writing, [], 0 if pending else None)
        if self._woken in readable:
            self._take_signals()
        if self._to_user and self._to_user[0][0] in writable:
            self._write_user()
        if pending or self._wire.fileno() in readable:
            self._read_wire()
        if 0 in readable:
            self._read_user()
        if self._to_wire and not self._gone:
            self._write_wire()

    def _read_wire(self) -> None:
        try:
            data = self._wire.recv(CHUNK)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._wants_write = True
            return
        except OSError:
            data = b""
        if not data:
            self._gone = True
            return
        self._interrupts.clear()
        for kind, payload in self._frames.feed(data):
            if kind == frames.TAKEN:
                self._credit += frames.taken_of(payload)
            elif kind == frames.EXIT:
                said = json.loads(payload)
                self._ended = Ended(said.get("code"), str(said.get("why") or ""))
            elif payload:
                where = 2 if kind == frames.ERR else 1
                self._to_user.append((where, memoryview(payload)))

    def _read_user(self) -> None:
        try:
            data = os.read(0, min(CHUNK, self._credit))
        except OSError:
            data = b""
        if not data:
            self._stdin_open = False
            self._to_wire += frames.frame(frames.END)
            return
        if self._tty and INTERRUPT in data:
            self._count_interrupt(data.count(INTERRUPT))
        self._credit -= len(data)
        self._to_wire += frames.frame(frames.INPUT, data)

    def _write_wire(self) -> None:
        self._wants_write = False
        try:
            sent = self._wire.send(memoryview(self._to_wire)[:CHUNK])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            # What came before the end may still be there to be read.
            self._to_wire.clear()
            self._stdin_open = False
            return
        del self._to_wire[:sent]

    def _write_user(self) -> None:
        where, left = self._to_user[0]
        written = os.write(where, left[:PIPE_BYTES])
        if written == len(left):
            del self._to_user[0]
        else:
            self._to_user[0] = (where, left[written:])

    def _take_signals(self) -> None:
        for number in os.read(self._woken, 64):
            if number == getattr(signal, "SIGWINCH", 0):
                self._resize()
            elif number == signal.SIGINT:
                if self._interrupts:
                    raise Interrupted
                self._interrupts.append(time.monotonic())
                self._to_wire += frames.frame(frames.SIGNAL, b"INT")
            else:
                raise Interrupted

    def _count_interrupt(self, count: int) -> None:
        now = time.monotonic()
        self._interrupts = [each for each in self._interrupts if now - each < FORCE_WITHIN_S]
        self._interrupts += [now] * count
        if len(self._interrupts) >= FORCE_COUNT:
            raise Interrupted

    def _resize(self) -> None:
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(0)
            self._to_wire += frames.window(size.columns, size.lines)


@contextlib.contextmanager
def _raw_terminal(tty: bool) -> Iterator[None]:
    """Every key goes to the program, and nothing is done to what it prints."""
    if not tty:
        yield
        return
    import termios
    import tty as modes

    before = termios.tcgetattr(0)
    try:
        modes.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _woken(tty: bool) -> Iterator[int]:
    """A descriptor that tells of signals: the window's, and those that end us."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if tty:
        numbers.append(signal.SIGWINCH)
    kept = {number: signal.signal(number, _nothing) for number in numbers}
    old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in kept.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _nothing(_: int, __: FrameType | None) -> None:
    """The wakeup descriptor tells."""
