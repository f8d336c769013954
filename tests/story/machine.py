"""A machine of a platform's own that a test can kill, count and reboot.

Namespaces stand for it: pid, mount and network, with `machine_init` as the first process. All that
runs, is mounted, or has an address in them is the platform's, so a census needs no guessing, and a
power cut is the end of pid 1: everything dies at once, the network goes, the data directory stays.
A boot has a boot id of its own, bound over the kernel's. A test is inside its network while it
runs, and outside of all else: pids here are the machine's, and only `signal` may use them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.story.platform import Platform, eventually

INIT = Path(__file__).with_name("machine_init.py")
UNIT = Path(__file__).parents[2] / "docs" / "settings.md"
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def unit() -> dict[str, str]:
    """The [Service] part of the systemd unit that the docs give."""
    text = UNIT.read_text().partition("```ini")[2].partition("```")[0].partition("[Service]")[2]
    lines = text.partition("[Install]")[0].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)  # type: ignore[misc]


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Machine:
    """One boot after another."""

    def __init__(self) -> None:
        self.boots = 0
        self.name = f"oriel-machine-{uuid.uuid4().hex[:12]}"
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init: int | None = None
        self._groups = [
            CGROUPS / each / self.name for each in CONTROLLERS if (CGROUPS / each).is_dir()
        ]

    def boot(self) -> None:
        """Start pid 1 and be in its network."""
        self.boots += 1
        with contextlib.suppress(OSError):
            for group in self._groups:
                group.mkdir(exist_ok=True)
        groups = [str(each) for each in self._groups if os.access(each / "cgroup.procs", os.W_OK)]
        words = ["unshare", "--pid", "--mount", "--net", "--fork", "--propagation", "private"]
        self._unshare = subprocess.Popen(
            [*words, sys.executable, "-I", "-S", str(INIT), str(uuid.uuid4()), *groups],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._unshare.stdout
        said = self._unshare.stdout.readline()
        assert json.loads(said or b"{}").get("ok") == "booted", said
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        (self._init,) = map(int, children.read_text().split())
        namespace = os.open(f"/proc/{self._init}/ns/net", os.O_RDONLY)
        _enter(namespace)
        os.close(namespace)

    def cut_power(self) -> None:
        """Everything dies at once. What was only in the kernel is gone."""
        _enter(self._home)
        if self._unshare is None or self._init is None:
            return
        os.kill(self._init, signal.SIGKILL)
        # `unshare` has waited for its child, and pid 1 is gone when all of its namespace are.
        self._unshare.wait(60)
        for pipe in (self._unshare.stdin, self._unshare.stdout):
            assert pipe
            with contextlib.suppress(OSError):
                pipe.close()
        self._unshare = self._init = None
        for group in self._groups:
            for each in sorted(group.rglob("*"), reverse=True):
                if each.is_dir():
                    eventually(lambda each=each: _removed(each), what=f"{each} can be removed")
            if group.is_dir():
                eventually(lambda group=group: _removed(group), what=f"{group} can be removed")

    def ask(self, op: str, **more: Any) -> Any:
        """One request to pid 1."""
        assert self._unshare
        assert self._unshare.stdin
        assert self._unshare.stdout
        self._unshare.stdin.write(json.dumps({"op": op, **more}).encode() + b"\n")
        self._unshare.stdin.flush()
        answer = json.loads(self._unshare.stdout.readline() or b"{}")
        if "ok" not in answer:
            raise AssertionError(answer.get("error", f"no answer to {op}"))
        return answer["ok"]

    def signal(self, pid: int, number: signal.Signals) -> bool:
        """Send a signal to one of the machine's processes; False when there is none."""
        try:
            self.ask("signal", pid=pid, number=int(number))
        except AssertionError as error:
            if "No such process" in str(error):
                return False
            raise
        return True

    def census(self) -> Census:
        """All there is on it."""
        return Census(**self.ask("census"))

    def close(self) -> None:
        """The end of it."""
        self.cut_power()
        os.close(self._home)


def _removed(place: Path) -> bool:
    try:
        place.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Census:
    """What was on a machine at one moment."""

    processes: list[dict[str, Any]]
    mounts: list[str]
    links: list[str]
    addresses: list[str]
    namespaces: list[str]
    tables: list[str]
    cgroups: list[str]
    files: list[str]
    """Dynos' FIFOs that are gone and that somebody still holds."""

    def living(self) -> dict[int, dict[str, Any]]:
        """Processes that are no zombies, by pid; pid 1 left out."""
        return {
            each["pid"]: each
            for each in self.processes
            if each["state"] not in "ZX" and each["pid"] != 1
        }

    def inside(self, namespace: str) -> dict[int, int]:
        """Pid and start time of all in a pid namespace."""
        return {
            pid: each["start"]
            for pid, each in self.living().items()
            if each["namespaces"].get("pid") == namespace
        }

    def bare(self) -> dict[str, Any]:
        """All of it that must be as before, once nothing runs any more."""
        return {
            "processes": [each["words"] for each in self.living().values()],
            "mounts": self.mounts,
            "links": self.links,
            "addresses": self.addresses,
            "namespaces": self.namespaces,
            "tables": self.tables,
            "cgroups": self.cgroups,
            "files": self.files,
        }


