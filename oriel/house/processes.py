"""Owns knowing a process again: pid, start time and boot id, kept in a pid file, seen by a pidfd.

Must not know which processes there are. A pid alone means nothing after a kill or a reboot; with
the start time and the boot id it names one process for ever.
"""

from __future__ import annotations

import json
import os
import select
from dataclasses import dataclass
from pathlib import Path

VERSION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of one boot of one machine."""

    pid: int
    start_time: int
    boot_id: str
    started_with: str = ""
    """Digest of the settings it was started with."""

    def to_json(self) -> str:
        """The text of a pid file."""
        return json.dumps(
            {
                "version": VERSION,
                "pid": self.pid,
                "start_time": self.start_time,
                "boot_id": self.boot_id,
                "started_with": self.started_with,
            }
        )


def boot_id() -> str:
    """What tells this boot from every other one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time from /proc/PID/stat, whatever the program's name holds."""
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def identify(pid: int, started_with: str = "") -> Identity:
    """The identity of a process that is alive now; raises OSError when there is none."""
    _, start_time = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    return Identity(pid, start_time, boot_id(), started_with)


def write_pid_file(path: Path, identity: Identity) -> None:
    """Keep `identity` at `path`, whole or not at all."""
    draft = path.with_suffix(f".{os.getpid()}.new")
    draft.write_text(identity.to_json() + "\n")
    os.replace(draft, path)


def read_pid_file(path: Path) -> Identity | None:
    """The identity kept at `path`; None where there is none that can be read."""
    try:
        read = json.loads(path.read_text())
        if read["version"] != VERSION:
            return None
        return Identity(
            int(read["pid"]),
            int(read["start_time"]),
            str(read["boot_id"]),
            str(read["started_with"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def open_again(identity: Identity) -> int | None:
    """A pidfd of exactly that process, or None when it is gone.

    The pidfd comes first and the comparison after it: the other way round the pid could pass to
    another process in between.
    """
    if identity.boot_id != boot_id() or identity.pid <= 1:
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    try:
        state, start_time = parse_stat(Path(f"/proc/{identity.pid}/stat").read_text())
        same = start_time == identity.start_time and state not in "ZX"
    except (OSError, ValueError, IndexError):
        same = False
    if not same:
        os.close(pidfd)
        return None
    return pidfd


def wait_for_end(pidfd: int, timeout_s: float) -> bool:
    """Wait until the process is gone; False when it still is there after `timeout_s`."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
