"""Owns what `oriel doctor` says: a judgement of what `probes` saw, and what to type about it.

Pure: a Machine comes in, Findings go out. Must not look at the machine itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from oriel.house.preflight import PROGRAMS
from oriel.house.probes import Machine
from oriel.house.settings import NO_ISOLATION

State = Literal["ok", "warn", "fail"]

LEAST_VERSIONS = {"bwrap": (0, 8), "haproxy": (2, 4), "git": (2, 30)}
"""bubblewrap 0.8 has --disable-userns; HAProxy 2.4 deletes servers at run time."""

LEAST_KERNEL = (5, 6)
"""pidfd_open is of 5.3, pidfd_getfd of 5.6."""

LEAST_PYTHON_MINOR = 8
GIB = 1024**3
DISK_FAIL_BYTES = GIB // 4
DISK_WARN_BYTES = 2 * GIB
INODES_WARN = 50_000
FILES_FAIL = 1024
FILES_WARN = 16_384
FIRST_SANE_YEAR = 2026
MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "vboxsf"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and what to type where it is not well."""

    name: str
    state: State
    said: str
    fix: str = ""


def judge(machine: Machine) -> tuple[Finding, ...]:
    """Everything there is to say of a machine, in reading order."""
    return (
        _kernel(machine),
        *_programs(machine),
        _interpreters(machine),
        _user_namespaces(machine),
        _isolation(machine),
        _overlay(machine),
        _cgroups(machine),
        _network(machine),
        _data(machine),
        _disk(machine),
        _files(machine),
        _clock(machine),
        *_ports(machine),
        *_docker(machine),
    )


def _sudo(machine: Machine) -> str:
    return "" if machine.root else "sudo "


def _kernel(machine: Machine) -> Finding:
    if _numbers(machine.kernel) < LEAST_KERNEL or not machine.pidfd:
        return Finding(
            "kernel",
            "fail",
            f"Linux {machine.kernel} lacks what Oriel needs (pidfd, of 5.6).",
            f"Type: {_sudo(machine)}apt-get dist-upgrade, then start the machine again.",
        )
    if "overlay" not in machine.filesystems and not machine.overlay:
        return Finding(
            "kernel",
            "warn",
            f"Linux {machine.kernel}; overlayfs is not loaded.",
            f"Type: {_sudo(machine)}modprobe overlay",
        )
    return Finding("kernel", "ok", f"Linux {machine.kernel}.")


def _programs(machine: Machine) -> Iterator[Finding]:
    for name, package in PROGRAMS.items():
        version = machine.programs.get(name)
        install = f"Type: {_sudo(machine)}apt-get install {package}"
        least = LEAST_VERSIONS[name]
        wanted = ".".join(str(part) for part in least)
        if version is None:
            yield Finding(package, "fail", f"{package} is not installed.", install)
        elif not version:
            yield Finding(package, "warn", f"{package} does not tell its version.", install)
        elif _numbers(version) < least:
            yield Finding(
                package, "fail", f"{package} {version} is too old; {wanted} is needed.", install
            )
        else:
            yield Finding(package, "ok", f"{package} {version}.")


def _interpreters(machine: Machine) -> Finding:
    fit = [name for name in machine.interpreters if int(name[8:]) >= LEAST_PYTHON_MINOR]
    own = ".".join(str(part) for part in sys.version_info[:3])
    if fit:
        return Finding("python", "ok", f"Oriel runs on {own}; apps can have {', '.join(fit)}.")
    return Finding(
        "python",
        "warn",
        f"Oriel runs on {own}, but apps can use no Python: there is none in /usr/bin.",
        f"Type: {_sudo(machine)}apt-get install python3 python3-venv",
    )


