"""Owns the fork server as seen from outside: its life, and one conversation for each launch.

Must not know what is launched. It may be killed at any time; what it started lives on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from oriel.faults import Unavailable
from oriel.sandbox import capabilities
from oriel.sandbox.confined import open_outer
from oriel.sandbox.status import Status

_CLOSE_TIMEOUT_S = 5.0


class ForkServer:
    """The spawner, a process of its own."""

    def __init__(self, launch_timeout_s: float) -> None:
        """Started at once."""
        self._timeout_s = launch_timeout_s
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "oriel.sandbox.spawner", str(number)],
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
                env=capabilities.spawner_environment(),
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        self._door = ours

    def close(self) -> None:
        """Close the door, which ends it; blocks for the moment that takes."""
        self._door.close()
        try:
            self.process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    async def ask(self, request: bytes, streams: tuple[int, ...], status_path: Path) -> str:
        """Send one request; what the new process told until the program can run (empty: nobody).
        Raises Unavailable.
        """
        with contextlib.ExitStack() as opened:

            def own(descriptor: int) -> int:
                opened.callback(os.close, descriptor)
                return descriptor

            plan = own(os.memfd_create("oriel-plan"))
            os.write(plan, request)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            status = own(os.open(status_path, flags, 0o600))
            report, report_write = _lasting_pipe()
            own(report)
            try:
                sent = self._send([plan, report_write, status, *streams])
            finally:
                os.close(report_write)
            return await self._listen(report) if sent else ""

    def enter(self, request: bytes, descriptors: list[int]) -> bool:
        """Ask for one more program inside a sandbox, as `enter` reads it; False: nobody is there.
        What became of it is told through the door among the descriptors.
        """
        plan = os.memfd_create("oriel-visit")
        try:
            os.write(plan, request)
            return self._send([plan, *descriptors], b"e")
        finally:
            os.close(plan)

    def _send(self, descriptors: list[int], kind: bytes = b"s") -> bool:
        try:
            socket.send_fds(self._door, [kind], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except OSError as error:
            raise Unavailable(f"The fork server cannot be reached: {error.strerror}.") from error
        return True

    async def _listen(self, report: int) -> str:
        """What comes on `report` until bubblewrap has told of its child, or it closes."""
        told = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                while chunk := await _read(report):
                    told += chunk
                    if "child-pid" in report_in(told.decode(errors="replace").partition("\n")[2]):
                        break
        except TimeoutError:
            _kill_introduced(bytes(told))
            raise Unavailable("A process took too long to start: mounting did not end.") from None
        return told.decode(errors="replace")


def _lasting_pipe() -> tuple[int, int]:
    """A pipe whose other end can be read too: were we killed, bubblewrap would get SIGPIPE where it
    tells of its child, and leave that waiting for a word from it, for ever.
    """
    read, write = os.pipe()
    try:
        return read, os.open(f"/proc/self/fd/{write}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        os.close(read)
        raise
    finally:
        os.close(write)


def report_in(text: str) -> dict[str, Any]:
    """The JSON object that a text is; an empty one where it is none (yet)."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _read(descriptor: int) -> bytes:
    """The next bytes of a pipe; empty at its end."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 65536)


def _kill_introduced(told: bytes) -> None:
    """End a process that hangs before bubblewrap, if it still is the one that said its name."""
    me = report_in(told.decode(errors="replace").partition("\n")[0])
    descriptor = open_outer(Status(outer_pid=me.get("pid"), outer_start=me.get("start")))
    if descriptor is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
