"""The first process of a test's machine: systemd to `oriel up`, and a census of all that runs.

Run by `machine.py` as pid 1 of namespaces of its own (pid, mount, network), so that "everything on
this machine" is the platform's and can be counted. It obeys one JSON request a line on stdin. The
unit of docs/settings.md says how it treats its main process: with KillMode=process a kill hits that
one alone, with Restart=on-failure it comes back. When stdin ends, the machine goes down.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SPARE_PROC = "/run/proc"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
LAST_PID = "/proc/sys/kernel/ns_last_pid"
NAMESPACES = ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup")
RESTART_S = 0.1
"""systemd's own RestartSec where a unit has none."""

MS_BIND, MS_NOSUID, MS_NODEV = 0x1000, 2, 4
_libc = ctypes.CDLL(None, use_errno=True)


class Init:
    """Pid 1."""

    def __init__(self, groups: list[str]) -> None:
        self.groups = [Path(each) for each in groups]
        self.main: int | None = None
        self.argv: list[str] = []
        self.env: dict[str, str] = {}
        self.log = "/dev/null"
        self.restarts = False
        self.failures = 0
        self.due: float | None = None

    def serve(self) -> None:
        """Obey and reap until stdin ends."""
        wake, poke = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(poke)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        waiting = selectors.DefaultSelector()
        waiting.register(0, selectors.EVENT_READ)
        waiting.register(wake, selectors.EVENT_READ)
        buffer = b""
        while True:
            pause = None if self.due is None else max(0.0, self.due - time.monotonic())
            ready = {key.fd for key, _ in waiting.select(pause)}
            if wake in ready:
                os.read(wake, 4096)
            self.reap()
            if self.due is not None and time.monotonic() >= self.due:
                self.begin()
            if 0 in ready:
                piece = os.read(0, 1 << 16)
                if not piece:
                    return
                buffer += piece
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    self.obey(json.loads(line))

    def obey(self, asked: dict[str, Any]) -> None:
        op = asked.pop("op")
        try:
            answer = {"ok": getattr(self, f"do_{op}")(**asked)}
        except (OSError, RuntimeError) as error:
            answer = {"error": f"{op}: {error}"}
        os.write(1, json.dumps(answer).encode() + b"\n")

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.main:
                self.main = None
                if self.restarts and os.waitstatus_to_exitcode(status) != 0:
                    self.failures += 1
                    self.due = time.monotonic() + RESTART_S

    def begin(self) -> int:
        self.due = None
        self.main = spawn(self.argv, self.env, self.log, self.groups)
        return self.main

    # Requests.

    def do_start(self, argv: list[str], env: dict[str, str], log: str, restarts: bool) -> int:
        self.argv, self.env, self.log, self.restarts = argv, env, log, restarts
        return self.begin()

    def do_restarts(self, on: bool) -> None:
        self.restarts = on
        if not on:
            self.due = None
        elif self.main is None:
            self.begin()

    def do_main(self) -> list[int | None]:
        return [self.main, self.failures]

    def do_signal(self, pid: int, number: int) -> None:
        if pid <= 1:
            raise RuntimeError(f"{pid} is nobody's to kill")
        os.kill(pid, number)

    def do_bystander(self, pid: int) -> int:
        """A stranger under a pid of our choice, which must be free: what pid reuse comes to."""
        for _ in range(200):
            Path(LAST_PID).write_text(str(pid - 1))
            got = spawn(["/bin/sleep", "1000000"], {}, "/dev/null", [])
            if got == pid:
                return got
            os.kill(got, signal.SIGKILL)
        raise RuntimeError(f"nobody could be given the pid {pid}")

    def do_census(self) -> dict[str, Any]:
        return {
            "processes": processes(),
            "mounts": sorted(
                line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
            ),
            "links": [each["ifname"] for each in told(["ip", "-j", "link"])],
            "addresses": [
                f"{each['ifname']} {one['local']}/{one['prefixlen']}"
                for each in told(["ip", "-j", "address"])
                for one in each.get("addr_info", [])
                if one["scope"] != "link"
            ],
            "namespaces": sorted(
                {ns for each in processes() for ns in each["namespaces"].values()}
            ),
            "tables": [
                each["table"]["name"]
                for each in told(["nft", "-j", "list", "tables"]).get("nftables", [])
                if "table" in each
            ]
            if os.path.exists("/usr/sbin/nft")
            else [],
            "cgroups": sorted(
                # os.walk passes over what goes while it looks; a dyno may end at any time.
                os.path.relpath(os.path.join(place, each), group)
                for group in self.groups
                for place, inner, _ in os.walk(group)
                for each in inner
            ),
            "files": [path for path in map(deleted, all_fds()) if path],
        }

    def do_rss(self, pid: int) -> int:
        """Resident memory of a process, in kilobytes."""
        said = Path(f"/proc/{pid}/status").read_text()
        return int(said.partition("VmRSS:")[2].split()[0])


