"""Owns reading one segment's files: pages of entries, spans of bytes. Must not know lines.

A reader has descriptors of its own, so that a segment may be finished or removed under it.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from zlib import crc32

from oriel.logplex import entry, files
from oriel.logplex.channel import Channel
from oriel.logplex.segment import data_path, index_path

PAGE_ENTRIES = 512

_NATIVE = sys.byteorder == "little"


class Page:
    """Entries of neighbouring records, by column: what hot paths look at.

    A column is made when it is first asked for.
    """

    def __init__(self, packed: bytes) -> None:
        """Of packed entries; a torn last one is left out."""
        torn = len(packed) % entry.SIZE
        self.packed = packed[:-torn] if torn else packed
        self._length = len(packed) // entry.SIZE

    def __len__(self) -> int:
        """How many records."""
        return self._length

    @cached_property
    def times(self) -> list[int]:
        """Microseconds since 1970."""
        if not _NATIVE:
            return [row[0] for row in entry.unpack_all(self.packed)]
        with memoryview(self.packed) as view, view.cast("Q") as longs:
            return longs[:: entry.SIZE // 8].tolist()

    @cached_property
    def offsets(self) -> list[int]:
        """Where each record begins."""
        return self._words(2)

    @cached_property
    def sources(self) -> list[int]:
        """Whose each is."""
        return self._words(3)

    @cached_property
    def releases(self) -> list[int]:
        """Of which release."""
        return self._words(4)

    @cached_property
    def kinds(self) -> bytes:
        """Of which kind."""
        return self.packed[20 :: entry.SIZE]

    def flags(self, at: int) -> int:
        """One record's flags."""
        return self.packed[at * entry.SIZE + 21]

    def back(self, at: int) -> int:
        """How far back the same source's previous record is."""
        start = at * entry.SIZE + 24
        return int.from_bytes(self.packed[start : start + 4], "little")

    def part(self, start: int, stop: int) -> Page:
        """The records from `start` up to `stop`."""
        if start == 0 and stop >= self._length:
            return self
        return Page(self.packed[start * entry.SIZE : stop * entry.SIZE])

    def _words(self, column: int) -> list[int]:
        if not _NATIVE:
            rows = entry.unpack_all(self.packed)
            return [row[column - 1] for row in rows]
        with memoryview(self.packed) as view, view.cast("I") as words:
            return words[column :: entry.SIZE // 4].tolist()


class View:
    """One segment of a channel, open for reading."""

    def __init__(self, channel: Channel, number: int) -> None:
        """Open it; raises FileNotFoundError when it is gone."""
        self.number = number
        self._channel = channel
        self._data = os.open(data_path(channel.directory, number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._index = os.open(index_path(channel.directory, number), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._data)
            raise
        self._fixed: tuple[int, int] | None = None
        self.trusted = self._looks_sound()
        self._page: tuple[int, int, bytes] = (0, 0, b"")

    def reach(self) -> tuple[int, int]:
        """How many records and bytes there are now."""
        if self._fixed:
            return self._fixed
        extent = self._channel.extent_of(self.number)
        if extent:
            return extent.records, extent.size
        # Finished: the files will not change any more.
        self._fixed = self._measured()
        return self._fixed

    def entries(self, first: int, count: int) -> bytes:
        """The packed entries of `count` records from `first`, as many as there are."""
        records, _ = self.reach()
        count = min(count, records - first)
        if count <= 0:
            return b""
        return files.read_at(self._index, count * entry.SIZE, (first + 1) * entry.SIZE)

    def page(self, first: int, count: int) -> Page | None:
        """The same by columns; None when there are none."""
        return Page(self.entries(first, count)) or None

    def read(self, start: int, stop: int) -> bytes:
        """The data bytes of a span."""
        return files.read_at(self._data, stop - start, start) if stop > start else b""

    def sound(self, start: int, stop: int) -> bool:
        """Whether the data bytes of a span are what was written, as far as that can be told."""
        return self._channel.readable(self.number, self._data, start, stop)

    def record(self, number: int) -> tuple[entry.Entry, int] | None:
        """A record's entry and where its bytes end; None when it cannot be read."""
        records, size = self.reach()
        if not 0 <= number < records:
            return None
        first, count, page = self._page
        if not first <= number < first + count - 1:
            first = max(0, number - PAGE_ENTRIES + 2)
            page = self.entries(first, PAGE_ENTRIES)
            self._page = (first, len(page) // entry.SIZE, page)
        at = (number - first) * entry.SIZE
        last = number + 1 >= records
        if not self.trusted and not (
            entry.sound(page, at) and (last or entry.sound(page, at + entry.SIZE))
        ):
            return None
        own = entry.unpack(page[at : at + entry.SIZE])
        if last:
            return own, size
        return own, entry.unpack(page[at + entry.SIZE : at + 2 * entry.SIZE]).offset

    def close(self) -> None:
        """Close the files."""
        os.close(self._data)
        os.close(self._index)

    def _measured(self) -> tuple[int, int]:
        index = files.read_at(self._index, entry.SIZE, 0)
        if not entry.header_sound(index, self.number):
            return 0, os.fstat(self._data).st_size
        records = os.fstat(self._index).st_size // entry.SIZE - 1
        seal = self._channel.seal_of(self.number)
        if seal and records < seal.records:
            # It was cut: how far its last record reaches is not known.
            body = files.read_at(self._index, max(0, records) * entry.SIZE, entry.SIZE)
            body, end = entry.without_last(body)
            return len(body) // entry.SIZE, end
        return max(0, records), os.fstat(self._data).st_size

    def _looks_sound(self) -> bool:
        """Whether the entries need no checking one by one."""
        if self._channel.active.number == self.number:
            return True
        seal = self._channel.seal_of(self.number)
        if seal is None or seal.damaged:
            return False
        index = files.read_at(self._index, os.fstat(self._index).st_size, 0)
        return crc32(index) == seal.index_crc and os.fstat(self._data).st_size == seal.size
