"""Owns looking at the machine for `oriel doctor`. Must not judge what it sees: that is `doctor`.

Each probe is quick and gives what it can: something that may not be read is None, not an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oriel.clock import Clock
from oriel.house import edge_probes, ports, preflight, settings
from oriel.house.edge_probes import Lines, Port, Shown
from oriel.house.layout import Layout
from oriel.lexicon import Address
from oriel.router import unprivileged_user
from oriel.sandbox import capabilities

PROBE_TIMEOUT_S = 5.0

_SYSCTLS = (
    "user/max_user_namespaces",
    "kernel/unprivileged_userns_clone",
    "kernel/apparmor_restrict_unprivileged_userns",
    "fs/inotify/max_user_instances",
    "fs/pipe-user-pages-soft",
    "net/core/rmem_max",
)
_PROGRAMS = {
    "bwrap": ("--version",),
    "haproxy": ("-v",),
    "git": ("--version",),
}
_INTERPRETERS = tuple(f"python3.{minor}" for minor in range(8, 20))
_TIME_ERROR = 5
"""What adjtimex answers while nothing keeps the clock right."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that `oriel doctor` knows of a machine."""

    root: bool
    kernel: str
    filesystems: frozenset[str]
    pidfd: bool
    sysctls: Mapping[str, int | None]
    user_namespaces: bool
    overlay: bool
    staging: str
    """Who may mount before bubblewrap starts: `root`, `userns` or `none`."""
    sandbox_why: tuple[str, ...]
    programs: Mapping[str, str | None]
    """The version of each program, "" where it does not tell, None where it is missing."""
    interpreters: tuple[str, ...]
    data: Path
    data_problem: str
    disk_free_bytes: int | None
    disk_free_inodes: int | None
    disk_type: str
    files_soft: int
    files_hard: int
    clock_year: int
    clock_synchronised: bool | None
    cgroups: str
    """`v2`, `v1`, or `` for none."""
    cgroup_writable: bool
    network: bool
    """Whether dynos can have networks of their own."""
    network_why: str
    """Why not."""
    isolation: str
    """What `oriel up` was asked for last."""
    docker: bool
    forward_policy: str | None
    """Of iptables' FORWARD chain, None where it may not be read."""
    ports: tuple[Port, ...] = field(default=())
    router_refused: str = ""
    """Why HAProxy did not take its newest configuration; empty when it did."""
    router_lines: Lines = Lines()
    certificates: tuple[Shown, ...] = ()
    haproxy_lua: bool | None = None
    """Whether HAProxy can hold a request; None where that is not known."""
    haproxy_user: bool = True
    """Whether there is somebody whom HAProxy becomes, where root starts it."""


def look(
    data: Path,
    addresses: tuple[tuple[str, Address], ...],
    clock: Clock,
    environ: Mapping[str, str],
    isolation: str = settings.ISOLATION,
    tls_cert: str | None = None,
) -> Machine:
    """Look at this machine, and try where the flags in `addresses` say to listen."""
    path = preflight.search_path(environ.get("PATH", ""))
    able = capabilities.look()
    free_bytes, free_inodes = _disk(data)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    version, writable = _cgroups()
    return Machine(
        root=os.geteuid() == 0,
        kernel=os.uname().release,
        filesystems=_filesystems(),
        pidfd=_pidfd(),
        sysctls={name: _sysctl(name) for name in _SYSCTLS},
        user_namespaces=able.user_namespaces,
        overlay=able.overlay,
        staging=able.staging,
        sandbox_why=able.why,
        programs={name: _version(name, how, path) for name, how in _PROGRAMS.items()},
        interpreters=tuple(name for name in _INTERPRETERS if _is_shared(name)),
        data=data,
        data_problem=_data_problem(data),
        disk_free_bytes=free_bytes,
        disk_free_inodes=free_inodes,
        disk_type=_disk_type(data),
        files_soft=soft,
        files_hard=hard,
        clock_year=clock.wall().year,
        clock_synchronised=_synchronised(),
        cgroups=version,
        cgroup_writable=writable,
        network=able.network,
        network_why=able.network_why,
        isolation=isolation,
        docker=os.path.exists("/sys/class/net/docker0") or os.path.exists("/run/docker.sock"),
        forward_policy=_forward_policy(path),
        ports=edge_probes.ports_at(data, addresses, ports.means(environ, path)),
        router_refused=edge_probes.refused(data),
        router_lines=edge_probes.lines(data),
        haproxy_lua=edge_probes.has_lua(path),
        haproxy_user=os.geteuid() != 0 or unprivileged_user() is not None,
        certificates=edge_probes.shown(data, clock.wall(), tls_cert),
    )


