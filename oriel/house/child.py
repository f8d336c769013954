"""Owns keeping one process of the platform running: start, adopt, start again, stop.

Must not know what the process does. Each is in a session of its own and writes to a log file, so
neither Ctrl-C nor the death of `oriel up` or its terminal reaches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oriel.clock import Clock
from oriel.house import ports, processes, restarts
from oriel.house.layout import Layout

LOG_BYTES_MAX = 16 * 1024 * 1024
TAIL_LINES = 12
TAIL_BYTES = 4096
KILL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    """What to start, what it inherits, and how it is asked to stop."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    pass_fds: tuple[int, ...] = ()
    started_with: str = ""
    needs: Path | None = None
    """A file without which it is not started yet."""
    low_ports: bool = False
    """Whether it may listen below 1024 where `oriel up` may."""
    stop_signals: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 10.0),)
    """What asks it to stop, each with how long it may take, in seconds."""


class Child:
    """One process of the platform."""

    def __init__(
        self,
        program: Program,
        layout: Layout,
        clock: Clock,
        say: Callable[[str], None],
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing runs yet. `on_exit` is called whenever it has ended, before it starts again."""
        self.program = program
        self.adopted = False
        self.pid: int | None = None
        self._layout = layout
        self._clock = clock
        self._say = say
        self._on_exit = on_exit
        self._record = restarts.Record()
        self._pidfd: int | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._log_offset = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._gone = asyncio.Event()
        self._gone.set()

    @property
    def state(self) -> str:
        """`up`, `waiting` (for a file or the end of a back-off) or `stopped`."""
        if self.pid is not None:
            return "up"
        return "stopped" if self._stopping else "waiting"

    @property
    def crashes(self) -> int:
        """How often in a row it died soon after its start."""
        return self._record.crashes

    def adopt(self, pidfd: int, pid: int) -> None:
        """Take over one that runs already."""
        self.adopted = True
        self._now_runs(pid, pidfd)
        # Another's child cannot be waited for, but its pidfd can be read once it is gone.
        asyncio.get_running_loop().add_reader(pidfd, self._adopted_ended)

    def start(self) -> None:
        """Start it, unless it runs, is being stopped, or has not yet what it needs."""
        self._cancel_timer()
        if self.pid is not None or self._stopping:
            return
        if self.program.needs is not None and not self.program.needs.exists():
            return
        try:
            self._popen = self._launch()
            pidfd = os.pidfd_open(self._popen.pid)
        except (OSError, subprocess.SubprocessError) as error:
            self._say(f"{self.program.name} cannot be started: {error}")
            self._try_again(lived_s=0.0)
            return
        self.adopted = False
        self._now_runs(self._popen.pid, pidfd)

    def ended(self, status: int) -> None:
        """It is a child of ours and has been reaped with this wait status."""
        code = os.waitstatus_to_exitcode(status)
        if self._popen is not None:
            self._popen.returncode = code
        self._is_gone(
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"ended with status {code}"
        )

    async def stop(self) -> None:
        """Ask it to stop, more firmly as time passes, and wait until it has."""
        self._stopping = True
        self._cancel_timer()
        for asked, patience_s in (
            *self.program.stop_signals,
            (signal.SIGKILL, KILL_TIMEOUT_S),
        ):
            if self.pid is None:
                break
            if asked is signal.SIGKILL:
                self._say(f"{self.program.name} does not stop; killing it.")
            self.send(asked)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._gone.wait()
        self._layout.pid_file(self.program.name).unlink(missing_ok=True)

    async def finish(self, asked: signal.Signals, patience_s: float) -> bool:
        """Send it a signal after which it ends by itself; whether it did within `patience_s`."""
        self._stopping = True
        self._cancel_timer()
        self.send(asked)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._gone.wait()
        return self.pid is None

    def revive(self) -> None:
        """Undo `stop`: it may be started again."""
        self._stopping = False

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; one that is gone is no error."""
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def trim_log(self) -> None:
        """Keep a log that grew too large from growing on; it is append-only, so this is safe."""
        path = self._layout.log(self.program.name)
        with contextlib.suppress(OSError):
            if path.stat().st_size > 4 * LOG_BYTES_MAX:
                os.truncate(path, 0)

    def _launch(self) -> subprocess.Popen[bytes]:
        path = self._layout.log(self.program.name)
        with contextlib.suppress(OSError):
            if path.stat().st_size > LOG_BYTES_MAX:
                os.replace(path, path.with_suffix(".log.1"))
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._log_offset = os.fstat(log).st_size
            return subprocess.Popen(
                self.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self.program.environ,
                start_new_session=True,
                pass_fds=self.program.pass_fds,
                preexec_fn=self._register,  # safe: `oriel up` has one thread
            )
        finally:
            os.close(log)

    def _register(self) -> None:
        """Run by the child before it becomes the program: write its pid file itself.

        So there is no instant at which it runs unknown, even if `oriel up` is killed; and until
        then it shares the lock, so that no other `oriel up` can look too early.
        """
        identity = processes.identify(os.getpid(), self.program.started_with)
        processes.write_pid_file(self._layout.pid_file(self.program.name), identity)
        if self.program.low_ports:
            ports.pass_on()

    def _now_runs(self, pid: int, pidfd: int) -> None:
        self.pid, self._pidfd = pid, pidfd
        self._started_s = self._clock.monotonic_s()
        self._gone.clear()

    def _adopted_ended(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            self._is_gone("is gone")

    def _is_gone(self, how: str) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
        lived_s = self._clock.monotonic_s() - self._started_s
        self.pid = self._pidfd = None
        self._gone.set()
        self._on_exit()
        if self._stopping:
            return
        self._record = self._record.after_exit(lived_s)
        delay_s = self._record.delay_s
        again = f"in {delay_s:g} s" if delay_s else "now"
        self._say(f"{self.program.name} {how}; starting it again {again}.{self._last_words()}")
        self._schedule(delay_s)

    def _try_again(self, lived_s: float) -> None:
        self._record = self._record.after_exit(lived_s)
        self._schedule(max(self._record.delay_s, restarts.FIRST_DELAY_S))

    def _schedule(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.start)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _last_words(self) -> str:
        """What it said since its start, its end only; and where the rest is."""
        path = self._layout.log(self.program.name)
        with contextlib.suppress(OSError), open(path, "rb") as log:
            size = os.fstat(log.fileno()).st_size
            log.seek(max(min(self._log_offset, size), size - TAIL_BYTES))
            lines = log.read(TAIL_BYTES).decode(errors="replace").splitlines()[-TAIL_LINES:]
            if lines and not self.adopted:
                return f" It said ({path}):\n" + "\n".join(f"    {line}" for line in lines)
        return f" Its log is {path}."
