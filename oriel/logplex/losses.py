"""Owns the account of the router's lines that are lost or would be: a file that outlives a SIGKILL.

Where the disk is full nothing can be added to a file, so its pages are there from the start, and
mapped. Without it (the disk was full already) the account is in memory alone. Must not know what a
line says.

Format: a head (8 bytes of magic, 36 of the boot's id, a socket's inode, how many of its drops were
told, and until when there was no other), then rows: a channel, since when its disk takes nothing,
lines that wait in memory, lines that are lost, checksums of the newest line of both and of the
newest that waits. A row without a name is free. Another boot's account is not looked at: what it
counts was told, or went with the power.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from oriel.logplex import files

_HEAD = struct.Struct("=8s36sQQQ")
_ROW = struct.Struct("=64sQQQII")
_MAGIC = b"orielrl2"
_ROWS = 512
_START = 128
_SIZE = _START + _ROWS * _ROW.size


@dataclass(frozen=True, slots=True)
class Row:
    """What a channel would miss if logplex were killed now."""

    since_us: int
    waiting: int
    """Lines in memory, for when the disk takes something again."""
    lost: int = 0
    newest_crc: int = 0
    """Of the newest line that was counted here, either way."""
    waiting_crc: int = 0
    """Of the newest that waits."""

    def after(self, caught: list[bytes], stored: bytes) -> int:
        """How many lines are lost for good after a kill.

        `caught` are the channel's lines that were received in the last turn and are still there;
        `stored` is the newest line that the channel has.
        """
        # A turn is counted as a whole: it is in here, or not at all.
        again = len(caught) if caught and crc32(caught[-1]) == self.newest_crc else 0
        kept = self.waiting if stored and crc32(stored) == self.waiting_crc else 0
        return max(0, self.waiting + self.lost - again - kept)


class Losses:
    """The account, by channel, and of a socket as a whole."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Open or make it. Without room for it all works, and a kill makes it forget."""
        self._map: mmap.mmap | None = None
        self._places: dict[str, int] = {}
        self.left: Mapping[str, Row] = {}
        """What a killed predecessor had in it."""
        self.told_of: tuple[int, int, int] = (0, 0, 0)
        """A socket's inode, how many of its drops were told, until when there was no other."""
        self._boot_id = boot_id.encode()[:36].ljust(36)
        try:
            self._map = files.mapped(path, _SIZE)
        except OSError:
            return
        magic, boot, *told_of = _HEAD.unpack_from(self._map)
        if magic != _MAGIC or boot != self._boot_id:
            self._map[:] = bytes(_SIZE)
            self.tell_of(0, 0, 0)
            return
        self.told_of = (told_of[0], told_of[1], told_of[2])
        self.left = self._read(self._map)

    def put(self, channel: str, row: Row) -> None:
        """Keep a channel's row; of more channels than there is room for, in memory alone."""
        name = channel.encode()
        if self._map is None or len(name) > 64:
            return
        place = self._places.get(channel)
        if place is None:
            taken = set(self._places.values())
            place = next((each for each in range(_ROWS) if each not in taken), None)
            if place is None:
                return
            self._places[channel] = place
        values = (row.since_us, row.waiting, row.lost, row.newest_crc, row.waiting_crc)
        _ROW.pack_into(self._map, _START + place * _ROW.size, name, *values)

    def clear(self, channel: str) -> None:
        """Nothing of the channel is lost, or it was told."""
        place = self._places.pop(channel, None)
        if self._map is not None and place is not None:
            start = _START + place * _ROW.size
            self._map[start : start + _ROW.size] = bytes(_ROW.size)

    def tell_of(self, inode: int, told: int, quiet_us: int) -> None:
        """So many drops of that socket were told, and until then there was no other."""
        self.told_of = (inode, told, quiet_us)
        if self._map is not None:
            _HEAD.pack_into(self._map, 0, _MAGIC, self._boot_id, inode, told, quiet_us)

    def close(self) -> None:
        """Unmap it."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def _read(self, data: mmap.mmap) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for place in range(_ROWS):
            name, *values = _ROW.unpack_from(data, _START + place * _ROW.size)
            channel = name.rstrip(b"\0").decode("ascii", "replace")
            if channel:
                found[channel] = Row(*values)
                self._places[channel] = place
        return found
