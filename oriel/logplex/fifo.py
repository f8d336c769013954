"""Owns a dyno's FIFO as logplex has it: whose it is, and opening it. Must not read from it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import stat
from dataclasses import dataclass
from pathlib import Path

from oriel import faults
from oriel.logplex.channel import Channel, check_name
from oriel.logplex.sources import Source

_INSTANCE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,127}")
_IDENTITY_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Of whom a FIFO is, as `identity.json` says."""

    channel: str
    name: str
    release: int


@dataclass(slots=True)
class Inlet:
    """An open FIFO. `held` are bytes read where splice cannot, which the disk did not take."""

    instance: str
    fd: int
    channel: Channel
    source: Source
    held: bytes = b""
    reads: bool = False
    moved: int = 0
    late: bool = False
    """Its dyno has ended; some process of it still has the FIFO open."""
    away: bool = False
    """Control reads it."""
    skips: bool = False
    """What comes next is the rest of a line whose beginning was thrown away."""

    def shown(self, *, blocked: bool) -> dict[str, object]:
        """What control asks about it."""
        return {"moved": self.moved, "blocked": blocked, "flood": self.channel.policy.flood}


def identity_of(dynos: Path, instance: str) -> Identity:
    """What `identity.json` of a dyno says; raises NotFound or Invalid."""
    path = dynos / instance / "identity.json"
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_IDENTITY_BYTES_MAX))
        return Identity(
            check_name(value["channel"]), str(value["name"])[:200], int(value["release"])
        )
    except FileNotFoundError:
        raise faults.NotFound(f"There is no dyno {instance}.", resource="dyno") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise faults.Invalid(f"{path.name} of dyno {instance} cannot be read: {error!r}") from error


def open_fifo(dynos: Path, instance: str, pipe_bytes: int) -> int:
    """The FIFO of a dyno, open for reading; raises NotFound, Invalid or Unavailable."""
    path = dynos / instance / "out"
    try:
        # O_RDWR: it never ends, and holds what a dyno wrote before it died.
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise faults.NotFound(f"Dyno {instance} has no output.", resource="dyno") from None
    except OSError as error:
        raise unavailable(error) from error
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise faults.Invalid(f"The output of dyno {instance} is not a FIFO.")
    if os.geteuid() == 0:
        # An ordinary user has few pages for pipes, and new pipes shrink when they are used up.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, pipe_bytes)
    return fd


def reader_of(fd: int) -> int:
    """The same FIFO once more, opened as one who only reads: it hears of the last writer's end."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1


def is_hung_up(fd: int) -> bool:
    """Whether nobody can write to it any more; it is then closed."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    if any(events & select.POLLHUP for _, events in poller.poll(0)):
        os.close(fd)
        return True
    return False


def checked(instance: object) -> str:
    """An instance's name from outside; raises Invalid. It is a directory's name."""
    if not isinstance(instance, str) or not _INSTANCE.fullmatch(instance):
        raise faults.Invalid("An instance is named by letters, digits, -, _ and dots.")
    return instance


def unavailable(error: OSError) -> faults.Unavailable:
    """What is said when the disk takes nothing."""
    return faults.Unavailable(
        f"Logplex cannot write: {error.strerror or error}.",
        hint="Make room on the disk; it goes on by itself.",
    )