def _user_namespaces(machine: Machine) -> Finding:
    name = "user namespaces"
    if machine.user_namespaces:
        return Finding(name, "ok", "Sandboxes can be made.")
    if machine.programs.get("bwrap") is None:
        return Finding(
            name,
            "fail",
            "Not tried: bubblewrap is missing.",
            f"Type: {_sudo(machine)}apt-get install bubblewrap",
        )
    for sysctl, forbids, value in (
        ("kernel/apparmor_restrict_unprivileged_userns", 1, 0),
        ("kernel/unprivileged_userns_clone", 0, 1),
        ("user/max_user_namespaces", 0, 15000),
    ):
        if machine.sysctls.get(sysctl) == forbids:
            dotted = sysctl.replace("/", ".")
            by = "AppArmor forbids" if "apparmor" in sysctl else "The kernel's settings forbid"
            return Finding(
                name,
                "fail",
                f"{by} user namespaces ({dotted} = {forbids}), so bubblewrap cannot start.",
                f"Type: echo '{dotted} = {value}' | {_sudo(machine)}tee "
                f"/etc/sysctl.d/60-oriel.conf && {_sudo(machine)}sysctl --system",
            )
    why = " ".join(machine.sandbox_why) or "bubblewrap does not start."
    return Finding(
        name,
        "fail",
        f"Sandboxes cannot be made: {why}",
        "In a container, allow it nested user namespaces and mounts (for Docker: "
        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
        "--cap-add SYS_ADMIN).",
    )


def _isolation(machine: Machine) -> Finding:
    if machine.isolation == NO_ISOLATION:
        return Finding(
            "isolation",
            "warn",
            "--isolation none: every app can do what its user can, and nothing limits it.",
            f"Type: {_sudo(machine)}oriel up --isolation bubblewrap",
        )
    if machine.root and machine.staging == "root":
        return Finding("isolation", "ok", "As root: each app has a user of its own.")
    if machine.root:
        return Finding(
            "isolation",
            "fail",
            " ".join(("root may not mount here, so no app can be isolated.", *machine.sandbox_why)),
            "Give the container CAP_SYS_ADMIN, or run Oriel outside of it.",
        )
    return Finding(
        "isolation",
        "warn",
        "Not root: all apps run as your user; their files and processes are hidden from each "
        "other by bubblewrap alone.",
        "Type: sudo oriel up (for apps of people who do not trust each other)",
    )


def _overlay(machine: Machine) -> Finding:
    if machine.overlay:
        return Finding("overlay", "ok", "An app's files are an overlay: a dyno starts at once.")
    why = " ".join(machine.sandbox_why)
    return Finding(
        "overlay",
        "warn",
        f"No overlay: each dyno gets a copy of its slug, and starts more slowly. {why}".rstrip(),
        f"Type: {_sudo(machine)}modprobe overlay; then oriel doctor again.",
    )


def _cgroups(machine: Machine) -> Finding:
    if not machine.cgroups:
        return Finding(
            "cgroups",
            "warn",
            "There are no cgroups: a dyno's memory can be measured, not limited.",
            "Type: mount | grep cgroup, to see what the machine has.",
        )
    if not machine.cgroup_writable:
        return Finding(
            "cgroups",
            "warn",
            f"cgroups {machine.cgroups}, not writable here: a dyno's memory is measured, not "
            "limited.",
            "Type: systemd-run --user --scope -p Delegate=yes oriel up",
        )
    return Finding("cgroups", "ok", f"cgroups {machine.cgroups}, writable: dynos have hard limits.")


def _network(machine: Machine) -> Finding:
    if machine.network:
        return Finding(
            "network",
            "ok",
            "Each dyno has a network of its own: it reaches the internet, and neither other dynos "
            "nor this machine.",
        )
    shared = (
        f"Dynos share this machine's network ({machine.network_why}): they reach what listens on "
        "its loopback, other apps too."
    )
    if not machine.root:
        fix = "Type: sudo oriel up; or run only apps whose authors you trust."
    elif "nftables" in machine.network_why:
        fix = "Type: apt-get install nftables"
    else:
        fix = "In a container, allow it CAP_NET_ADMIN and veth devices."
    return Finding("network", "warn", shared, fix)


