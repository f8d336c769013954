"""Owns the filter of system calls that every sandbox runs under: what no app needs, is refused.

Pure: a program for the kernel's classic BPF, as bytes, for the machines whose numbers are known
here. A list of what is forbidden, not of what is allowed, so that runtimes that Oriel has never
heard of work. Why this list, and why no library: docs/decisions/0021.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass

_LOAD, _JUMP_EQUAL, _JUMP_NOT_BELOW, _JUMP_ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_JMP|JSET|K, BPF_RET|K."""
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data; both machines are little-endian."""
ALLOW, KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
X32 = 0x40000000

NEW_NAMESPACE = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
TTY_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: typing into the terminal that one was started from."""
FAMILIES = (1, 2, 10)
"""Unix, IPv4, IPv6. AF_NETLINK has a rule of its own."""
_AF_NETLINK, _NETLINK_ROUTE = 16, 0

REFUSED = (
    # Other processes' memory and descriptors, their pid 1's among them, which has no filter.
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
    # Namespaces and mounts.
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_tree_attr"),
    *("open_by_handle_at", "name_to_handle_at", "quotactl", "quotactl_fd", "fanotify_init"),
    # The kernel's own affairs.
    *("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "syslog"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot"),
    *("swapon", "swapoff", "acct", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime"),
    *("sethostname", "setdomainname", "vhangup", "lookup_dcookie", "nfsservctl"),
    *("iopl", "ioperm", "modify_ldt", "uselib", "ustat", "sysfs", "_sysctl", "create_module"),
)
ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
"""Answered as by a kernel that has them not, so that libraries go the older way. The flags of
clone3 lie in memory, where a filter cannot look."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of processor, as the kernel's audit names it, and the numbers of its calls."""

    audit: int
    numbers: dict[str, int]
    limit: int | None = None
    """From here on numbers are another kind's (x32)."""


def _numbers(text: str) -> dict[str, int]:
    pairs = (pair.split() for pair in text.split(","))
    return {name: int(number) for name, number in pairs}


_BOTH = """
    clone3 435, fsconfig 431, fsmount 432, fsopen 430, fspick 433, io_uring_enter 426,
    io_uring_register 427, io_uring_setup 425, mount_setattr 442, move_mount 429, open_tree 428,
    open_tree_attr 467, pidfd_getfd 438, quotactl_fd 443
"""
_X86_64 = """
    ioctl 16, socket 41, clone 56, ptrace 101, syslog 103, uselib 134, ustat 136, sysfs 139,
    vhangup 153, modify_ldt 154, pivot_root 155, _sysctl 156, adjtimex 159, chroot 161,
    acct 163, settimeofday 164, mount 165, umount2 166, swapon 167, swapoff 168, reboot 169,
    sethostname 170, setdomainname 171, iopl 172, ioperm 173, create_module 174,
    init_module 175, delete_module 176, quotactl 179, nfsservctl 180, lookup_dcookie 212,
    clock_settime 227, kexec_load 246, add_key 248, request_key 249, keyctl 250, unshare 272,
    perf_event_open 298, fanotify_init 300, name_to_handle_at 303, open_by_handle_at 304,
    clock_adjtime 305, setns 308, process_vm_readv 310, process_vm_writev 311, kcmp 312,
    finit_module 313, kexec_file_load 320, bpf 321, userfaultfd 323
"""
_AARCH64 = """
    lookup_dcookie 18, ioctl 29, umount2 39, mount 40, pivot_root 41, nfsservctl 42, chroot 51,
    vhangup 58, quotactl 60, acct 89, unshare 97, kexec_load 104, init_module 105,
    delete_module 106, clock_settime 112, syslog 116, ptrace 117, reboot 142, sethostname 161,
    setdomainname 162, settimeofday 170, adjtimex 171, socket 198, add_key 217, request_key 218,
    keyctl 219, clone 220, swapon 224, swapoff 225, perf_event_open 241, fanotify_init 262,
    name_to_handle_at 264, open_by_handle_at 265, clock_adjtime 266, setns 268,
    process_vm_readv 270, process_vm_writev 271, kcmp 272, finit_module 273, bpf 280,
    userfaultfd 282, kexec_file_load 294
"""
X86_64 = Machine(0xC000003E, _numbers(f"{_BOTH},{_X86_64}"), limit=X32)
AARCH64 = Machine(0xC00000B7, _numbers(f"{_BOTH},{_AARCH64}"))
MACHINES = {"x86_64": X86_64, "aarch64": AARCH64}


def program(machine: Machine) -> bytes:
    """The filter for bubblewrap's --seccomp: struct sock_filter, one after the other."""
    filter_ = _Filter()
    filter_.load(_ARCHITECTURE)
    filter_.unless_equal(machine.audit, "kill")
    filter_.load(_NUMBER)
    if machine.limit is not None:
        filter_.test(_JUMP_NOT_BELOW, machine.limit, "kill")
    for name in REFUSED:
        if name in machine.numbers:
            filter_.test(_JUMP_EQUAL, machine.numbers[name], "refuse")
    for name in ABSENT:
        filter_.test(_JUMP_EQUAL, machine.numbers[name], "absent")
    filter_.only(machine.numbers["clone"], _clone)
    filter_.only(machine.numbers["ioctl"], _ioctl)
    filter_.only(machine.numbers["socket"], _socket)
    filter_.verdict("allow", ALLOW)
    filter_.verdict("refuse", _ERRNO | errno.EPERM)
    filter_.verdict("absent", _ERRNO | errno.ENOSYS)
    filter_.verdict("family", _ERRNO | errno.EAFNOSUPPORT)
    filter_.verdict("kill", KILL)
    return filter_.assembled()


def _clone(filter_: _Filter) -> None:
    filter_.load(_argument(0))
    filter_.test(_JUMP_ANY, NEW_NAMESPACE, "refuse")


def _ioctl(filter_: _Filter) -> None:
    filter_.load(_argument(1))
    for request in TTY_INJECTION:
        filter_.test(_JUMP_EQUAL, request, "refuse")


def _socket(filter_: _Filter) -> None:
    filter_.load(_argument(0))
    for family in FAMILIES:
        filter_.test(_JUMP_EQUAL, family, "allow")
    filter_.unless_equal(_AF_NETLINK, "family")
    filter_.load(_argument(2))
    filter_.unless_equal(_NETLINK_ROUTE, "family")


def _argument(number: int) -> int:
    """The lower half of an argument: all that the kernel itself looks at, for these calls."""
    return _ARGUMENTS + 8 * number


class _Filter:
    """An assembler whose jumps have names. Every jump goes forward, as the kernel demands."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, str, str]] = []
        self._places: dict[str, int] = {}

    def load(self, offset: int) -> None:
        self._lines.append((_LOAD, offset, "", ""))

    def test(self, how: int, value: int, then: str) -> None:
        """Go to `then` when it holds, else on."""
        self._lines.append((how, value, then, ""))

    def unless_equal(self, value: int, then: str) -> None:
        self._lines.append((_JUMP_EQUAL, value, "", then))

    def only(self, number: int, rules: Callable[[_Filter], None]) -> None:
        """Rules for one call; what they let through is allowed, all others go past them."""
        past = f"past {number}"
        self.unless_equal(number, past)
        rules(self)
        self._lines.append((_RETURN, ALLOW, "", ""))
        self._places[past] = len(self._lines)

    def verdict(self, name: str, value: int) -> None:
        self._places[name] = len(self._lines)
        self._lines.append((_RETURN, value, "", ""))

    def assembled(self) -> bytes:
        words = []
        for here, (code, value, then, otherwise) in enumerate(self._lines):
            far = [self._places[name] - here - 1 if name else 0 for name in (then, otherwise)]
            words.append(struct.pack("<HBBI", code, *far, value))
        return b"".join(words)
