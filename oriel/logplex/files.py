"""Owns exact reads and writes of files. Must not know what is in them."""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any
from zlib import crc32

_PART_BYTES = 1024 * 1024


def read_at(fd: int, size: int, offset: int) -> bytes:
    """`size` bytes from `offset`, fewer only where the file ends."""
    data = os.pread(fd, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    got = len(data)
    while got < size and (data := os.pread(fd, size - got, offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """All of `data` to `offset`; raises OSError (a part may then be there)."""
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def mapped(path: Path, size: int) -> mmap.mmap:
    """A file of that size, made where it is not so, in memory: what is written there outlives a
    SIGKILL, also where the disk is full by then. Raises OSError when it is full already.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(fd).st_size != size:
            os.ftruncate(fd, 0)
            # Blocks that are there: a page without one cannot be written on a full disk.
            write_at(fd, bytes(size), 0)
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def checksum(fd: int, size: int) -> int:
    """CRC-32 of a file's first `size` bytes."""
    total = 0
    for at in range(0, size, _PART_BYTES):
        total = crc32(read_at(fd, min(_PART_BYTES, size - at), at), total)
    return total


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a file by `value` and its checksum, durably and all at once."""
    body = json.dumps(value, separators=(",", ":")).encode()
    draft = path.with_name(path.name + ".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_at(fd, body + b"\n%08x\n" % crc32(body), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(draft, path)
    sync_directory(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None when it is not there or not as it was written."""
    try:
        body, _, check = path.read_bytes().rstrip(b"\n").rpartition(b"\n")
        if int(check, 16) != crc32(body):
            return None
        value = json.loads(body)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
