"""Owns the running of `oriel up`: children kept up, orphans reaped, FIFOs and socket held.

Must not know what a dyno, an app or a release is. It waits for signals, pidfds, inotify and its
own door, and polls nothing; whatever else the platform does, does a child of its.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.clock import Clock
from oriel.house import keeper, processes
from oriel.house.child import Child, Program
from oriel.house.door import Door
from oriel.house.fifos import Fifos
from oriel.house.layout import Layout
from oriel.house.settings import Settings
from oriel.house.watch import Watch


class Mode(enum.Enum):
    """What this run of the supervisor is for."""

    RUN = "run"
    STOP = "stop"
    """Only stop what a killed `oriel up` left running."""
    STOP_DYNOS = "stop dynos"
    """Start what is needed to stop the dynos, stop them, and end."""


READY_TIMEOUT_S = 60.0
DYNOS_STOP_TIMEOUT_S = 90.0
KEEPER = "keeper"


class Supervisor:
    """The platform's processes, as `oriel up` sees them."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        clock: Clock,
        say: Callable[[str], None],
        fifos: Fifos,
    ) -> None:
        """Nothing is started or adopted before `run`."""
        self._layout = layout
        self._settings = settings
        self._clock = clock
        self._say = say
        self._fifos = fifos
        self._children: dict[str, Child] = {}
        self._door = Door(layout.up_socket, self._answer)
        self._ready = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._stop_dynos = False
        self._left = 0
        self._stopped: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def run(
        self, programs: tuple[Program, ...], mode: Mode, announce: Callable[[], None]
    ) -> int:
        """Keep the programs running until told to stop; returns the exit code.

        `announce` is called once, when control says that the API answers.
        """
        self._listen_to_signals()
        watch = Watch((self._layout.run, self._layout.haproxy_config.parent), self._appeared)
        await self._door.open()
        announcing = asyncio.create_task(self._announce(announce))
        try:
            if mode is not Mode.RUN:
                announcing.cancel()
                self.ask_to_stop(dynos=mode is Mode.STOP_DYNOS)
            await self._start(programs, mode)
            await self._stop_asked.wait()
            announcing.cancel()
            dynos_stopped = await self._stop()
        finally:
            announcing.cancel()
            watch.close()
        self._stopped.set_result(dynos_stopped)
        await self._door.close()
        return 0 if dynos_stopped else 1

    def ask_to_stop(self, *, dynos: bool) -> None:
        """Stop the platform in order; with `dynos` the dynos before it."""
        self._stop_dynos = self._stop_dynos or dynos
        self._stop_asked.set()

    async def _start(self, programs: tuple[Program, ...], mode: Mode) -> None:
        """Take over what runs, then start what does not; each in its turn."""
        for program in programs:
            on_exit = self._control_ended if program.name == "control" else lambda: None
            child = Child(program, self._layout, self._clock, self._say, on_exit)
            self._children[program.name] = child
            await self._adopt(child, mode)
            if program.name == "control" and child.pid is None:
                self._control_ended()
            if mode is Mode.RUN or (mode is Mode.STOP_DYNOS and program.name != "haproxy"):
                child.start()
        self._check_ready()
        self._dismiss_keeper()

    async def _adopt(self, child: Child, mode: Mode) -> None:
        """Take over what a killed `oriel up` left running, if it was started with the same."""
        name = child.program.name
        identity = processes.read_pid_file(self._layout.pid_file(name))
        pidfd = processes.open_again(identity) if identity is not None else None
        if identity is None or pidfd is None:
            return
        child.adopt(pidfd, identity.pid)
        if mode is not Mode.RUN or identity.started_with == child.program.started_with:
            self._say(f"{name} still runs (process {identity.pid}); taking it over.")
            return
        self._say(f"{name} still runs, but with other settings; starting it again.")
        await child.stop()
        child.revive()

    def _control_ended(self) -> None:
        """Whatever the control before said, the next one has not said it yet."""
        self._ready.clear()
        self._layout.control_ready.unlink(missing_ok=True)

    def _dismiss_keeper(self) -> None:
        """End the program that held the FIFOs while the platform was stopped: we hold them now."""
        path = self._layout.pid_file(KEEPER)
        identity = processes.read_pid_file(path)
        pidfd = processes.open_again(identity) if identity is not None else None
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            os.close(pidfd)
        path.unlink(missing_ok=True)

    # What happens while it runs.

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # What was started with nohup stays deaf to a closed terminal.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        if not self._stop_asked.is_set():
            self._say(f"{number.name}: stopping the platform.")
        self.ask_to_stop(dynos=False)

    def _reap(self) -> None:
        """Children of ours that ended, and orphans that came to us as their subreaper."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children.values():
                if child.pid == pid and not child.adopted:
                    child.ended(status)

    def _appeared(self, path: Path) -> None:
        if path == self._layout.control_ready:
            self._check_ready()
        elif path == self._layout.haproxy_config and "haproxy" in self._children:
            # The first configuration, or a better one than that with which it could not start.
            self._children["haproxy"].start()

    def _check_ready(self) -> None:
        """Whether the control that runs now has said that its API answers."""
        control = self._children.get("control")
        try:
            pid = json.loads(self._layout.control_ready.read_text())["pid"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        if control is not None and control.pid == pid:
            self._ready.set()

    async def _announce(self, announce: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._ready.wait()
        except TimeoutError:
            self._say(
                f"control has not answered for {READY_TIMEOUT_S:g} s; "
                f"its log is {self._layout.log('control')}. Still trying."
            )
            await self._ready.wait()
        announce()

    async def _answer(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        for child in self._children.values():
            child.trim_log()
        match asked.get("op"):
            case "hold":
                self._fifos.hold(str(asked.get("instance", "")))
                return {"ok": True}
            case "release":
                self._fifos.release(str(asked.get("instance", "")))
                return {"ok": True}
            case "status":
                return self._status()
            case "down":
                self.ask_to_stop(dynos=bool(asked.get("dynos", False)))
                return {"ok": await asyncio.shield(self._stopped), "left": self._left}
            case unknown:
                raise faults.BadRequest(f"{unknown!r} is nothing that `oriel up` does.")

    def _status(self) -> dict[str, Any]:
        return {
            "ok": True,
            "pid": os.getpid(),
            "ready": self._ready.is_set(),
            "api": self._settings.api_url,
            "held": len(self._fifos),
            "processes": {
                name: {
                    "state": child.state,
                    "pid": child.pid,
                    "adopted": child.adopted,
                    "crashes": child.crashes,
                }
                for name, child in self._children.items()
            },
        }

    # The end.

    async def _stop(self) -> bool:
        """Stop in the reverse order of starting; False when dynos that should stop still run."""
        dynos_stopped = True
        for name in reversed(tuple(self._children)):
            child = self._children[name]
            if name == "control" and self._stop_dynos:
                dynos_stopped = await self._stop_the_dynos(child)
            await child.stop()
        self._fifos.sweep()
        if len(self._fifos) and not (self._stop_dynos and dynos_stopped):
            self._left = len(self._fifos)
            self._leave_keeper()
        self._fifos.close()
        return dynos_stopped

    async def _stop_the_dynos(self, control: Child) -> bool:
        """Control alone can; it needs to be up for that."""
        if not any(self._layout.dynos.iterdir()):
            return True
        self._say("Stopping the dynos.")
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._ready.wait()
        except TimeoutError:
            self._say("control does not answer, so the dynos could not be stopped.")
            return False
        if not await control.finish(signal.SIGUSR1, DYNOS_STOP_TIMEOUT_S):
            self._say("control could not stop the dynos in time.")
            return False
        return True

    def _leave_keeper(self) -> None:
        """Leave a program behind that holds the FIFOs of the dynos that go on."""
        path = self._layout.pid_file(KEEPER)
        subprocess.Popen(
            (sys.executable, "-I", "-S", keeper.__file__),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
            pass_fds=self._fifos.descriptors,
            preexec_fn=lambda: processes.write_pid_file(path, processes.identify(os.getpid())),
        ).returncode = 0  # It outlives us; nobody waits for it.
        self._say(
            f"{len(self._fifos)} dyno(s) go on; what they say is kept until the next `oriel up` "
            "(once a pipe is full, its dyno waits). To stop them too: oriel down --dynos"
        )
