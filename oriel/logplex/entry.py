"""Owns the index entry: 32 bytes that say of whom, when and from where a record's bytes are.

An entry is written before its bytes are moved; a record's length is the next entry's offset less
its own. Pure: must not know files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

FORMAT = 1
"""The version of the files in a channel's directory; each begins with it, or has a sibling that
does."""

SIZE = 32

STREAM = 1
"""Bytes as a dyno wrote them; a record may begin or end in the middle of a line."""
CLOSE = 2
"""One newline, added where a source ended without."""
PLATFORM = 3
"""Whole RFC 5424 frames, one a line, each with its outbox id."""
FRAMES = 4
"""Whole RFC 5424 frames from elsewhere, one a line; ids in them mean nothing."""

WHOLE = frozenset({PLATFORM, FRAMES})
"""Kinds whose records are whole lines."""

FIRST = 1
"""Flag: nothing of this source lies in any earlier record of the channel."""

_BODY = struct.Struct("<QIIIBBHI")
_ENTRY = struct.Struct("<QIIIBBHII")
_HEADER = struct.Struct("<8sHHQ8s")
_MAGIC = b"orielidx"


Row = tuple[int, int, int, int, int, int, int, int, int]
"""An entry as a plain tuple, in the order of `Entry`: for hot paths."""


class Entry(NamedTuple):
    """One record's entry. `back` is how many records back the same source's previous record in
    this segment lies, 0 when there is none; `spare` is 0 in this version."""

    time_us: int
    offset: int
    source: int
    release: int
    kind: int
    flags: int
    spare: int
    back: int
    crc: int


def pack(
    time_us: int, offset: int, source: int, release: int, kind: int, flags: int, back: int
) -> bytes:
    """An entry as it is on disk."""
    body = _BODY.pack(time_us, offset, source, release, kind, flags, 0, back)
    return body + crc32(body).to_bytes(4, "little")


def unpack_all(data: bytes) -> Iterator[Row]:
    """The entries in `data`."""
    return _ENTRY.iter_unpack(data)


def unpack(data: bytes) -> Entry:
    """One entry."""
    return Entry(*_ENTRY.unpack(data))


def sound(data: bytes, at: int = 0) -> bool:
    """Whether the entry at byte `at` of `data` is as it was written."""
    return crc32(data[at : at + 28]) == int.from_bytes(data[at + 28 : at + 32], "little")


def unsound(data: bytes) -> list[int]:
    """The numbers of the entries in `data` that are not as they were written."""
    return [at // SIZE for at in range(0, len(data) - SIZE + 1, SIZE) if not sound(data, at)]


def header(segment: int) -> bytes:
    """The first 32 bytes of an index file: format version first, after the magic word."""
    body = _HEADER.pack(_MAGIC, FORMAT, SIZE, segment, bytes(8))
    return body + crc32(body).to_bytes(4, "little")


def header_sound(data: bytes, segment: int) -> bool:
    """Whether `data` begins with the header of that segment's index, in a format we read."""
    return data[:SIZE] == header(segment)


class Part(NamedTuple):
    """Some neighbouring entries of an index: those that can be read, and how many cannot."""

    spans: list[tuple[int, Row, int]]
    """Number, entry, and where the record ends."""
    unsound: int


def parts(body: bytes, size: int, count: int) -> Iterator[Part]:
    """The records of an index without its header, `count` entries at a time.

    A record is readable when its own entry and the next are sound: only then are both its ends
    known. `size` is the data file's.
    """
    total = len(body) // SIZE
    for first in range(0, total, count):
        # One more: where the last of them ends.
        page = body[first * SIZE : min(first + count + 1, total) * SIZE]
        bad = set(unsound(page))
        entries = list(unpack_all(page))
        spans: list[tuple[int, Row, int]] = []
        mine = entries[:count]
        for at, each in enumerate(mine):
            if at in bad or at + 1 in bad:
                continue
            stop = min(size, entries[at + 1][1]) if at + 1 < len(entries) else size
            if stop > each[1]:
                spans.append((first + at, each, stop))
        yield Part(spans, sum(each < len(mine) for each in bad))


def spans(body: bytes, size: int) -> Iterator[tuple[int, Row, int]]:
    """The same, record by record."""
    for part in parts(body, size, 4096):
        yield from part.spans


def without_last(body: bytes) -> tuple[bytes, int]:
    """Of an index that was cut, without its header: the entries before the last sound one, and
    where they end. How far the last one reaches is not known any more."""
    while len(body) >= SIZE:
        last, body = body[-SIZE:], body[:-SIZE]
        if sound(last):
            return body, unpack(last).offset
    return b"", 0
