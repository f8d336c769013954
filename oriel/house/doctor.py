"""Owns what `oriel doctor` says: a judgement of what `probes` saw, and what to type about it.

Pure: a Machine comes in, Findings go out. Must not look at the machine itself. What apps stand on
is judged by `ground`, ports and router by `edge`, where things are kept in here.
"""

from __future__ import annotations

from oriel.house import edge, ground
from oriel.house.findings import Finding, sudo
from oriel.house.probes import Machine

GIB = 1024**3
DISK_FAIL_BYTES = GIB // 4
DISK_WARN_BYTES = 2 * GIB
INODES_WARN = 50_000
FILES_FAIL = 1024
FILES_WARN = 16_384
FIRST_SANE_YEAR = 2026
MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "vboxsf"})


def judge(machine: Machine) -> tuple[Finding, ...]:
    """Everything there is to say of a machine, in reading order."""
    return (
        *ground.judge(machine),
        _data(machine),
        _disk(machine),
        _files(machine),
        _clock(machine),
        *edge.judge(machine),
    )


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
    fix = f"Type: {sudo(machine)}timedatectl set-ntp true"
    if machine.clock_year < FIRST_SANE_YEAR:
        return Finding(
            "clock", "fail", f"The clock says it is {machine.clock_year}; that is wrong.", fix
        )
    if machine.clock_synchronised is False:
        return Finding("clock", "warn", "Nothing keeps the clock right.", fix)
    if machine.clock_synchronised is None:
        return Finding("clock", "ok", "The clock is sane; whether it is kept right is not known.")
    return Finding("clock", "ok", "The clock is kept right.")
