"""Owns what the logplex benchmarks share: a logplex process, its dynos, its readers, the peers.

Nothing here measures; it starts and stops things, and reads the CPU time of a process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import debs

WRITERS = Path(__file__).with_name("writers.py")
LINE = (
    b"0123456789 at=info method=GET path=/a/b/c status=200 service=12ms "
    b"some words behind it, as apps have them..\n"
)
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and its threads so far, to the nanosecond where the kernel says."""
    try:
        tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9
    except (OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def until(ready: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait until something is so; raises TimeoutError."""
    stop = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > stop:
            raise TimeoutError("what a benchmark waits for does not come")
        time.sleep(0.005)


def writer(*words: object) -> subprocess.Popen[bytes]:
    """A process of `writers.py`."""
    argv = [sys.executable, "-S", str(WRITERS), *map(str, words)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE)


class Plex:
    """A logplex on a data directory of its own."""

    def __init__(self, data: Path, *options: str, pass_fds: tuple[int, ...] = ()) -> None:
        """Start it, and wait until it answers."""
        self.data = data
        self.socket = data / "run" / "logplex.sock"
        self.held: list[int] = []
        data.mkdir(parents=True, exist_ok=True)
        module = "oriel.logplex.process"
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--data", str(data), *options],
            stderr=subprocess.DEVNULL,
            pass_fds=pass_fds,
        )
        until(self._answers)

    @property
    def cpu_s(self) -> float:
        """Its CPU time so far."""
        return cpu_of(self.process.pid)

    def dyno(self, instance: str, channel: str, name: str = "web.1") -> Path:
        """A dyno whose output is read; gives its FIFO."""
        directory = self.data / "dynos" / instance
        directory.mkdir(parents=True)
        identity = {"channel": channel, "name": name, "release": 1, "app": "a"}
        (directory / "identity.json").write_text(json.dumps(identity))
        os.mkfifo(directory / "out")
        self.held.append(os.open(directory / "out", os.O_RDWR | os.O_NONBLOCK))
        self.ask({"op": "open", "instance": instance})
        return directory / "out"

    def ask(self, request: dict[str, object]) -> dict[str, object]:
        """One request, one answer."""
        with self.connect() as door:
            door.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, object] = json.loads(door.makefile("rb").readline())
        return answer

    def connect(self) -> socket.socket:
        """A connection to its door."""
        door = socket.socket(socket.AF_UNIX)
        door.connect(str(self.socket))
        return door

    def read(self, channel: str, **query: object) -> Iterator[tuple[dict[str, object], bytes]]:
        """Headers and texts of a reading, as they come."""
        request = {"op": "read", "channel": channel, "lines": None, **query}
        with self.connect() as door, door.makefile("rb", 1 << 20) as answers:
            door.sendall(json.dumps(request).encode() + b"\n")
            if not (said := json.loads(answers.readline())).get("ok"):
                raise RuntimeError(str(said))
            while not (header := json.loads(answers.readline())).get("end"):
                yield header, answers.read(header["bytes"])

    def sizes(self, channel: str) -> int:
        """How many bytes a channel's segments have."""
        return sum(each.stat().st_size for each in (self.data / "channels" / channel).glob("*.log"))

    def close(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for fd in self.held:
            os.close(fd)

    def _answers(self) -> bool:
        try:
            return bool(self.ask({"op": "status"}).get("ok"))
        except (OSError, ValueError):
            return False


@contextmanager
def plex(data: Path, *options: str, pass_fds: tuple[int, ...] = ()) -> Iterator[Plex]:
    """A logplex for the length of a block."""
    made = Plex(data, *options, pass_fds=pass_fds)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(data, ignore_errors=True)


def peers() -> Path | None:
    """A virtual environment with supervisord and honcho; None when it cannot be made."""
    place = debs.SETUP / "bench-peers"
    if (place / "bin" / "honcho").exists() and (place / "bin" / "supervisord").exists():
        return place
    try:
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
        words = [str(place / "bin" / "python"), "-m", "pip", "install", "-q"]
        subprocess.run([*words, "supervisor", "honcho", "setuptools<80"], check=True, timeout=240)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"no supervisord, no honcho: {error}", file=sys.stderr)
        return None
    return place


def rsyslog() -> Path | None:
    """The directory of an unpacked rsyslog (Debian's conflicts with syslog-ng); None without."""
    packages = ["rsyslog", "libestr0", "libfastjson4"]
    return debs.unpacked("rsyslog", packages, "usr/sbin/rsyslogd")


@contextmanager
def rsyslogd(directory: Path, port: int) -> Iterator[tuple[int, Path] | None]:
    """rsyslogd with TCP on a port, to a file; gives its pid and the file, or None."""
    target = directory / "rsyslog.out"
    configuration = (
        'module(load="imtcp")\n'
        f'input(type="imtcp" address="127.0.0.1" port="{port}")\n'
        f'action(type="omfile" file="{target}" template="RSYSLOG_FileFormat" '
        'flushOnTXEnd="on")\n'
    )
    with rsyslogd_with(directory, configuration) as pid:
        try:
            if pid is not None:
                until(lambda: _listens(port), 10)
        except TimeoutError:
            pid = None
        yield None if pid is None else (pid, target)


@contextmanager
def rsyslogd_with(directory: Path, configuration: str) -> Iterator[int | None]:
    """rsyslogd with a configuration of the caller's; gives its pid, or None where it is not."""
    place = rsyslog()
    if place is None:
        yield None
        return
    directory.mkdir(parents=True, exist_ok=True)
    modules = next(place.glob("usr/lib/*/rsyslog"))
    (directory / "rsyslog.conf").write_text(f'global(workDirectory="{directory}")\n{configuration}')
    libraries = ":".join({str(modules.parent), *map(str, place.glob("usr/lib/*/"))})
    program = str(place / "usr" / "sbin" / "rsyslogd")
    options = ["-n", "-M", str(modules), "-i", str(directory / "pid")]
    process = subprocess.Popen(
        [program, *options, "-f", str(directory / "rsyslog.conf")],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0