def parse_mounts(text: str, path: str) -> str:
    """The type of the file system that holds `path`, from /proc/self/mounts."""
    best, kind = "", ""
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        where = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        inside = path == where or path.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= len(best):
            best, kind = where, fields[2]
    return kind


def parse_version(text: str) -> str:
    """The first thing that looks like a version: `2.6.12` of HAProxy's greeting."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return found[0] if found else ""


def _version(name: str, how: tuple[str, ...], path: str) -> str | None:
    program = shutil.which(name, path=path)
    if program is None:
        return None
    return parse_version(_said(program, *how) or "")


def _said(*argv: str) -> str | None:
    """What a short command prints; None when it fails, hangs or is missing."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def _is_shared(name: str) -> bool:
    """Whether an interpreter lies where a sandbox shows it."""
    return any(
        os.access(os.path.join(directory, name), os.X_OK)
        for directory in ("/usr/bin", "/usr/local/bin")
    )


def _filesystems() -> frozenset[str]:
    with contextlib.suppress(OSError):
        lines = Path("/proc/filesystems").read_text().splitlines()
        return frozenset(line.split()[-1] for line in lines if line.split())
    return frozenset()


def _pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _sysctl(name: str) -> int | None:
    try:
        return int(Path("/proc/sys", name).read_text())
    except (OSError, ValueError):
        return None


def _existing(path: Path) -> Path:
    """The path itself or the nearest directory above it that is there."""
    for candidate in (path, *path.parents):
        with contextlib.suppress(OSError):
            if candidate.exists():
                return candidate
    return Path("/")


def _data_problem(data: Path) -> str:
    there = _existing(data)
    try:
        if there == data and data.stat().st_uid != os.geteuid():
            return f"{data} belongs to another user"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"{there} may not be written to"
    except OSError as error:
        return f"{data}: {error.strerror}"
    return "" if Layout(data).sockets_fit() else f"{data} is too long a path for the sockets in it"


def _disk(data: Path) -> tuple[int | None, int | None]:
    try:
        seen = os.statvfs(_existing(data))
    except OSError:
        return None, None
    # Some file systems (btrfs) count no inodes at all.
    return seen.f_bavail * seen.f_frsize, seen.f_favail if seen.f_files else None


def _disk_type(data: Path) -> str:
    with contextlib.suppress(OSError):
        return parse_mounts(Path("/proc/self/mounts").read_text(), str(_existing(data).resolve()))
    return ""


def _synchronised() -> bool | None:
    """Whether the kernel has been told that the clock is right (adjtimex, reading only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    answer = int(libc.adjtimex(ctypes.create_string_buffer(512)))
    return None if answer < 0 else answer != _TIME_ERROR


def _cgroups() -> tuple[str, bool]:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        own = ""
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/cgroup").read_text().splitlines():
                if line.startswith("0::"):
                    own = line[3:].lstrip("/")
        return "v2", os.access(root / own, os.W_OK)
    if (root / "memory").is_dir():
        return "v1", os.access(root / "memory", os.W_OK)
    return "", False


def _forward_policy(path: str) -> str | None:
    program = shutil.which("iptables", path=path)
    said = _said(program, "-S", "FORWARD") if program and os.geteuid() == 0 else None
    found = re.search(r"^-P FORWARD (\w+)", said or "", re.MULTILINE)
    return found[1] if found else None
