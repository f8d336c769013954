"""Frames: whole again however they were cut, and refused when they cannot be one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel import frames


@given(
    st.lists(st.tuples(st.sampled_from([b"i", b"e", b"w"]), st.binary(max_size=40))),
    st.integers(1, 12),
)
def test_they_come_whole(sent: list[tuple[bytes, bytes]], size: int) -> None:
    wire = b"".join(frames.frame(*each) for each in sent)
    taking = frames.Frames(b"iew")
    found = [each for i in range(0, len(wire), size) for each in taking.feed(wire[i : i + size])]
    assert found == sent


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for(noise: bytes) -> None:
    try:
        for kind, payload in frames.Frames(b"iews").feed(noise):
            assert kind in b"iews"
            assert len(payload) < len(noise)
    except frames.Malformed:
        pass


def test_one_that_is_too_long_is_refused_before_it_has_come() -> None:
    with pytest.raises(frames.Malformed):
        frames.Frames(b"i").feed(b"i" + (frames.PAYLOAD_BYTES_MAX + 1).to_bytes(4, "big"))


def test_values() -> None:
    (window,) = frames.Frames(b"w").feed(frames.window(120, 70_000))
    assert frames.window_of(window[1]) == (120, 65535)
    (taken,) = frames.Frames(b"t").feed(frames.taken(70_000))
    assert frames.taken_of(taken[1]) == 70_000
    for parse in (frames.window_of, frames.taken_of):
        with pytest.raises(frames.Malformed):
            parse(b"abc")
