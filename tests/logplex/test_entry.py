"""The index entry, bit by bit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oriel.logplex import entry

_u32 = st.integers(0, 2**32 - 1)
_u8 = st.integers(0, 255)


@given(st.integers(0, 2**64 - 1), _u32, _u32, _u32, _u8, _u8, _u32, st.integers(0, 255))
def test_an_entry_is_32_bytes_and_any_flipped_bit_shows(
    time: int, offset: int, source: int, release: int, kind: int, flags: int, back: int, bit: int
) -> None:
    packed = entry.pack(time, offset, source, release, kind, flags, back)
    assert len(packed) == entry.SIZE
    assert entry.sound(packed)
    read = entry.unpack(packed)
    assert (read.time_us, read.offset, read.source, read.back) == (time, offset, source, back)
    broken = bytearray(packed)
    broken[bit // 8] ^= 1 << bit % 8
    assert not entry.sound(bytes(broken))
    assert entry.unsound(packed + bytes(broken) + packed) == [1]


def test_zeroes_are_no_entry_and_no_header() -> None:
    assert not entry.sound(bytes(32))
    assert not entry.header_sound(bytes(32), 0)
    assert entry.header_sound(entry.header(7), 7)
    assert not entry.header_sound(entry.header(7), 8)


def test_only_records_with_both_ends_known_are_readable() -> None:
    packed = [entry.pack(1, at * 10, 1, 0, entry.STREAM, 0, 0) for at in range(5)]
    packed[2] = bytes(32)
    spans = [(at, stop) for at, _, stop in entry.spans(b"".join(packed), 47)]
    assert spans == [(0, 10), (3, 40), (4, 47)]
