"""Owns the note beside a dyno's FIFO that says: control reads it now, and throws away.

When output cannot be taken for too long, control locks the note and reads the FIFO. Logplex leaves
a FIFO alone whose note is locked; a note that nobody locks says what was lost, and logplex tells it
and removes the note. The lock goes with the process that has it, so that neither waits for a dead
one. Must not know who writes to the FIFO.
"""

from __future__ import annotations

import builtins
import fcntl
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

NAME = "overflow"

_NOTE = struct.Struct("<8sHHQQQ")
_MAGIC = b"orielL12"
_VERSION = 1
_IN_LINE = 1


@dataclass(frozen=True, slots=True)
class Lost:
    """What was thrown away of a dyno's output."""

    since_us: int
    bytes: int = 0
    lines: int = 0
    in_line: bool = False
    """Whether it ended in the middle of a line, whose rest is still to come."""

    def plus(self, data: builtins.bytes) -> Lost:
        """With these bytes more."""
        if not data:
            return self
        return replace(
            self,
            bytes=self.bytes + len(data),
            lines=self.lines + data.count(b"\n"),
            in_line=not data.endswith(b"\n"),
        )

    @property
    def messages(self) -> int:
        """Its lines, one that was only begun among them."""
        return self.lines + self.in_line


class Note:
    """A note that this process has locked."""

    def __init__(self, fd: int) -> None:
        """Use `lock`."""
        self._fd = fd

    @classmethod
    def lock(cls, path: Path, *, make: bool) -> Note | None:
        """Lock the note of a dyno; None when there is none, or another process has it."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
        try:
            fd = os.open(path, flags, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return cls(fd)
        except OSError:
            pass
        os.close(fd)
        return None

    def read(self) -> Lost | None:
        """What it says; None when it says nothing that can be read."""
        data = os.pread(self._fd, _NOTE.size + 4, 0)
        body = data[: _NOTE.size]
        if len(data) < _NOTE.size + 4 or crc32(body) != int.from_bytes(data[-4:], "little"):
            return None
        magic, version, flags, since_us, size, lines = _NOTE.unpack(body)
        if magic != _MAGIC or version != _VERSION:
            return None
        return Lost(since_us, size, lines, bool(flags & _IN_LINE))

    def write(self, lost: Lost) -> None:
        """Have it say this. It is not synced: a loss of power ends the dyno too."""
        flags = _IN_LINE if lost.in_line else 0
        body = _NOTE.pack(_MAGIC, _VERSION, flags, lost.since_us, lost.bytes, lost.lines)
        os.pwrite(self._fd, body + crc32(body).to_bytes(4, "little"), 0)

    def let_go(self) -> None:
        """Unlock it; what it says stays."""
        os.close(self._fd)