def _data(machine: Machine) -> Finding:
    if machine.data_problem:
        return Finding(
            "data directory",
            "fail",
            f"{machine.data_problem}.",
            "Choose one of your own: oriel up --data DIR",
        )
    if machine.disk_type in MEMORY_FILE_SYSTEMS:
        return Finding(
            "data directory",
            "warn",
            f"{machine.data} lies in memory ({machine.disk_type}): a restart of the machine "
            "empties it.",
            "Choose one on a disk: oriel up --data DIR",
        )
    if machine.disk_type in NETWORK_FILE_SYSTEMS:
        return Finding(
            "data directory",
            "warn",
            f"{machine.data} lies on another machine ({machine.disk_type}), where locks and "
            "SQLite are not safe.",
            "Choose one on a local disk: oriel up --data DIR",
        )
    return Finding("data directory", "ok", f"{machine.data} can be used.")


def _disk(machine: Machine) -> Finding:
    free, inodes = machine.disk_free_bytes, machine.disk_free_inodes
    if free is None:
        return Finding("disk", "warn", "The disk's free space is not known.", "Type: df -h")
    said = f"{free / GIB:.1f} GiB free at {machine.data}"
    make_room = f"Make room (see: du -xh {machine.data} | sort -h | tail), or choose another disk."
    if free < DISK_FAIL_BYTES:
        return Finding("disk", "fail", f"Only {said}.", make_room)
    if free < DISK_WARN_BYTES:
        return Finding("disk", "warn", f"Only {said}.", make_room)
    if inodes is not None and inodes < INODES_WARN:
        return Finding("disk", "warn", f"{said}, but only {inodes} files more fit.", make_room)
    return Finding("disk", "ok", f"{said}.")


def _files(machine: Machine) -> Finding:
    hard = machine.files_hard
    fix = (
        f"Type: ulimit -Hn {FILES_WARN * 4} before oriel up (systemd: LimitNOFILE={FILES_WARN * 4})"
    )
    if hard < 0:
        return Finding("open files", "ok", "No limit to open files.")
    if hard < FILES_FAIL:
        return Finding("open files", "fail", f"Only {hard} files may be open.", fix)
    if hard < FILES_WARN:
        said = f"{hard} files may be open: enough for some tens of dynos, not for hundreds."
        return Finding("open files", "warn", said, fix)
    return Finding("open files", "ok", f"{hard} files may be open.")


def _clock(machine: Machine) -> Finding:
    fix = f"Type: {_sudo(machine)}timedatectl set-ntp true"
    if machine.clock_year < FIRST_SANE_YEAR:
        return Finding(
            "clock", "fail", f"The clock says it is {machine.clock_year}; that is wrong.", fix
        )
    if machine.clock_synchronised is False:
        return Finding("clock", "warn", "Nothing keeps the clock right.", fix)
    if machine.clock_synchronised is None:
        return Finding("clock", "ok", "The clock is sane; whether it is kept right is not known.")
    return Finding("clock", "ok", "The clock is kept right.")


def _ports(machine: Machine) -> Iterator[Finding]:
    for port in machine.ports:
        name = f"port {port.address.port}"
        if port.ours:
            yield Finding(name, "ok", f"{port.address} is Oriel's own; it is up.")
        elif port.problem:
            yield Finding(name, "fail", port.problem, port.hint)
        else:
            yield Finding(name, "ok", f"{port.address} is free.")


def _docker(machine: Machine) -> Iterator[Finding]:
    """A Docker engine sets FORWARD to DROP: that cuts off dynos with networks of their own."""
    if machine.forward_policy == "DROP":
        yield Finding(
            "forwarding",
            "warn",
            "The firewall drops what is forwarded (a Docker engine sets that): dynos do not reach "
            "the internet.",
            f"Type: {_sudo(machine)}iptables -I FORWARD -i 'or+' -j ACCEPT && {_sudo(machine)}"
            "iptables -I FORWARD -o 'or+' -m state --state ESTABLISHED,RELATED -j ACCEPT",
        )
    elif machine.docker and machine.forward_policy is None:
        yield Finding(
            "forwarding",
            "warn",
            "There is a Docker engine; whether it drops what is forwarded is not known.",
            "Type: sudo iptables -S FORWARD, and look for `-P FORWARD DROP`.",
        )


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (6, 18) of `6.18.5-amd64`."""
    found = list[int]()
    for part in version.split("-")[0].split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
