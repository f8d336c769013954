"""Owns the few system calls and /proc readings that Python 3.11 lacks.

Must not know sandboxes, and imports next to nothing: the fork server lives on it.
"""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
OOM_SCORE = "300"
"""Where the machine itself runs out of memory, a sandbox's program goes before the platform."""

CAP_NET_ADMIN = 12

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

_PR_SET_PDEATHSIG = 1
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522
_CLOSE_RANGE = 436  # the same number on every architecture
_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name for fresh ones."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Put the calling thread into a namespace."""
    _check(_libc.setns(descriptor, kind), "setns")


def enter_user_namespace(others: int) -> None:
    """A user namespace of our own, with the same uid and gid and all capabilities, and fresh ones
    of the kinds `others`.
    """
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | others)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{uid} {uid} 1")
    write("/proc/self/gid_map", f"{gid} {gid} 1")


def write(path: str | os.PathLike[str], text: str) -> None:
    """Write to a file that is there, in one piece, as the kernel's own want it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); the error names the target."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {kind or 'bind'} on {target}")


def close_from(lowest: int) -> None:
    """Close every descriptor from `lowest` up: nothing of the parent's may be inherited."""
    if _libc.syscall(_CLOSE_RANGE, ctypes.c_uint(lowest), ctypes.c_uint(0xFFFFFFFF), 0) == 0:
        return
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= lowest:
            try:
                os.close(int(name))
            except OSError:
                continue  # the one that listed the directory


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which forked it, ends; at once if it has.
    A program that is executed keeps that, unless it gains privileges.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def keep_capability(number: int) -> None:
    """Let the next program that is executed have a capability that this process has."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same of the upper 32
    _check(_libc.capget(header, sets), "capget")
    sets[2] |= 1 << number
    _check(_libc.capset(header, sets), "capset")
    raised = _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, ctypes.c_ulong(number), 0, 0)
    _check(raised, "prctl")


def drop_ambient() -> None:
    """Programs that are executed from here on get no capability of this process by themselves."""
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl")


def has_capability(number: int) -> bool:
    """Whether this process has a capability (one of the first 32)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    _check(_libc.capget(header, sets), "capget")
    return bool(sets[1] & 1 << number)


def boot_id() -> str:
    """What tells one boot of the machine from another."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_time(pid: int) -> int | None:
    """When a process began, in ticks since boot; None when there is none.

    With the pid it names a process for good, since pids are used again.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[19])  # field 22; the name may hold blanks


def pid_namespace(pid: int) -> int | None:
    """The inode of a process's pid namespace; None when it is gone or not ours to see."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


def network_namespace(pid: int) -> int | None:
    """The inode of a process's network namespace; None when it is gone or not ours to see."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None


def children(pid: int) -> list[int]:
    """The processes that any thread of `pid` has begun."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
        except OSError:
            continue
    return found


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
