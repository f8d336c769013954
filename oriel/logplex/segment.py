"""Owns the two files of the segment that a channel is writing: pure data, and its index.

Must not know what lines are. An entry is written, then its bytes are moved, then it is committed
in memory; a kill at any point leaves nothing to repair (see `recovery`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from oriel.logplex import entry, files


def data_path(directory: Path, number: int) -> Path:
    """The very bytes that were written: `grep` and `less` work on it."""
    return directory / f"{number:08d}.log"


def index_path(directory: Path, number: int) -> Path:
    """The entries, behind a header with the format's version."""
    return directory / f"{number:08d}.idx"


def seal_path(directory: Path, number: int) -> Path:
    """The manifest of a finished segment."""
    return directory / f"{number:08d}.seal"


def numbers(directory: Path) -> list[int]:
    """The segments that have a data or an index file, oldest first."""
    found = set()
    for name in os.listdir(directory):
        stem, _, suffix = name.partition(".")
        if suffix in ("log", "idx") and stem.isdigit():
            found.add(int(stem))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a channel reaches: whole records and bytes in one segment."""

    segment: int
    records: int
    size: int


@dataclass(slots=True)
class Segment:
    """The open segment of a channel."""

    number: int
    data_fd: int
    index_fd: int
    records: int = 0
    size: int = 0
    last: dict[int, int] = field(default_factory=dict)
    """By source, the number of its last record here: the heads of the `back` chains."""

    @classmethod
    def create(cls, directory: Path, number: int) -> Segment:
        """A new, empty segment; what an interrupted creation left behind is overwritten."""
        data_fd = _open(data_path(directory, number), os.O_CREAT | os.O_TRUNC)
        try:
            index_fd = _open(index_path(directory, number), os.O_CREAT | os.O_TRUNC)
        except OSError:
            os.close(data_fd)
            raise
        try:
            files.write_at(index_fd, entry.header(number), 0)
        except OSError:
            os.close(data_fd)
            os.close(index_fd)
            raise
        return cls(number, data_fd, index_fd)

    @classmethod
    def reopen(
        cls, directory: Path, number: int, records: int, size: int, last: dict[int, int]
    ) -> Segment:
        """The segment as `recovery` found it."""
        data_fd = _open(data_path(directory, number))
        try:
            index_fd = _open(index_path(directory, number))
        except OSError:
            os.close(data_fd)
            raise
        return cls(number, data_fd, index_fd, records, size, last)

    @property
    def extent(self) -> Extent:
        """What is committed."""
        return Extent(self.number, self.records, self.size)

    def last_of(self, source: int) -> bytes:
        """The bytes of a source's last record here; none without one."""
        number = self.last.get(source)
        if number is None:
            return b""
        start, stop = self._offset(number), self._offset(number + 1)
        return files.read_at(self.data_fd, stop - start, start)

    def _offset(self, number: int) -> int:
        if number >= self.records:
            return self.size
        return entry.unpack(
            files.read_at(self.index_fd, entry.SIZE, (number + 1) * entry.SIZE)
        ).offset

    def begin(self, time_us: int, source: int, release: int, kind: int, flags: int) -> None:
        """Say whose the next bytes are. One that was begun and not committed is overwritten."""
        os.pwrite(
            self.index_fd,
            entry.pack(
                time_us, self.size, source, release, kind, flags, self._back(source, self.records)
            ),
            (self.records + 1) * entry.SIZE,
        )

    def begin_many(self, time_us: int, parts: list[tuple[int, int, int, int, int]]) -> None:
        """The same for several records at once: (source, release, kind, flags, size) each."""
        packed = []
        offset = self.size
        last = dict(self.last)
        for number, (source, release, kind, flags, size) in enumerate(parts, self.records):
            back = number - last[source] if source in last else 0
            packed.append(entry.pack(time_us, offset, source, release, kind, flags, back))
            last[source] = number
            offset += size
        files.write_at(self.index_fd, b"".join(packed), (self.records + 1) * entry.SIZE)

    def commit(self, source: int, size: int) -> None:
        """The record that was begun has its bytes."""
        self.last[source] = self.records
        self.records += 1
        self.size += size

    def moved_beyond(self) -> int:
        """Bytes in the data file that are not committed yet: what a failed move did move."""
        return os.fstat(self.data_fd).st_size - self.size

    def cut_back(self) -> None:
        """Take away what is not committed: an entry left behind would claim the next bytes."""
        os.ftruncate(self.data_fd, self.size)
        os.ftruncate(self.index_fd, (self.records + 1) * entry.SIZE)

    def close(self) -> None:
        """Close both files."""
        os.close(self.data_fd)
        os.close(self.index_fd)

    def _back(self, source: int, number: int) -> int:
        last = self.last.get(source)
        return 0 if last is None else number - last


def _open(path: Path, flags: int = 0) -> int:
    # Never O_APPEND: splice refuses such a target.
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