@dataclass
class Housed(Platform):
    """A platform on a machine, under the unit that the docs give."""

    machine: Machine = field(default_factory=Machine)

    def start(self) -> None:
        """Boot if need be, and start the unit; wait until its API answers."""
        self.begin()
        self.is_ready(60)

    def begin(self) -> None:
        """The same without waiting."""
        said = unit()
        assert (said["KillMode"], said["OOMPolicy"], said["Delegate"]) == (
            "process",
            "continue",
            "yes",
        )
        assert said["Restart"] == "on-failure"
        assert said.get("PrivateTmp", "no") == "no"
        assert Path(said["ExecStart"].split()[0]).name == "oriel"
        if not self.machine.boots:
            self.machine.boot()
        oriel = str(Path(sys.executable).parent / "oriel")
        self.machine.ask(
            "start",
            argv=[oriel, "up", "--data", str(self.data), "--api", f"127.0.0.1:{self.api_port}"]
            + ["--web", f"127.0.0.1:{self.web_port}", *self.more],
            env={**os.environ, **self.env},
            log=str(self.root / "up.log"),
            restarts=True,
        )

    def reboot(self) -> None:
        """A power cut, and the machine comes back without anybody's help."""
        self.machine.cut_power()
        self.machine.boot()
        self.start()

    def stop(self, *, dynos: bool = True) -> None:
        """`oriel down`, and wait for the main process."""
        if self.machine.ask("main")[0] is None:
            return
        oriel = str(Path(sys.executable).parent / "oriel")
        self.machine.ask("restarts", on=False)
        argv = [oriel, "down", "--data", str(self.data), *(["--dynos"] if dynos else [])]
        # Its door is asked for its pid, and that counts in the machine's way: so from within.
        self.machine.ask(
            "start",
            argv=argv,
            env=dict(os.environ),
            log=str(self.root / "down.log"),
            restarts=False,
        )
        eventually(lambda: self.machine.ask("main")[0] is None, within_s=120, what="oriel down")
        eventually(lambda: not self._up(), within_s=30, what="oriel up has ended")

    def pid(self, name: str) -> int:
        """As the machine counts; `up` is its main process. 0 while there is none."""
        if name == "up":
            return int(self.machine.ask("main")[0] or 0)
        try:
            return int(json.loads((self.data / "run" / f"{name}.pid.json").read_text())["pid"])
        except (FileNotFoundError, ValueError):
            return 0

    def kill(self, name: str) -> None:
        """SIGKILL one process, as KillMode=process has it; False where there was none."""
        pid = self.pid(name)
        assert pid > 1, f"there is no {name}"
        self.machine.signal(pid, signal.SIGKILL)

    def _up(self) -> list[Any]:
        return [
            each
            for each in self.machine.census().living().values()
            if "up" in each["words"] and str(self.data) in each["words"]
        ]

    def dynos(self) -> dict[str, Mapping[str, Any]]:
        """identity.json and status of each instance that has a directory, by instance."""
        return self._instances(waiting=False)

    def spares(self) -> dict[str, Mapping[str, Any]]:
        """The same of those that are ready and do not run."""
        return self._instances(waiting=True)

    def _instances(self, *, waiting: bool) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for place in (self.data / "dynos").iterdir():
            if (place / "waits").exists() != waiting:
                continue
            told: dict[str, Any] = {}
            with contextlib.suppress(OSError, ValueError):
                told |= json.loads((place / "identity.json").read_text())
                for line in (place / "status").read_text().splitlines():
                    told |= json.loads(line)
            found[place.name] = told
        return found

    def strangers(self, census: Census) -> list[str]:
        """Processes that belong neither to the platform nor to what has a directory."""
        living = census.living()
        platform = {self.pid(each) for each in ("up", "control", "logplex", "haproxy")}
        home = next(each for each in census.processes if each["pid"] == 1)["namespaces"]["pid"]
        known = (*self.dynos().values(), *self.spares().values())
        dynos = [each for each in known if "exit-code" not in each]
        outer = {each.get("outer") for each in dynos}
        spaces = {f"pid:[{each.get('pid-namespace')}]" for each in dynos}
        bubblewraps = {pid for pid, each in living.items() if each["name"] == "bwrap"}
        wrong = []
        for pid, each in living.items():
            here = each["namespaces"].get("pid", "")
            if here != home and (here in spaces or not here):
                continue
            if pid in outer or (here == home and _has_ancestor(living, pid, platform, bubblewraps)):
                continue
            wrong.append(f"{pid} {each['name']} {' '.join(each['words'][:6])} in {here}")
        return wrong


def _has_ancestor(
    living: Mapping[int, Mapping[str, Any]], pid: int, wanted: set[int], never: set[int]
) -> bool:
    """Whether a process is one of `wanted`, or came of them without a bubblewrap in between."""
    while pid in living and pid not in never:
        if pid in wanted:
            return True
        pid = living[pid]["parent"]
    return False


def quiet_for(read: Any, seconds: float, within_s: float) -> Any:
    """What `read` gives once that has stayed the same for so long."""
    deadline = time.monotonic() + within_s
    seen, since = read(), time.monotonic()
    while time.monotonic() - since < seconds:
        if time.monotonic() > deadline:
            raise AssertionError(f"it does not settle: {seen!r}")
        time.sleep(0.05)
        now = read()
        if now != seen:
            seen, since = now, time.monotonic()
    return seen
