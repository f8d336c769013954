"""Owns hearing of files that appear in a directory, by inotify. Must not know what they mean."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

_CLOSE_WRITE = 0x8
_MOVED_TO = 0x80
_EVENT = struct.Struct("iIII")


class Watch:
    """Calls back with the path of each file written into or moved into the watched directories."""

    def __init__(self, directories: tuple[Path, ...], appeared: Callable[[Path], None]) -> None:
        """Watch from now on, in the running event loop."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._appeared = appeared
        self._directories: dict[int, Path] = {}
        for directory in directories:
            number = libc.inotify_add_watch(
                self._descriptor, os.fsencode(directory), _CLOSE_WRITE | _MOVED_TO
            )
            if number < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(directory))
            self._directories[number] = directory
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Hear no more."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            events = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(events):
            number, _, _, length = _EVENT.unpack_from(events, offset)
            offset += _EVENT.size
            name = events[offset : offset + length].rstrip(b"\0")
            offset += length
            if name and number in self._directories:
                self._appeared(self._directories[number] / os.fsdecode(name))
