"""Drives an `oriel up` of stand-ins, for tests: start, hear, kill, ask."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from oriel.house import processes
from oriel.house.door import Visitor
from oriel.house.layout import Layout

PATIENCE_S = 20.0
ROOT = Path(__file__).parents[2]


def free_address() -> str:
    """An address of loopback that nobody listens at."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{trial.getsockname()[1]}"


class Platform:
    """One data directory and the `oriel up` processes that a test starts on it."""

    def __init__(self, data: Path) -> None:
        self.layout = Layout(data)
        self.api, self.web = free_address(), free_address()
        self.ups: list[subprocess.Popen[bytes]] = []
        self.heard = ""

    def start(self, *, until: str = "Oriel is up.", web: str = "") -> subprocess.Popen[bytes]:
        up = subprocess.Popen(
            self._argv("up", web or self.web), stderr=subprocess.PIPE, cwd=ROOT, bufsize=0
        )
        self.ups.append(up)
        if until:
            self.hear(until)
        return up

    def run(self, what: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._argv(what, self.web),
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            cwd=ROOT,
            check=False,
        )

    def hear(self, text: str) -> str:
        """Read what the newest `oriel up` says until `text` comes; gives what came so far."""
        stream = self.ups[-1].stderr
        assert stream is not None
        heard = ""
        while text not in heard:
            ready, _, _ = select.select([stream], [], [], PATIENCE_S)
            part = os.read(stream.fileno(), 65536).decode() if ready else ""
            assert part, f"{text!r} was not said, but:\n{heard}"
            heard += part
        self.heard += heard
        return heard

    def _argv(self, what: str, web: str) -> list[str]:
        program = [sys.executable, "-m", "tests.house.standin_up", what]
        return [*program, str(self.layout.data), self.api, web]

    def status(self) -> dict:
        with Visitor(self.layout.up_socket, PATIENCE_S) as door:
            return door.ask({"op": "status"})

    def ask(self, **request: object) -> dict:
        with Visitor(self.layout.up_socket, PATIENCE_S) as door:
            return door.ask(request)

    def pid(self, name: str) -> int:
        identity = processes.read_pid_file(self.layout.pid_file(name))
        assert identity is not None
        return identity.pid

    def give_haproxy_its_configuration(self) -> None:
        draft = self.layout.haproxy_config.with_suffix(".new")
        draft.write_text("# stand-in\n")
        draft.rename(self.layout.haproxy_config)

    def make_dyno(self, instance: str) -> Path:
        directory = self.layout.dynos / instance
        directory.mkdir(parents=True)
        os.mkfifo(directory / "out", 0o600)
        return directory / "out"

    def started(self) -> list[tuple[str, int]]:
        """What has started so far, with its pid; those that start together come in any order."""
        lines = (self.layout.data / "started").read_text().splitlines()
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def prepare(self, name: str) -> Path:
        """A data directory with a file in it that tells a stand-in how to behave."""
        self.layout.run.mkdir(parents=True)
        self.layout.data.chmod(0o700)
        (self.layout.data / name).touch()
        return self.layout.data / name

    def close(self) -> None:
        """End everything that the test started, by pid files and handles."""
        for up in self.ups:
            if up.poll() is None:
                up.kill()
            up.wait(PATIENCE_S)
            if up.stderr is not None:
                up.stderr.close()
        kill(self.layout, "keeper")
        # One that is starting may fork once more after it was looked for.
        while found := self.standins():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def standins(self) -> list[int]:
        """The pids of all stand-ins of this data directory, found by their command lines."""
        ours = os.fsencode(self.layout.data)
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                argv = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                if ours in argv and any(part.endswith(b"/standin.py") for part in argv):
                    found.append(int(entry.name))
        return sorted(found)


def kill(layout: Layout, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
    """Kill exactly the process that the pid file names, and wait for its end."""
    identity = processes.read_pid_file(layout.pid_file(name))
    pidfd = processes.open_again(identity) if identity is not None else None
    if pidfd is None:
        return False
    signal.pidfd_send_signal(pidfd, number)
    ended = processes.wait_for_end(pidfd, PATIENCE_S)
    os.close(pidfd)
    return ended


def platform(directory: Path) -> Iterator[Platform]:
    """For a fixture: a platform whose processes are all gone afterwards."""
    made = Platform(directory)
    try:
        yield made
    finally:
        made.close()
