"""Owns the spawner's life and the launches through it: the room's one shell.

Must not know what is confined or why. Everything is bounded: launches under way, their time, the
size of a request. What was started never depends on this process or the spawner living on.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from oriel.faults import Invalid, Unavailable
from oriel.sandbox import capabilities, linux, system
from oriel.sandbox.capabilities import Capabilities
from oriel.sandbox.confined import Confined, open_child, open_outer, read_status
from oriel.sandbox.confinement import LOST, Confinement, Exit, Limits, Visit
from oriel.sandbox.entered import Entered
from oriel.sandbox.render import render
from oriel.sandbox.status import Status

_CLOSE_TIMEOUT_S = 5.0


class Sandboxes:
    """Starts sandboxes, and finds those that an earlier process started."""

    def __init__(self, *, limits: Limits | None = None, allowed: Capabilities | None = None):
        """`allowed` is what the machine can do, when that has been looked up already."""
        self._limits = limits or Limits()
        self._allowed = allowed
        self._system: system.System | None = None
        self._spawner: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None
        self._turns = asyncio.Semaphore(self._limits.concurrency)
        self._launching: set[asyncio.Future[Confined]] = set()
        self._running: weakref.WeakSet[Confined] = weakref.WeakSet()
        self._boot_id = linux.boot_id()
        self._filter = ""
        """The filter of system calls that sandboxes run under, in hexadecimal."""

    @property
    def capabilities(self) -> Capabilities:
        """What this machine allows; known after `start`."""
        if self._allowed is None:
            raise Unavailable("The sandboxes have not been started.")
        return self._allowed

    async def start(self) -> None:
        """Look at the machine and start the spawner."""
        if self._allowed is None:
            self._allowed = await asyncio.to_thread(capabilities.look)
        self._system = system.look()
        self._open_spawner()

    async def close(self) -> None:
        """End the spawner, and none of what it started."""
        if self._launching:
            await asyncio.wait(self._launching, timeout=_CLOSE_TIMEOUT_S)
        for confined in list(self._running):
            confined.detach()
        await asyncio.to_thread(self._end_spawner)

    async def launch(
        self,
        what: Confinement,
        *,
        stdin: int | None,
        stdout: int,
        stderr: int | None,
        status_path: Path,
    ) -> Confined:
        """Start `what`; it is running, or Unavailable says why not.

        The descriptors stay the caller's. `stdin` None is /dev/null, `stderr` None is `stdout`.
        The status file is made anew: it must be in a directory that belongs to this launch. When
        the caller is cancelled, what was already begun is killed.
        """
        request = self._request(what, status_path)
        inlet = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if stdin is None else os.dup(stdin)
        streams = (inlet, os.dup(stdout), os.dup(stdout if stderr is None else stderr))
        launching = asyncio.ensure_future(self._launch(request, streams, status_path))
        self._launching.add(launching)
        launching.add_done_callback(self._launching.discard)
        try:
            return await asyncio.shield(launching)
        except asyncio.CancelledError:
            launching.add_done_callback(_abandon)
            raise

    async def _launch(
        self, request: bytes, streams: tuple[int, int, int], status_path: Path
    ) -> Confined:
        try:
            async with self._turns:
                told = await self._ask(request, streams, status_path)
                if not told:
                    # Nothing was started: the spawner had died. A second one will do, or nothing.
                    await asyncio.to_thread(self._end_spawner)
                    self._open_spawner()
                    told = await self._ask(request, streams, status_path)
        finally:
            for descriptor in streams:
                os.close(descriptor)
        if not told:
            raise Unavailable("No process could be started: the fork server ends at once.")
        return self._launched(told, status_path)

    async def enter(
        self, where: Confined, what: Visit, *, stdin: int, stdout: int, stderr: int
    ) -> Entered:
        """Start `what` inside a sandbox that runs; Unavailable says why not.

        The descriptors stay the caller's. It ends with the sandbox at the latest.
        """
        target = where.open_child()
        if target is None:
            raise Unavailable("Nothing could be started in the dyno: it has ended.")
        door, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        door.setblocking(False)
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, target)
            opened.callback(far.close)
            plan = os.memfd_create("oriel-visit")
            opened.callback(os.close, plan)
            os.write(plan, self._visit(where, what))
            async with self._turns:
                try:
                    self._call([plan, far.fileno(), target, stdin, stdout, stderr])
                except BaseException:
                    door.close()
                    raise
        entered = Entered(door)
        await entered.begin(self._limits.launch_timeout_s)
        return entered

    def _call(self, descriptors: list[int]) -> None:
        """Ask for a visit; of a spawner that has died, a second one."""
        if not self._send(descriptors, b"e"):
            self._end_spawner()
            self._open_spawner()
            if not self._send(descriptors, b"e"):
                raise Unavailable("No process could be started: the fork server ends at once.")

    def _visit(self, where: Confined, what: Visit) -> bytes:
        if self.capabilities.root and what.uid <= 0:
            raise Invalid("Nothing runs as root in a sandbox.")
        plan = {
            **asdict(what),
            "env": dict(what.env),
            "pid": where.child_pid,
            "uid": what.uid if self.capabilities.root else None,
            "filter": base64.b64encode(what.filter or bytes.fromhex(self._filter)).decode(),
        }
        request = json.dumps(plan).encode()
        if len(request) > self._limits.request_bytes:
            raise Invalid("The command and its environment are too large to start.")
        return request

    async def adopt(self, record: Mapping[str, Any], status_path: Path) -> Confined | Exit | None:
        """Find what an earlier process started: still there, ended, or (None) never begun.

        The status file alone is enough; `record` adds what was known while it ran.
        """
        status = read_status(status_path, dict(record))
        if status.outer_pid is None or status.boot_id is None:
            return None
        outer = child = None
        if status.boot_id == self._boot_id:
            outer, child = open_outer(status), open_child(status)
        if outer is None and child is None:
            # The code is written before the monitor ends: look again now that it is gone.
            code = read_status(status_path).exit_code
            return LOST if code is None else Exit.of(code)
        return self._watch(status, status_path, outer, child)

    def _watch(
        self, status: Status, status_path: Path, outer: int | None, child: int | None
    ) -> Confined:
        if child is not None and status.child_pid is not None and status.child_start is None:
            status = replace(status, child_start=linux.start_time(status.child_pid))
        confined = Confined(status, status_path, outer, child)
        self._running.add(confined)
        return confined

    def _request(self, what: Confinement, status_path: Path) -> bytes:
        allowed = self.capabilities
        if not allowed.bubblewrap or self._system is None:
            raise Unavailable("; ".join(allowed.why) or "bubblewrap is not installed.")
        if allowed.root and what.uid <= 0:
            raise Invalid("A sandbox never runs as root: it needs a uid of its own.")
        plan = render(
            what,
            self._system,
            allowed.staging,
            overlays=allowed.overlay,
            copy_to=str(status_path.parent / "copy"),
        )
        request = json.dumps({**plan.as_json(), "bubblewrap": allowed.bubblewrap}).encode()
        if len(request) > self._limits.request_bytes:
            raise Invalid("The command and its environment are too large to start.")
        return request

    async def _ask(self, request: bytes, streams: tuple[int, int, int], status_path: Path) -> str:
        """Send one request; what the new process told until the program ran (empty: nobody)."""
        with contextlib.ExitStack() as opened:

            def own(descriptor: int) -> int:
                opened.callback(os.close, descriptor)
                return descriptor

            plan = own(os.memfd_create("oriel-plan"))
            os.write(plan, request)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            status = own(os.open(status_path, flags, 0o600))
            report, report_write = os.pipe()
            own(report)
            try:
                sent = self._send([plan, report_write, status, *streams])
            finally:
                os.close(report_write)
            return await self._listen(report) if sent else ""

    def _send(self, descriptors: list[int], kind: bytes = b"s") -> bool:
        if self._door is None:
            return False
        try:
            socket.send_fds(self._door, [kind], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except OSError as error:
            raise Unavailable(f"The fork server cannot be reached: {error.strerror}.") from error
        return True

    async def _listen(self, report: int) -> str:
        """Everything that comes on `report` until it closes, which exec or the end does."""
        told = bytearray()
        try:
            async with asyncio.timeout(self._limits.launch_timeout_s):
                while chunk := await _read(report):
                    told += chunk
        except TimeoutError:
            _kill_introduced(bytes(told))
            raise Unavailable("A process took too long to start: mounting did not end.") from None
        return told.decode(errors="replace")

    def _launched(self, told: str, status_path: Path) -> Confined:
        """The running sandbox that a report tells of, or the fault."""
        first, _, rest = told.partition("\n")
        report = _object(rest)
        error = report.get("error") or _object(first).get("error")
        if error:
            raise Unavailable(f"The sandbox could not be made: {error}.")
        if "child-pid" not in report:
            raise Unavailable(
                "bubblewrap could not make the sandbox; its message is in the output.",
                hint="oriel doctor",
            )
        # bubblewrap tells us before it writes the status file, which may not say it yet.
        status = read_status(status_path, _as_record(report))
        return self._watch(status, status_path, open_outer(status), open_child(status))

    def _open_spawner(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._spawner = subprocess.Popen(
                [sys.executable, "-P", "-m", "oriel.sandbox.spawner", str(number)],
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
                env=capabilities.spawner_environment(),
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        self._door = ours

    def _end_spawner(self) -> None:
        """Close the door, which ends it; blocks for the moment that takes."""
        if self._door is not None:
            self._door.close()
            self._door = None
        if self._spawner is None:
            return
        try:
            self._spawner.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._spawner.kill()
            self._spawner.wait()
        self._spawner = None


def _abandon(launching: asyncio.Future[Confined]) -> None:
    """End what was launched for somebody who no longer waits for it."""
    if not launching.cancelled() and launching.exception() is None:
        launching.result().kill_soon()


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


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _as_record(report: Mapping[str, Any]) -> dict[str, Any]:
    return {"child_pid": report.get("child-pid"), "pid_namespace": report.get("pid-namespace")}


def _kill_introduced(told: bytes) -> None:
    """End a process that hangs before bubblewrap, if it still is the one that said its name."""
    me = _object(told.decode(errors="replace").partition("\n")[0])
    descriptor = open_outer(Status(outer_pid=me.get("pid"), outer_start=me.get("start")))
    if descriptor is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
