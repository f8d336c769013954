"""Owns the streams of an attached process on this machine: a pseudo-terminal, or pipes.

Reading and writing wait for the other side and keep nothing: a client that reads slowly holds the
program, a program that does not read holds its client. Must not know who is at the other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Iterator
from dataclasses import dataclass

from oriel.manifold.launcher import Terminal, Window
from oriel.sandbox import Entered, Exit

CHUNK_BYTES = 64 * 1024
_IFLAG, _CC = 0, 6


@dataclass(slots=True)
class FarEnd:
    """What the process gets."""

    stdin: int
    stdout: int
    stderr: int

    def close(self) -> None:
        """Close it here, once the process has it."""
        for descriptor in {self.stdin, self.stdout, self.stderr}:
            os.close(descriptor)


class LocalTerminal:
    """Our end. One may read and one may write, at once."""

    def __init__(self, inlet: int, outlets: dict[int, str], *, is_tty: bool) -> None:
        """Takes over the descriptors: where input goes, where each kind of output comes."""
        self._inlet: int | None = inlet
        self._outlets = outlets
        self._is_tty = is_tty
        self._all = {inlet, *outlets}
        for descriptor in self._all:
            os.set_blocking(descriptor, False)
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    async def read(self) -> tuple[str, bytes] | None:
        """The next output, and whether it is `out` or `err`; None when all of it has come."""
        while self._outlets and not self._closed:
            for descriptor, name in list(self._outlets.items()):
                try:
                    data = os.read(descriptor, CHUNK_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""  # EIO: nobody has the other end of the terminal any more
                if data:
                    return name, data
                del self._outlets[descriptor]
            if self._outlets:
                await self._until_ready(list(self._outlets), writing=False)
        return None

    async def write(self, data: bytes) -> None:
        """Give it input; comes back when all is taken. One that reads no more gets none."""
        left = memoryview(data)
        while left and self._inlet is not None and not self._closed:
            try:
                left = left[os.write(self._inlet, left) :]
            except BlockingIOError:
                await self._until_ready([self._inlet], writing=True)
            except OSError:
                self._drop_inlet()

    async def end_input(self) -> None:
        """There is no more input: what reads sees its end."""
        if self._is_tty:
            if self._inlet is not None and not self._closed:
                end = termios.tcgetattr(self._inlet)[_CC][termios.VEOF]
                await self.write(bytes(end))
            return
        self._drop_inlet()

    def resize(self, window: Window) -> None:
        """The terminal has another size; whoever is in its foreground is told by the kernel."""
        if self._is_tty and self._inlet is not None and not self._closed:
            with contextlib.suppress(OSError):
                _set_size(self._inlet, window)

    def close(self) -> None:
        """Let go of it. Of a terminal, that is SIGHUP to who is at its other end."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        for descriptor in self._all:
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
            os.close(descriptor)
        self._all.clear()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _drop_inlet(self) -> None:
        if self._inlet is not None and not self._is_tty and not self._closed:
            asyncio.get_running_loop().remove_writer(self._inlet)
            os.close(self._inlet)
            self._all.discard(self._inlet)
        self._inlet = None

    async def _until_ready(self, descriptors: list[int], *, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        self._waiting.add(ready)
        for descriptor in descriptors:
            (loop.add_writer if writing else loop.add_reader)(descriptor, wake)
        try:
            await ready
        finally:
            self._waiting.discard(ready)
            for descriptor in descriptors:
                if descriptor in self._all:
                    (loop.remove_writer if writing else loop.remove_reader)(descriptor)


class LocalVisit:
    """A process that was started inside an instance."""

    def __init__(self, terminal: Terminal, entered: Entered) -> None:
        """Takes over both."""
        self.terminal = terminal
        self._entered = entered

    async def wait(self) -> Exit:
        """Come back when it has ended."""
        return await self._entered.wait()

    async def send(self, what: signal.Signals) -> None:
        """A signal to it."""
        await self._entered.send(what)

    def close(self) -> None:
        """Hang up."""
        self.terminal.close()
        self._entered.close()


@contextlib.contextmanager
def both_ends(window: Window | None, uid: int | None) -> Iterator[tuple[LocalTerminal, FarEnd]]:
    """As `open_terminal`, until a process has the far end; where none could be started, ours is
    closed too.
    """
    near, far = open_terminal(window, uid)
    try:
        yield near, far
    except BaseException:
        near.close()
        raise
    finally:
        far.close()


def open_terminal(window: Window | None, uid: int | None) -> tuple[LocalTerminal, FarEnd]:
    """Both ends of a terminal of that size, or (None) of pipes.

    `uid` is whose the far end shall be, so that it can open /dev/stdout and the like; None leaves
    it ours.
    """
    if window is None:
        return _pipes(uid)
    near, far = pty.openpty()
    os.set_inheritable(near, False)
    os.set_inheritable(far, False)
    mode = termios.tcgetattr(far)
    mode[_IFLAG] |= getattr(termios, "IUTF8", 0x4000)
    termios.tcsetattr(far, termios.TCSANOW, mode)
    _set_size(near, window)
    if uid is not None:
        os.fchown(far, uid, uid)
        os.fchmod(far, 0o600)
    return LocalTerminal(near, {near: "out"}, is_tty=True), FarEnd(far, far, far)


def _pipes(uid: int | None) -> tuple[LocalTerminal, FarEnd]:
    stdin, inlet = os.pipe()
    out, stdout = os.pipe()
    err, stderr = os.pipe()
    if uid is not None:
        for descriptor in (stdin, stdout, stderr):
            os.fchown(descriptor, uid, uid)
    return LocalTerminal(inlet, {out: "out", err: "err"}, is_tty=False), FarEnd(
        stdin, stdout, stderr
    )


def _set_size(descriptor: int, window: Window) -> None:
    size = struct.pack("HHHH", window.lines, window.columns, 0, 0)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, size)
