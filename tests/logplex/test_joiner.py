"""Records into lines: where they are split changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oriel.logplex.joiner import LINE_BYTES, NOTHING, Carry, Joiner

streams = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.just(b"\n"),
        st.integers(LINE_BYTES - 2, LINE_BYTES + 2).map(lambda size: b"x" * size),
        st.integers(2 * LINE_BYTES - 1, 2 * LINE_BYTES + 1).map(lambda size: b"y" * size),
    ),
    max_size=12,
).map(b"".join)


def _plainly(stream: bytes) -> list[bytes]:
    """The lines and pieces of a stream, written down as simply as can be."""
    pieces = []
    *whole, rest = stream.split(b"\n")
    for line in whole:
        pieces += [line[at : at + LINE_BYTES] for at in range(0, len(line), LINE_BYTES)] or [b""]
    pieces += [
        rest[at : at + LINE_BYTES] for at in range(0, len(rest) - LINE_BYTES + 1, LINE_BYTES)
    ]
    return pieces


@given(stream=streams, cuts=st.lists(st.integers(0, 60_000), max_size=8))
def test_any_split_gives_the_same_lines(stream: bytes, cuts: list[int]) -> None:
    joiner = Joiner()
    lines: list[bytes] = []
    places = [0, *sorted(each % (len(stream) + 1) for each in cuts), len(stream)]
    for start, stop in zip(places, places[1:], strict=False):
        for text, end in joiner.feed(1, stream[start:stop]):
            assert text.endswith(b"\n")
            assert 0 < end <= stop - start
            lines += text[:-1].split(b"\n")
    assert lines == _plainly(stream)
    rest = stream[stream.rfind(b"\n") + 1 :]
    carry = joiner.carries[1]
    assert carry.text == rest[len(rest) // LINE_BYTES * LINE_BYTES :]
    assert carry == Carry.of_line(len(rest), rest[-LINE_BYTES:]) or not carry.text


def test_sources_do_not_mix() -> None:
    joiner = Joiner()
    assert joiner.feed(1, b"one ") == []
    assert joiner.feed(2, b"two\nrest") == [(b"two\n", 4)]
    assert joiner.feed(1, b"end\n") == [(b"one end\n", 4)]
    assert joiner.carries[1] is NOTHING
    assert joiner.carries[2].text == b"rest"


def test_a_line_of_exactly_the_limit_is_one_line() -> None:
    joiner = Joiner()
    assert joiner.feed(1, b"x" * LINE_BYTES + b"\n\nz\n") == [
        (b"x" * LINE_BYTES + b"\n", LINE_BYTES),
        (b"\nz\n", LINE_BYTES + 4),
    ]
