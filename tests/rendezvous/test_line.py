"""The first line: what the official program sends, and everything that it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.rendezvous.line import LINE_BYTES_MAX, Knock, Malformed, split

SECRET = "Zk3-_" * 8


@pytest.mark.parametrize(
    ("received", "knock", "rest"),
    [
        (f"{SECRET}\r\n", Knock(SECRET, ""), b""),
        (f"{SECRET}\n", Knock(SECRET, ""), b""),
        (f"{SECRET}?frames=1\r\nabc", Knock(SECRET, "frames=1"), b"abc"),
        (f"{SECRET}\r\n\r\n", Knock(SECRET, ""), b"\r\n"),
    ],
)
def test_a_line(received: str, knock: Knock, rest: bytes) -> None:
    assert split(received.encode()) == (knock, rest)


def test_half_a_line_is_waited_for() -> None:
    assert split(SECRET.encode()) is None
    assert split(b"") is None


@pytest.mark.parametrize(
    "received",
    [
        b"\r\n",
        b"short\r\n",
        b"GET / HTTP/1.1\r\n",
        b"/" + SECRET.encode() + b"\r\n",
        SECRET.encode() + b"?\xff\r\n",
        b"a" * 129 + b"\r\n",
        b"x" * (LINE_BYTES_MAX + 1),
        SECRET.encode() + b"\0\r\n",
    ],
)
def test_what_is_none(received: bytes) -> None:
    with pytest.raises(Malformed):
        split(received)


@given(st.binary(max_size=700))
def test_anything_is_a_line_or_none_or_refused(received: bytes) -> None:
    try:
        found = split(received)
    except Malformed:
        return
    assert found is not None or len(received) <= LINE_BYTES_MAX
