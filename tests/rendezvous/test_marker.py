"""The official program's exit status: in one piece, whatever pieces it comes in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oriel.rendezvous.marker import SIGN, STATUS, Marker

TOLD = STATUS + b"9\n"


def fed(pieces: list[bytes]) -> list[bytes]:
    marker = Marker()
    out = [sent for piece in pieces for sent in marker.feed(piece)]
    return [*out, marker.rest()]


def test_it_stands_alone() -> None:
    assert fed([b"hello\n" + TOLD + b"after"]) == [b"hello\n", TOLD, b"after", b""]


def test_a_sign_without_a_status_is_let_go() -> None:
    text = b"x" + SIGN + b"y" * 100
    assert fed([text])[0] == text
    assert fed([b"x" + SIGN]) == [b"x", SIGN]


@given(st.binary(max_size=50), st.lists(st.integers(1, 9), max_size=40))
def test_however_it_is_cut(before: bytes, cuts: list[int]) -> None:
    whole = before + TOLD
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(whole[at : at + cut])
        at += cut
    out = fed([*pieces, whole[at:]])
    assert b"".join(out) == whole
    assert any(TOLD in piece for piece in out)


@given(st.lists(st.binary(max_size=30) | st.just(SIGN) | st.just(b"\n"), max_size=30))
def test_nothing_is_lost(pieces: list[bytes]) -> None:
    assert b"".join(fed(pieces)) == b"".join(pieces)
