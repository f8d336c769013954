"""Owns one more program inside a sandbox that runs already: `ps:exec`.

Runs in a child of the fork server, like `spawner`, and imports as little. A monitor goes halfway
in and forks the program, because a process changes its pid namespace for its children only; it
stays to take signals from, and tell the exit code to, the socket that it was given. When that
socket closes (control was killed) the program gets SIGHUP, and later SIGKILL.

The sandbox's processes may be hostile, have the same uid and share its files. What keeps them
from the entering process until it is theirs, at exec: it is not dumpable (so no ptrace and no
/proc/PID/mem, whatever their uid: its memory belongs to the host's user namespace), it opens no
path inside but the program itself, reads nothing of Python's from there, holds no descriptor but
three and a pipe that exec closes, and gives up every capability. The namespaces are taken from a
pidfd, not a pid, so that no other process can come into its place. Must not know dynos.
"""

from __future__ import annotations

import array
import base64
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import termios
from typing import Any, NoReturn

from oriel.sandbox import linux, monitor

DESCRIPTORS = 6
"""[plan, door, pidfd, stdin, stdout, stderr], in that order."""

KINDS = {
    "mnt": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "time": 0x00000080,
}
"""What a process may have a namespace of, and setns(2)'s name for it."""

_ERROR_FD, _FIRST_FREE = 3, 64
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 4, 38, 22
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT = 23, 24, 47
_CAP_LAST = 63
_SECCOMP_MODE_FILTER = 2
_BPF_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def become(received: list[int]) -> NoReturn:
    """Turn this process into the monitor of a program inside; never comes back."""
    _, door_fd, *_ = received
    door = socket.socket(fileno=door_fd)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(linux.OOM_SCORE)
        _prctl(_PR_SET_DUMPABLE, 0)
        _begin(door, received)
    except BaseException as error:  # whatever it is, it must be told, and is the end
        _tell(door, {"error": _reason(error)})
    os._exit(1)


def _begin(door: socket.socket, received: list[int]) -> None:
    plan_fd, _, target, *streams = received
    plan = _read_plan(plan_fd)
    host = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    differing = _differing(plan["pid"])
    _check_filter(plan)
    places = _cgroups(plan["pid"])
    if _has_ended(target):
        # Only now is it sure that what was read of that pid was read of this process.
        raise ProcessLookupError(3, "it has ended")
    error, low = os.pipe2(os.O_CLOEXEC)
    error_write = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    os.close(low)
    # Root enters the pid namespace alone, and the monitor stays outside of all the others. An
    # ordinary user has the right to any of them only inside the sandbox's user namespace.
    first = KINDS["pid"] if plan["uid"] is not None else differing
    _setns(target, first & differing)
    child = os.fork()
    if child == 0:
        try:
            door.close()
            _go_in(plan, target, differing & ~first, places, streams, error_write)
        except BaseException as problem:
            _complain(error_write, _reason(problem))
        os._exit(1)
    for descriptor in (error_write, target, *places, *streams):
        os.close(descriptor)
    if problem_text := _all_of(error):
        os.waitpid(child, 0)
        _tell(door, {"error": problem_text})
        os._exit(1)
    _tell(door, {"running": child})
    _tell(door, {"exit-code": monitor.attend(door, child, host)})
    os._exit(0)


