"""Owns what is done to the files of a channel's last segment before it is written again.

After a kill that is next to nothing: a torn entry and a torn frame are cut. After a power loss
the tail beyond the sync marker is set aside. What is damaged is never changed: it is left behind
as it is, and writing goes on in a new segment. Must not know channels or readers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from oriel.logplex import entry, files, frame
from oriel.logplex.checkpoint import Checkpoint
from oriel.logplex.mark import Mark
from oriel.logplex.segment import data_path, index_path, numbers, seal_path

_SCAN_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A segment's state. `goes_on` is whether it may be written further."""

    records: int
    size: int
    goes_on: bool
    last_us: int = 0
    last_id: int = 0
    last: dict[int, int] = field(default_factory=dict)
    hurt: bool = False
    """Whether it looks damaged."""


def cut_to_mark(directory: Path, mark: Mark) -> int:
    """Set aside all that lies beyond `mark`; returns how many data bytes that was.

    Segments that were sealed are on disk whatever the marker says.
    """
    aside = 0
    for number in numbers(directory):
        if number < mark.segment or seal_path(directory, number).exists():
            continue
        size, records = (mark.size, mark.records) if number == mark.segment else (0, 0)
        aside += _set_aside(data_path(directory, number), size)
        _set_aside(index_path(directory, number), (records + 1) * entry.SIZE)
    return aside


def recover(directory: Path, number: int, known: Checkpoint | None = None) -> Found:
    """Look at a segment that is not sealed, cut what a kill tore, and say how it is.

    `known` saves reading most of its index again.
    """
    try:
        with _Pair(directory, number) as pair:
            found = _go_on(pair, number, known) if known and known.segment == number else None
            return found or _recover(pair, number)
    except FileNotFoundError:
        return Found(0, 0, goes_on=False, hurt=True)


class _Pair:
    def __init__(self, directory: Path, number: int) -> None:
        self.data = os.open(data_path(directory, number), os.O_RDWR | os.O_CLOEXEC)
        try:
            self.index = os.open(index_path(directory, number), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            os.close(self.data)
            raise

    def __enter__(self) -> _Pair:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.data)
        os.close(self.index)


def _recover(pair: _Pair, number: int) -> Found:
    size = os.fstat(pair.data).st_size
    index = files.read_at(pair.index, os.fstat(pair.index).st_size, 0)
    if not entry.header_sound(index, number):
        return Found(0, size, goes_on=False, hurt=size > 0)
    body = index[entry.SIZE : len(index) - len(index) % entry.SIZE]
    entries = list(entry.unpack_all(body))
    if entry.unsound(body) or _truncated(entries, size):
        return _left_behind(pair.data, body, size)
    # An entry whose bytes never came (its move was cut off by the kill) is as good as none.
    while entries and entries[-1][1] >= size:
        entries.pop()
    if not entries and size:
        return Found(0, size, goes_on=False, hurt=True)
    size = _cut_frame(pair.data, entries, size)
    _cut(pair.index, (len(entries) + 1) * entry.SIZE)
    kept = body[: len(entries) * entry.SIZE]
    return Found(
        len(entries),
        size,
        goes_on=True,
        last_us=entries[-1][0] if entries else 0,
        last_id=_last_id(pair.data, kept, size),
        last={each[2]: at for at, each in enumerate(entries)},
    )


def _go_on(pair: _Pair, number: int, known: Checkpoint) -> Found | None:
    """The same from a checkpoint on; None when it does not fit, or anything is odd."""
    size = os.fstat(pair.data).st_size
    index = files.read_at(pair.index, os.fstat(pair.index).st_size, 0)
    stop = (known.records + 1) * entry.SIZE
    if not entry.header_sound(index, number) or known.records < 1 or len(index) < stop:
        return None
    if crc32(memoryview(index)[entry.SIZE : stop]) != known.index_crc:
        return None
    # The last known one too: where it ends is not known yet.
    first = known.records - 1
    body = index[(first + 1) * entry.SIZE : len(index) - len(index) % entry.SIZE]
    entries = list(entry.unpack_all(body))
    if entry.unsound(body) or _truncated(entries, size) or entries[0][1] >= size:
        return None
    while entries[-1][1] >= size:
        entries.pop()
    if len(entries) == 1 and files.read_at(pair.data, 1, size - 1) != b"\n":
        # A torn frame would have to go, and with it what the checkpoint says.
        return None
    size = _cut_frame(pair.data, entries, size)
    _cut(pair.index, (first + len(entries) + 1) * entry.SIZE)
    last = dict(known.last)
    last.update({each[2]: first + at for at, each in enumerate(entries)})
    return Found(
        first + len(entries),
        size,
        goes_on=True,
        last_us=max(known.last_us, entries[-1][0]),
        last_id=max(known.last_id, _last_id(pair.data, body[: len(entries) * entry.SIZE], size)),
        last=last,
    )


def _cut(fd: int, size: int) -> None:
    """Cut a file, unless it has that size: a segment's age is that of its files."""
    if os.fstat(fd).st_size != size:
        os.ftruncate(fd, size)


def _truncated(entries: list[entry.Row], size: int) -> bool:
    """Whether the data file lost bytes: more streams end beyond it than the one being moved."""
    missing = 0
    for each in reversed(entries):
        if each[1] < size or missing > 1:
            break
        missing += each[4] not in entry.WHOLE
    return missing > 1 or bool(entries and entries[-1][1] > size and missing)


def _left_behind(data_fd: int, body: bytes, size: int) -> Found:
    sound = [each for _, each, _ in entry.spans(body, size)]
    return Found(
        len(body) // entry.SIZE,
        size,
        goes_on=False,
        last_us=max((each[0] for each in sound), default=0),
        last_id=_last_id(data_fd, body, size),
        last={each[2]: at for at, each, _ in entry.spans(body, size)},
        hurt=True,
    )


def _cut_frame(data_fd: int, entries: list[entry.Row], size: int) -> int:
    """Cut a frame that was torn by a kill: its sender still has it, or never will."""
    if not entries or entries[-1][4] not in entry.WHOLE:
        return size
    offset = entries[-1][1]
    whole = offset + files.read_at(data_fd, size - offset, offset).rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(data_fd, whole)
    if whole == offset:
        entries.pop()
    return whole


def _last_id(data_fd: int, body: bytes, size: int) -> int:
    platform = [
        (each[1], stop) for _, each, stop in entry.spans(body, size) if each[4] == entry.PLATFORM
    ]
    for start, stop in reversed(platform):
        last = frame.last_id(files.read_at(data_fd, stop - start, start))
        if last:
            return last
    return 0


def _set_aside(path: Path, size: int) -> int:
    """Move what is beyond `size` to a file of its own, for a person to look at."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        there = os.fstat(fd).st_size
        if there <= size:
            return 0
        _copy_tail(fd, path.with_name(path.name + ".unsynced"), size, there)
        os.ftruncate(fd, size)
        os.fsync(fd)
        return there - size
    finally:
        os.close(fd)


def _copy_tail(fd: int, target: Path, start: int, stop: int) -> None:
    with target.open("wb") as tail:
        for at in range(start, stop, _SCAN_BYTES):
            tail.write(files.read_at(fd, min(_SCAN_BYTES, stop - at), at))
