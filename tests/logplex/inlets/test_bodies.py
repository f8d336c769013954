"""The body of one request: whole or not at all, bounded however it is packed."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oriel import faults
from oriel.logplex.inlets.bodies import Body
from oriel.logplex.inlets.bounds import Bounds
from tests.logplex.inlets.conftest import counted, packet

BOUNDS = Bounds(post_bytes=100_000)


def lines(data: bytes, zipped: bool = False, step: int = 7, count: int | None = None) -> int:
    body = Body(BOUNDS, zipped)
    for at in range(0, len(data), step):
        body.feed(data[at : at + step])
    return sum(run.count for run in body.end(count))


def test_gzip_of_several_members_is_one_body() -> None:
    first, second = counted(packet("t", "a")), counted(packet("t", "b"), packet("t", "c"))
    assert lines(gzip.compress(first) + gzip.compress(second), zipped=True) == 3
    assert lines(first + second, count=3) == 3


def test_unpacking_stops_at_the_limit() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    packed = bomb.compress(counted(packet("t", "y" * 5000)) * 10_000) + bomb.flush()
    body = Body(BOUNDS, True)
    with pytest.raises(faults.TooLarge):
        body.feed(packed)
    assert body.size <= BOUNDS.post_bytes + 64 * 1024


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(st.binary(max_size=20).map(lambda t: counted(packet("t", t))), max_size=5).map(
            b"".join
        ),
    ),
    st.booleans(),
    st.booleans(),
    st.integers(1, 50),
)
def test_any_body_is_taken_or_refused(data: bytes, packed: bool, said: bool, step: int) -> None:
    with contextlib.suppress(faults.BadRequest, faults.TooLarge):
        lines(gzip.compress(data) if packed else data, said, step)