def _go_in(
    plan: dict[str, Any],
    target: int,
    flags: int,
    places: list[int],
    streams: list[int],
    error: int,
) -> None:
    for place in places:
        os.write(place, b"0")
    if plan["uid"] is not None:
        os.setgroups([])
    _setns(target, flags)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    os.setsid()
    for i, descriptor in enumerate(streams):
        os.dup2(descriptor, i)
    if plan["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.dup2(error, _ERROR_FD, inheritable=False)
    linux.close_from(_ERROR_FD + 1)
    _limit(resource.RLIMIT_NOFILE, plan["open_files"])
    _limit(resource.RLIMIT_CORE, 0)
    if plan["uid"] is not None:
        uid = int(plan["uid"])
        if uid <= 0:
            raise PermissionError(1, "nothing runs as root in a sandbox")
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if plan["processes"]:
        _limit(resource.RLIMIT_NPROC, plan["processes"])
    _give_up_everything()
    _prctl(_PR_SET_DUMPABLE, 0)
    if plan["filter"]:
        _install(base64.b64decode(plan["filter"]))
    os.chdir(plan["cwd"])
    argv = [str(word) for word in plan["argv"]]
    os.execve(argv[0], argv, plan["env"])  # noqa: S606


def _complain(error: int, text: str) -> None:
    """Say why it could not start; the pipe has moved once the low descriptors are laid out."""
    try:
        os.write(error, text.encode())
    except OSError:
        os.write(_ERROR_FD, text.encode())


def _differing(pid: int) -> int:
    """The namespaces of `pid` that are not our own: only those can be, and need be, joined."""
    flags = 0
    for kind, flag in KINDS.items():
        try:
            theirs, ours = (os.stat(f"/proc/{each}/ns/{kind}") for each in (pid, "self"))
        except FileNotFoundError:
            continue  # a kernel without such
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            flags |= flag
    return flags


def _check_filter(plan: dict[str, Any]) -> None:
    """Refuse to run beside a filter without it. Pid 1 may have none, though its children do."""
    first = plan["pid"]
    most = max(_filters(pid) for pid in (first, *linux.children(first)))
    if not plan["filter"] and most > _filters("self"):
        raise PermissionError(1, "its system call filter is not known")


def _filters(pid: int | str) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("Seccomp_filters:"):
                    return int(line.split()[1])
    except OSError:
        pass  # it has ended
    return 0


def _cgroups(pid: int) -> list[int]:
    """cgroup.procs of each group that `pid` is in and we are not, opened for writing."""
    with open(f"/proc/{pid}/cgroup") as theirs, open("/proc/self/cgroup") as ours:
        foreign = set(theirs.read().splitlines()) - set(ours.read().splitlines())
    opened = []
    for line in sorted(foreign):
        _, controllers, path = line.split(":", 2)
        place = _mount_of(controllers)
        if place is None:
            continue
        top, root = place
        inner = path[len(root.rstrip("/")) :] if path.startswith(root) else path
        file = f"{top}{inner}/cgroup.procs"
        opened.append(os.open(file, os.O_WRONLY | os.O_CLOEXEC))
    return opened


def _mount_of(controllers: str) -> tuple[str, str] | None:
    """Where a hierarchy is mounted, and which of its groups is seen there."""
    wanted = set(controllers.split(",")) if controllers else None
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split()[:3]
            root, top = before.split()[3:5]
            if wanted is None and kind == "cgroup2":
                return top, root
            named = {word.removeprefix("name=") for word in options.split(",")}
            plain = {word.removeprefix("name=") for word in wanted or ()}
            if wanted and kind == "cgroup" and plain <= named:
                return top, root
    return None


def _setns(target: int, flags: int) -> None:
    """setns(2) on a pidfd: all namespaces at once, each checked against what we were before."""
    if flags and _libc.setns(target, flags) != 0:
        number = ctypes.get_errno()
        text = "it has ended" if number == 3 else os.strerror(number)
        raise OSError(number, f"its namespaces cannot be entered: {text}")


def _give_up_everything() -> None:
    for capability in range(_CAP_LAST + 1):
        if _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _libc.prctl(_PR_CAP_AMBIENT, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    header = array.array("I", [0x20080522, 0])  # _LINUX_CAPABILITY_VERSION_3, this thread
    nothing = array.array("I", [0] * 6)
    pointers = (header.buffer_info()[0], nothing.buffer_info()[0])
    if _libc.capset(*map(ctypes.c_void_p, pointers)) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be given up")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _install(program: bytes) -> None:
    """Install a seccomp filter, the BPF program as the kernel takes it."""
    content = ctypes.create_string_buffer(program, len(program))
    told = _Program(len(program) // _BPF_BYTES, ctypes.addressof(content))
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(told), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the system call filter cannot be installed")


def _prctl(what: int, value: int) -> None:
    if _libc.prctl(what, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {what}")


def _limit(which: int, wanted: int) -> None:
    _, hard = resource.getrlimit(which)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(which, (most, most))


def _read_plan(descriptor: int) -> dict[str, Any]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb") as file:
        plan: dict[str, Any] = json.load(file)
    return plan


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _all_of(descriptor: int) -> str:
    told = b""
    while chunk := os.read(descriptor, 4096):
        told += chunk
    os.close(descriptor)
    return told.decode(errors="replace")


def _tell(door: socket.socket, what: dict[str, Any]) -> None:
    try:
        door.sendall(json.dumps(what).encode() + b"\n")
    except OSError:
        return  # nobody listens any more


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if not error.filename else f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {error}"
