"""Owns the sync marker: how much of a channel a power loss cannot take. Must not know records.

Two slots are written in turn, so that a torn write leaves the older one. After a boot that is not
the marker's, the tail beyond it may have bytes without entries, or the reverse.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from oriel.logplex import entry, files

_SLOT = struct.Struct("<8sHH36sQQQQI")
_SLOT_BYTES = 512
_MAGIC = b"orielmrk"


@dataclass(frozen=True, slots=True)
class Mark:
    """Of boot `boot_id`: these sizes of this segment, and all before it, are on disk."""

    boot_id: str
    segment: int
    records: int
    size: int


class MarkFile:
    """The marker file of one channel."""

    def __init__(self, path: Path) -> None:
        """Open or create it."""
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turn = 0

    def load(self) -> Mark | None:
        """The newest marker that is whole; None when there is none."""
        newest: Mark | None = None
        data = files.read_at(self._fd, 2 * _SLOT_BYTES, 0)
        for at in (0, _SLOT_BYTES):
            slot = data[at : at + _SLOT.size]
            if len(slot) < _SLOT.size or crc32(slot[:-4]) != int.from_bytes(slot[-4:], "little"):
                continue
            magic, version, _, boot, turn, segment, records, size, _ = _SLOT.unpack(slot)
            if magic != _MAGIC or version != entry.FORMAT or turn < self._turn:
                continue
            self._turn = turn
            newest = Mark(boot.rstrip(b"\0").decode("ascii", "replace"), segment, records, size)
        return newest

    def write(self, mark: Mark) -> None:
        """Write a marker durably; what it names must be on disk already."""
        self._turn += 1
        body = _SLOT.pack(
            _MAGIC,
            entry.FORMAT,
            0,
            mark.boot_id.encode("ascii", "replace")[:36],
            self._turn,
            mark.segment,
            mark.records,
            mark.size,
            0,
        )[:-4]
        slot = body + crc32(body).to_bytes(4, "little")
        files.write_at(self._fd, slot.ljust(_SLOT_BYTES, b"\0"), self._turn % 2 * _SLOT_BYTES)
        os.fdatasync(self._fd)

    def renew(self) -> None:
        """Somebody deleted the file: begin another. May raise OSError."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(self._fd)
        self._fd = fd

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
