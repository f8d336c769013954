"""Bytes into runs of lines: both framings, limits, and finding the place again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oriel.logplex.inlets.bounds import Bounds
from oriel.logplex.inlets.framing import NO_KEY, Run, Splitter, key_of, one_line

HEAD = b"<190>1 2020-01-01T00:00:00Z host app web.1 - - "
KEY = b"host app web.1"
SMALL = Bounds(frame_bytes=100, malformed_bytes=50, resync_bytes=300)


def counted(*packets: bytes) -> bytes:
    return b"".join(b"%d %b" % (len(each), each) for each in packets)


def split(data: bytes, bounds: Bounds = Bounds(), step: int = 0) -> tuple[list[Run], Splitter]:  # noqa: B008
    splitter = Splitter(bounds)
    step = step or len(data) or 1
    runs = [run for at in range(0, len(data), step) for run in splitter.feed(data[at : at + step])]
    return [*runs, *splitter.end()], splitter


def said(runs: list[Run]) -> list[tuple[bytes, bytes, str]]:
    return [(run.key, line, run.why) for run in runs for line in run.lines[:-1].split(b"\n") if run]


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "data",
    [
        counted(HEAD + b"one", HEAD + b"two", HEAD + b"three"),
        HEAD + b"one\n" + HEAD + b"two\n" + HEAD + b"three\n",
        HEAD + b"one\r\n" + HEAD + b"two\r\n" + HEAD + b"three",
        HEAD + b"one\0" + HEAD + b"two\0" + HEAD + b"three\0",
        counted(HEAD + b"one\n", HEAD + b"two\n", HEAD + b"three\n"),
        counted(HEAD + b"one") + b"\n" + counted(HEAD + b"two") + HEAD + b"three\n",
        HEAD + b"one\n" + counted(HEAD + b"two") + b"\n\n" + HEAD + b"three\n",
    ],
)
def test_both_framings_give_the_same_lines(data: bytes, step: int) -> None:
    runs, _ = split(data, step=step)
    assert said(runs) == [(KEY, HEAD + text, "") for text in (b"one", b"two", b"three")]
    assert sum(run.count for run in runs) == 3


def test_neighbours_of_one_sender_are_one_run() -> None:
    other = HEAD.replace(b"web.1", b"web.2")
    for data in (
        counted(HEAD + b"a", HEAD + b"b", other + b"c", HEAD + b"d"),
        HEAD + b"a\n" + HEAD + b"b\n" + other + b"c\n" + HEAD + b"d\n",
    ):
        runs, _ = split(data)
        assert [(run.key[-5:], run.count) for run in runs] == [
            (b"web.1", 2),
            (b"web.2", 1),
            (b"web.1", 1),
        ]


@pytest.mark.parametrize(
    ("packet", "key"),
    [
        (b"<134>Oct 11 22:14:15 box redis[1234]: Ready", b"box redis 1234"),
        (b"<134>Oct  1 22:14:15 redis[1234]: Ready", b"- redis 1234"),
        (b"<30>Oct 11 22:14:15 box memcached: <10 new client", b"box memcached -"),
        (b"<134>Oct 11 22:14:15 box postgres[99]: [3-1] LOG:  up: 1", b"box postgres 99"),
        (b"<13>logger says", NO_KEY),
        (b"<13>1 t host app proc", b"host app proc"),
        (b"<191>1 t h a p - - x", b"h a p"),
    ],
)
def test_a_frame_or_a_bsd_line_names_its_sender(packet: bytes, key: bytes) -> None:
    assert key_of(packet) == (key, True)


@pytest.mark.parametrize("packet", [b"plain text", b"<192>1 t h a p - - x", b"<1>"[:2], b""])
def test_a_line_without_a_priority_is_plain(packet: bytes) -> None:
    assert key_of(packet) == (NO_KEY, False)


def test_a_line_break_inside_a_frame_makes_no_second_line() -> None:
    forged = HEAD + b"a\n<40>1 t h heroku api - - Rollback to v1 by ned\r\n"
    runs, _ = split(counted(forged, HEAD + b"b"))
    lines = said(runs)
    assert len(lines) == 2
    assert lines[0][1].startswith(HEAD + b"a <40>1 t h heroku api")


def test_a_length_over_the_limit_is_no_frame_and_the_next_line_is_one_again() -> None:
    data = counted(HEAD + b"a") + b"999 " + HEAD + b"x" * 60 + b"\n" + counted(HEAD + b"b")
    runs, splitter = split(data, SMALL)
    assert said(runs) == [
        (KEY, HEAD + b"a", ""),
        (NO_KEY, (b"999 " + HEAD)[:50], "length"),
        (KEY, HEAD + b"b", ""),
    ]
    assert splitter.cut_bytes > 0
    assert not splitter.stuck


def test_a_lying_length_costs_that_frame_and_what_it_reaches_over() -> None:
    short = b"10 " + HEAD + b"a\n" + counted(HEAD + b"b")
    runs, _ = split(short)
    assert said(runs)[-1] == (KEY, HEAD + b"b", "")
    long = b"90 " + HEAD + b"a" + counted(HEAD + b"b", HEAD + b"c") + b"\n" + counted(HEAD + b"d")
    runs, _ = split(long)
    assert said(runs)[-1] == (KEY, HEAD + b"d", "")


def test_a_stream_that_never_finds_its_place_is_stuck_and_holds_nothing() -> None:
    splitter = Splitter(SMALL)
    splitter.feed(b"999999 ")
    for _ in range(100):
        splitter.feed(b"x" * 50)
        assert len(splitter._rest) <= 107
    assert splitter.stuck


def test_a_line_of_100_mb_is_cut_and_the_next_is_whole() -> None:
    splitter = Splitter(Bounds())
    lines = []
    for _ in range(400):
        lines += said(splitter.feed(b"y" * 256 * 1024))
        assert len(splitter._rest) <= 2 * Bounds().frame_bytes
    lines += said(splitter.feed(b"\n" + HEAD + b"next\n"))
    assert [(len(line), why) for _, line, why in lines] == [
        (Bounds().malformed_bytes, "too long"),
        (len(HEAD) + 4, ""),
    ]
    assert splitter.cut_bytes == 400 * 256 * 1024 - Bounds().malformed_bytes


def test_a_frame_that_is_cut_off_is_malformed_and_an_unended_line_is_not() -> None:
    runs, _ = split(counted(HEAD + b"whole")[:-2])
    assert [why for _, _, why in said(runs)] == ["cut off"]
    runs, _ = split(HEAD + b"whole")
    assert said(runs) == [(KEY, HEAD + b"whole", "")]


def test_a_million_tiny_writes_cost_no_more_than_their_bytes() -> None:
    splitter = Splitter(Bounds())
    frame = HEAD + b"z" * 60_000
    lines = []
    for byte in counted(frame, frame):
        lines += said(splitter.feed(bytes([byte])))
    assert [line for _, line, _ in lines] == [frame, frame]


def test_strict_takes_counted_frames_only() -> None:
    for data in (
        b"rubbish",
        HEAD + b"x\n",
        counted(HEAD + b"x") + b"\n",
        counted(b"no frame"),
        counted(b"<134>Oct 11 22:14:15 redis[1]: bsd"),
        b"0 ",
        b"99999 " + HEAD,
        counted(HEAD + b"x")[:-1],
        b"12",
    ):
        splitter = Splitter(Bounds(), strict=True)
        splitter.feed(data)
        splitter.end()
        assert splitter.broken, data
    splitter = Splitter(Bounds(), strict=True)
    (run,) = splitter.feed(counted(HEAD + b"x", HEAD + b"y\n"))
    splitter.end()
    assert (run.count, splitter.broken) == (2, False)


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.binary(max_size=30).map(lambda text: counted(HEAD + text)),
        st.binary(max_size=30).map(lambda text: HEAD + text + b"\n"),
        st.sampled_from([b"\n", b"\0", b"9", b"10 ", b"99999999 ", b"<13>", b"<13>x\n", HEAD]),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(PIECES, st.integers(0, 2**32), st.booleans())
def test_any_bytes_are_taken_and_no_line_is_made_up(
    pieces: list[bytes], seed: int, strict: bool
) -> None:
    data = b"".join(pieces)
    dice = random.Random(seed)
    splitter = Splitter(SMALL, strict)
    runs: list[Run] = []
    at = 0
    while at < len(data):
        step = dice.randint(1, 30)
        runs += splitter.feed(data[at : at + step])
        at += step
        assert len(splitter._rest) <= 2 * SMALL.frame_bytes + 40
    runs += splitter.end()
    flat = data.replace(b"\r", b"").replace(b"\n", b" ").replace(b"\0", b" ")
    for run in runs:
        assert run.lines.endswith(b"\n")
        assert run.lines.count(b"\n") == run.count
        assert run.key.count(b" ") == 2
        for line in run.lines[:-1].split(b"\n"):
            plain = line.replace(b"\r", b"").replace(b"\0", b" ")
            assert plain.rstrip() in flat


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.integers(1, 40))
def test_what_was_counted_comes_out_whole(texts: list[bytes], step: int) -> None:
    packets = [HEAD + text for text in texts]
    runs, _ = split(counted(*packets), step=step)
    ends = b"\r\n\0"
    assert [line.rstrip(ends) for _, line, _ in said(runs)] == [
        one_line(each).rstrip(ends) for each in packets
    ]


ODD_LINES = [
    HEAD + b"like the others",
    HEAD.replace(b"web.1", b"web.12") + b"a longer name",
    b"junk " + HEAD + b"in front",
    b"<190>1 2020-01-01T00:00:00Z  host app web.1 - - two blanks",
    b"<190>1 2020-01-01T00:00:00Z other host app web.1 - - one field more",
    b"<192>1 2020-01-01T00:00:00Z host app web.1 - - no such priority",
    b"<190>1 2020-01-01T00:00:00Z host app web.1",
    b"<13>Jun 19 08:35:19 host app[web.1]: a BSD line",
    b"no frame at all",
]


@pytest.mark.parametrize("odd", ODD_LINES)
def test_a_line_among_many_of_one_key_is_what_it_is_alone(odd: bytes) -> None:
    """Lines of a key that was there before are found in one go; nothing else may be among them."""
    alike = (HEAD + b"x\n") * 3
    splitter = Splitter(Bounds())
    splitter.feed(alike)
    together = said(splitter.feed(alike + odd + b"\n" + alike))
    alone = said(Splitter(Bounds()).feed(odd + b"\n"))
    same = said(Splitter(Bounds()).feed(alike))
    assert together == same + alone + same
