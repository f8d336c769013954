"""Owns a small append-only file of checked rows: one JSON object a line, behind its checksum.

A torn last row is cut, a damaged one is left out. Must not know what the rows say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

from oriel.logplex import files

_FILE_BYTES_MAX = 64 * 1024 * 1024


def load(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that are as they were written, oldest first; none when it is not there."""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX)
    except OSError:
        return []
    found = []
    for line in data.split(b"\n")[:-1]:
        check, _, body = line.partition(b" ")
        try:
            if int(check, 16) == crc32(body) and isinstance(value := json.loads(body), dict):
                found.append(value)
        except ValueError:
            continue
    return found


def append(path: Path, value: dict[str, Any]) -> None:
    """Add a row, durably. May raise OSError; the file then ends as before, or with a torn row."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(fd).st_size
        whole = size
        if size and files.read_at(fd, 1, size - 1) != b"\n":
            # A row that a kill tore: it is ended here, and its checksum says what it is.
            whole = size + 1
            files.write_at(fd, b"\n", size)
        try:
            files.write_at(fd, _packed(value), whole)
        except OSError:
            os.ftruncate(fd, whole)
            raise
        os.fdatasync(fd)
    finally:
        os.close(fd)


def replace(path: Path, values: Iterable[dict[str, Any]]) -> None:
    """Have these rows and no others, durably and all at once."""
    draft = path.with_name(path.name + ".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        files.write_at(fd, b"".join(map(_packed, values)), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(draft, path)


def _packed(value: dict[str, Any]) -> bytes:
    body = json.dumps(value, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(body), body)
