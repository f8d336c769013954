"""Owns the few pages of memory that datagrams are received into, and that outlive a SIGKILL.

A datagram is gone from its socket once it is received. So the kernel writes it straight into a
file that is mapped here: whoever is killed before its lines are stored finds them again at the
next start. Must not know what the datagrams say, but that each is one line.

Format: 64 bytes of head (8 of magic, 1 of state, 36 of the boot's id), then lines, then zeros.
After a loss of power its pages may be of any age: another boot's are not looked at.
"""

from __future__ import annotations

import socket
from pathlib import Path

from oriel.logplex import files

LINE_BYTES = 64 * 1024
"""A datagram is at most this long."""

_SIZE = 1024 * 1024
_HEAD = 64
_MAGIC = b"orielrl\1"
_STATE = len(_MAGIC)
_HOLDS, _EMPTY = 1, 0


class Catch:
    """One file of received lines, mapped."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Open or make it. Raises OSError when the disk is full."""
        self._map = files.mapped(path, _SIZE)
        self._view = memoryview(self._map)
        self._used = _HEAD
        head = _MAGIC + bytes([_HOLDS]) + boot_id.encode()[:36].ljust(36)
        found = self._map[: len(head)]
        self.left = self._map[_HEAD:].rstrip(b"\0") if found == head else b""
        """The lines that were received before a kill and may not have been stored."""
        self._head = head
        if not self.left:
            self.clear()

    def take(self, sock: socket.socket) -> bool:
        """Receive a datagram; False when there is no room for one more.

        Raises BlockingIOError when there is none, and OSError.
        """
        start = self._used
        if start + LINE_BYTES >= _SIZE:
            return False
        place = self._view[start : start + LINE_BYTES]
        size = sock.recv_into(place)
        stop = start + size
        if not size or place[size - 1] != 10:
            self._view[stop] = 10
            stop += 1
        self._used = stop
        return True

    @property
    def lines(self) -> bytes:
        """All that was received since it was cleared, each datagram with its newline."""
        return bytes(self._view[_HEAD : self._used])

    def clear(self) -> None:
        """What it holds is stored."""
        self._view[_STATE] = _EMPTY
        used = _SIZE if self._used == _HEAD else self._used
        self._view[_HEAD:used] = bytes(used - _HEAD)
        self._view[: len(self._head)] = self._head
        self._used = _HEAD

    def close(self) -> None:
        """Unmap it."""
        self._view.release()
        self._map.close()
