"""Owns the manifest of a finished segment: its sources with counts, its extent, its checksums.

Must not know channels. Made from the files alone, in a thread, so that the loop goes on; with it
a reader or an archiver need not open a segment to know who is in it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from oriel.logplex import entry, files, frame
from oriel.logplex.segment import data_path, index_path, seal_path

BLOCK_BYTES = 1024 * 1024
"""Data is checksummed in blocks, so that a reader can check what it reads and no more."""

SLICE_RECORDS = 512
REST_S = 0.0005
"""Counting is Python, and holds the interpreter: it rests after each slice of about 1 ms."""

_WINDOW_BYTES = 256 * 1024


@dataclass(slots=True)
class Count:
    """What one source said in a segment; `last` is the number of its last record."""

    records: int = 0
    bytes: int = 0
    lines: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Seal:
    """A finished segment, in short."""

    segment: int
    records: int
    size: int
    first_us: int
    last_us: int
    last_id: int
    """The last outbox id kept in the channel up to here."""
    damaged: int
    """Entries that cannot be read."""
    index_crc: int
    block_crcs: tuple[int, ...]
    sources: dict[int, Count]

    def lines(self, wanted: set[int] | None) -> int:
        """How many lines end here, of all sources or of those wanted."""
        return sum(
            each.lines for key, each in self.sources.items() if wanted is None or key in wanted
        )


def load(directory: Path, number: int) -> Seal | None:
    """The manifest of a segment; None when there is none that can be trusted."""
    value = files.read_json(seal_path(directory, number))
    try:
        return _from_json(value) if value and value["version"] == entry.FORMAT else None
    except (KeyError, TypeError, ValueError):
        return None


def make(directory: Path, number: int, last_id: int) -> Seal:
    """Make a segment durable, count it, and write its manifest. `last_id`: of those before.

    Raises FileNotFoundError when somebody removed its files. For a thread.
    """
    data_fd = os.open(data_path(directory, number), os.O_RDONLY | os.O_CLOEXEC)
    try:
        index_fd = os.open(index_path(directory, number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(data_fd)
            os.fdatasync(index_fd)
            made = count(data_fd, index_fd, number, last_id)
        finally:
            os.close(index_fd)
    finally:
        os.close(data_fd)
    files.write_json(seal_path(directory, number), _to_json(made))
    return made


def count(data_fd: int, index_fd: int, number: int, last_id: int) -> Seal:
    """What is in a segment's files. For a thread: it rests, so that the loop goes on."""
    size = os.fstat(data_fd).st_size
    index = files.read_at(index_fd, os.fstat(index_fd).st_size, 0)
    broken = not entry.header_sound(index, number)
    body = b"" if broken else index[entry.SIZE : len(index) - len(index) % entry.SIZE]
    sources: dict[int, Count] = {}
    window = _Window(data_fd)
    first_us = last_us = damaged = 0
    for part in entry.parts(body, size, SLICE_RECORDS):
        damaged += part.unsound
        for at, (time_us, offset, source, _, kind, *_rest), stop in part.spans:
            data = window.read(offset, stop)
            each = sources.setdefault(source, Count())
            each.records += 1
            each.bytes += len(data)
            each.lines += data.count(b"\n")
            each.last = at
            first_us = first_us or time_us
            last_us = time_us
            if kind == entry.PLATFORM:
                last_id = max(last_id, frame.last_id(data))
        time.sleep(REST_S)
    return Seal(
        number,
        len(body) // entry.SIZE,
        size,
        first_us,
        last_us,
        last_id,
        damaged + broken,
        crc32(index),
        tuple(
            crc32(files.read_at(data_fd, min(BLOCK_BYTES, size - at), at))
            for at in range(0, size, BLOCK_BYTES)
        ),
        sources,
    )


class _Window:
    """Reads small spans in the order of the file, with few reads."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = 0
        self._data = b""

    def read(self, start: int, stop: int) -> bytes:
        if stop - start > _WINDOW_BYTES:
            return files.read_at(self._fd, stop - start, start)
        if not self._start <= start <= stop <= self._start + len(self._data):
            self._start, self._data = start, files.read_at(self._fd, _WINDOW_BYTES, start)
        return self._data[start - self._start : stop - self._start]


def _to_json(seal: Seal) -> dict[str, Any]:
    return {
        "version": entry.FORMAT,
        "segment": seal.segment,
        "records": seal.records,
        "bytes": seal.size,
        "first_us": seal.first_us,
        "last_us": seal.last_us,
        "last_id": seal.last_id,
        "damaged": seal.damaged,
        "index_crc32": seal.index_crc,
        "block_bytes": BLOCK_BYTES,
        "block_crc32": list(seal.block_crcs),
        "sources": {
            str(key): [each.records, each.bytes, each.lines, each.last]
            for key, each in seal.sources.items()
        },
    }


def _from_json(value: dict[str, Any]) -> Seal:
    return Seal(
        int(value["segment"]),
        int(value["records"]),
        int(value["bytes"]),
        int(value["first_us"]),
        int(value["last_us"]),
        int(value["last_id"]),
        int(value["damaged"]),
        int(value["index_crc32"]),
        tuple(value["block_crc32"]),
        {int(key): Count(*row) for key, row in value["sources"].items()},
    )