def spawn(argv: list[str], env: dict[str, str], log: str, groups: list[Path]) -> int:
    """A child in a session of its own; in the unit's groups, as systemd would have it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for group in groups:
            (group / "cgroup.procs").write_text("0")
        null = os.open(os.devnull, os.O_RDWR)
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.closerange(3, 1024)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.execve(argv[0], argv, env)
    finally:
        os._exit(127)


def told(argv: list[str]) -> Any:
    # Not by `subprocess.run`: `reap` must not take its child away.
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, env={"PATH": os.defpath + ":/usr/sbin"}
    ) as it:
        assert it.stdout
        said = it.stdout.read()
    return json.loads(said or b"[]")


def processes() -> list[dict[str, Any]]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.append(process(int(name)))
            except (OSError, ValueError, IndexError):
                continue
    return found


def process(pid: int) -> dict[str, Any]:
    place = Path(f"/proc/{pid}")
    stat = (place / "stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    spaces = {}
    for each in NAMESPACES:
        try:
            spaces[each] = os.readlink(place / "ns" / each)
        except OSError:
            continue
    return {
        "pid": pid,
        "name": stat[stat.index("(") + 1 : stat.rindex(")")],
        "state": fields[0],
        "parent": int(fields[1]),
        "start": int(fields[19]),
        "uid": place.stat().st_uid,
        "words": (place / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1][:12],
        "namespaces": spaces,
    }


def all_fds() -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fds = os.listdir(f"/proc/{name}/fd")
            except OSError:
                continue
            found += [f"/proc/{name}/fd/{each}" for each in fds]
    return found


def deleted(fd: str) -> str:
    """A FIFO of a dyno that is gone and still held: its name and who holds it."""
    try:
        path = os.readlink(fd)
    except OSError:
        return ""
    if not path.endswith("/out (deleted)"):
        return ""
    words = Path(fd).parents[1].joinpath("cmdline").read_bytes().split(b"\0")
    who = b" ".join(words[1:4]).decode(errors="replace")
    return f"{fd} ({who}) -> {path}"


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    done = _libc.mount(source.encode(), target.encode(), kind.encode() or None,
                       ctypes.c_ulong(flags), options.encode() or None)  # fmt: skip
    if done != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def main() -> None:
    boot_id, groups = sys.argv[1], sys.argv[2:]
    mount("proc", "/proc", "proc")
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    # The kernel lets a sandbox mount /proc only where one is fully seen: not the one that hides
    # the host's boot id, so another.
    os.mkdir(SPARE_PROC)
    mount("proc", SPARE_PROC, "proc")
    Path("/run/boot_id").write_text(boot_id + "\n")
    mount("/run/boot_id", BOOT_ID, "", MS_BIND)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.write(1, b'{"ok": "booted"}\n')
    Init(groups).serve()


if __name__ == "__main__":
    main()
