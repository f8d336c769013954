"""Owns what is known of damage to a channel's segments: looking for it, and the account of it.

Damage is never repaired and never hidden: what can be read is read, what cannot is told once, in
the channel and in `status`. Must not know channels' order or readers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any
from zlib import crc32

from oriel.logplex import entry, files, rows
from oriel.logplex.seal import BLOCK_BYTES, REST_S, SLICE_RECORDS, Seal
from oriel.logplex.segment import data_path, index_path

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PART_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Damage:
    """What cannot be read of one segment."""

    segment: int
    what: str
    lines: int | None
    """None: nobody had counted them."""
    bytes: int
    first_us: int
    last_us: int
    """Between these times it was said; 0 where that is not known."""

    def sentence(self) -> str:
        """As the channel is told."""
        lines = "lines" if self.lines is None else f"{self.lines} lines"
        when = ""
        if self.first_us:
            when = f" from {_second(self.first_us)} to {_second(self.last_us)}"
        return (
            f"Damaged log: {lines} ({self.bytes} bytes){when} cannot be read any more "
            f"(segment {self.segment}: {self.what}). The rest is kept."
        )


class Account:
    """The damage that a channel has been told of."""

    def __init__(self, path: Path) -> None:
        """Read it; the file is made with the first damage."""
        self._path = path
        self.known: dict[int, Damage] = {}
        for value in rows.load(path):
            try:
                found = Damage(**value)
                self.known[int(found.segment)] = found
            except (TypeError, ValueError):
                continue

    def news(self, found: Damage) -> bool:
        """Take in what was found; whether it is new. May raise OSError, and is then not taken."""
        if self.known.get(found.segment) == found:
            return False
        rows.append(self._path, asdict(found))
        self.known[found.segment] = found
        return True

    def forget(self, segment: int) -> None:
        """The segment was removed."""
        self.known.pop(segment, None)


class Blocks:
    """Which blocks of a sealed segment are as they were sealed: each is looked at once."""

    def __init__(self, seal: Seal) -> None:
        """Nothing is known yet."""
        self._seal = seal
        self._state = bytearray(len(seal.block_crcs))

    def sound(self, fd: int, start: int, stop: int) -> bool:
        """Whether a span of the data file can be believed."""
        if stop > self._seal.size:
            return False
        first, last = start // BLOCK_BYTES, max(start, stop - 1) // BLOCK_BYTES
        state = self._state
        for at in range(first, min(last + 1, len(state))):
            if not state[at]:
                state[at] = 1 + (_block_crc(fd, at, self._seal.size) != self._seal.block_crcs[at])
            if state[at] == 2:
                return False
        return True


def examine(directory: Path, number: int, seal: Seal | None) -> Damage | None:
    """Look at a whole finished segment; None when it is as it should be. For a thread."""
    try:
        data_fd = os.open(data_path(directory, number), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return _whole(number, seal, f"its data file cannot be opened, {error.strerror}", 0)
    try:
        size = os.fstat(data_fd).st_size
        try:
            index = index_path(directory, number).read_bytes()
        except OSError as error:
            return _whole(number, seal, f"its index cannot be opened, {error.strerror}", size)
        if not entry.header_sound(index, number):
            return _whole(number, seal, "its index does not begin as it should", size)
        body = index[entry.SIZE : len(index) - len(index) % entry.SIZE]
        if seal:
            return _examined(data_fd, size, index, body, seal)
        return _examined_unsealed(number, size, body)
    finally:
        os.close(data_fd)


def _examined(data_fd: int, size: int, index: bytes, body: bytes, seal: Seal) -> Damage | None:
    what: list[str] = []
    if size != seal.size:
        what.append(f"its data file has {size} bytes of {seal.size}")
    if crc32(index) != seal.index_crc or seal.damaged:
        what.append("entries of its index are damaged")
    blocks = Blocks(seal)
    bad = 0
    for at in range(len(seal.block_crcs)):
        stop = min((at + 1) * BLOCK_BYTES, seal.size)
        bad += stop <= size and not blocks.sound(data_fd, at * BLOCK_BYTES, stop)
        sleep(0)
    if bad:
        what.append(f"{bad} of its {len(seal.block_crcs)} blocks are not as they were")
    if not what:
        return None
    lines = kept = 0
    lost_us: list[int] = []
    end = seal.size
    if len(body) // entry.SIZE < seal.records:
        body, end = entry.without_last(body)
    for each, start, stop in _records(body, end):
        if stop <= size and blocks.sound(data_fd, start, stop):
            kept += stop - start
            lines += _newlines(data_fd, start, stop)
        else:
            lost_us = [lost_us[0] if lost_us else each[0], each[0]]
    exact = not seal.damaged
    first_us, last_us = (lost_us[0], lost_us[-1]) if lost_us else (seal.first_us, seal.last_us)
    lost = seal.lines(None) - lines
    if exact and not lost and seal.size == kept:
        # The damage is where nothing is: behind the end, or in an entry's spare bits.
        return None
    return Damage(
        seal.segment,
        "; ".join(what),
        lost if exact else None,
        max(0, seal.size - kept),
        first_us,
        last_us,
    )


def _examined_unsealed(number: int, size: int, body: bytes) -> Damage | None:
    kept = 0
    unsound = 0
    times: list[int] = []
    for part in entry.parts(body, size, SLICE_RECORDS):
        unsound += part.unsound
        for _, each, stop in part.spans:
            kept += stop - each[1]
            times = [times[0] if times else each[0], each[0]]
        sleep(REST_S)
    if not unsound and kept >= size:
        return None
    first_us, last_us = (times[0], times[-1]) if times else (0, 0)
    what = f"{unsound} entries of its index are damaged" if unsound else "its index is cut"
    return Damage(number, what, None, max(0, size - kept), first_us, last_us)


def _records(body: bytes, size: int) -> Iterator[tuple[entry.Row, int, int]]:
    for part in entry.parts(body, size, SLICE_RECORDS):
        for _, each, stop in part.spans:
            yield each, each[1], stop
        sleep(REST_S)


def _newlines(fd: int, start: int, stop: int) -> int:
    return sum(
        files.read_at(fd, min(_PART_BYTES, stop - at), at).count(b"\n")
        for at in range(start, stop, _PART_BYTES)
    )


def _whole(number: int, seal: Seal | None, what: str, size: int) -> Damage:
    if seal is None:
        return Damage(number, what, None, size, 0, 0)
    return Damage(number, what, seal.lines(None), seal.size, seal.first_us, seal.last_us)


def _block_crc(fd: int, at: int, size: int) -> int:
    start = at * BLOCK_BYTES
    return crc32(files.read_at(fd, min(BLOCK_BYTES, size - start), start))


def _second(time_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="seconds")


def shown(found: Damage) -> dict[str, Any]:
    """For `status`."""
    return asdict(found)
