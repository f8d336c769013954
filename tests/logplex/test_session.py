"""What a reader gets, from wherever it begins."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oriel import faults
from oriel.logplex.joiner import LINE_BYTES
from oriel.logplex.limits import Limits
from oriel.logplex.query import Query
from oriel.logplex.session import Session
from oriel.logplex.turns import Turns
from tests.logplex.conftest import START_US, Stand

_piece = st.one_of(
    st.text("ab\n", max_size=9).map(str.encode),
    st.just(b"\n"),
    st.just(b"w" * (LINE_BYTES - 3)),
    st.just(b"v" * (2 * LINE_BYTES)),
)
_said = st.lists(st.tuples(st.integers(0, 3), _piece), max_size=40)


def _speak(stand: Stand, said: list[tuple[int, bytes]]) -> dict[int, bytes]:
    """Records of three dynos (two of one name) and the platform; gives the dynos' streams."""
    streams: dict[int, bytes] = {0: b"", 1: b"", 2: b""}
    for number, (who, piece) in enumerate(said, 1):
        if who == 3:
            stand.platform(number, f"act {number}")
        elif piece:
            stand.say(("web.1", "web.1", "web.2")[who], piece, f"i{who}")
            streams[who] += piece
    return streams


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(said=_said, segment=st.sampled_from([40, 300, 30_000]), sync=st.booleans())
def test_any_split_into_records_across_sources_renders_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory,
    said: list[tuple[int, bytes]],
    segment: int,
    sync: bool,
) -> None:
    stand = Stand(tmp_path_factory.mktemp("x") / "c", Limits(segment_bytes=segment))
    streams = _speak(stand, said)
    if sync:
        stand.sync()
    lines = stand.json()
    for who, stream in streams.items():
        got = "".join(str(each["text"]) for each in lines if each.get("instance") == f"i{who}")
        assert got == stream.decode().replace("\n", "")
    _check_resume(stand, [str(each["position"]) for each in lines if each["position"]])
    _check_last(stand)
    stand.channel.close()


def _check_resume(stand: Stand, positions: list[str]) -> None:
    """Reading on from any position gives just what comes after it."""
    assert len(set(positions)) == len(positions)
    for number, position in enumerate(positions, 1):
        rest = [each["position"] for each in stand.json(after=position) if each["position"]]
        assert rest == positions[number:]


def _check_last(stand: Stand) -> None:
    """The last n lines are the end of all lines, filtered or not, however n is chosen."""
    for query in ({}, {"ps": ("web.1",)}, {"sources": ("heroku",)}):
        whole = [each for each in stand.json(**query) if each["position"]]
        for lines in (1, 2, 5, 1000):
            some = [each for each in stand.json(lines=lines, **query) if each["position"]]
            assert [each["position"] for each in some] == [
                each["position"] for each in whole[len(whole) - len(some) :]
            ]
            # A line in pieces counts as one, where it ends.
            if all(len(str(each["text"])) < LINE_BYTES for each in whole):
                assert len(some) == min(lines, len(whole))


def test_filter_first_and_count_afterwards(stand: Stand) -> None:
    for number in range(150):
        stand.say("web.1", b"mine %d\n" % number)
        stand.say("worker.1", b"a\nb\nc\n" * 50, "i2")
    assert stand.text(lines=100, ps=("web.1",)) == "".join(
        f"app[web.1]: mine {each}\n" for each in range(50, 150)
    )


def test_a_type_is_all_its_dynos_and_no_others(stand: Stand) -> None:
    for ps in ("web.1", "web.2", "web", "website.1", "worker.1"):
        stand.say(ps, b"x\n", ps)
    seen = [str(each["ps"]) for each in stand.json(ps=("web",))]
    assert seen == ["web.1", "web.2", "web"]
    assert stand.json(ps=("web.2",), sources=("heroku",)) == []


def test_an_unfinished_line_is_shown_at_the_end_and_again_when_it_is_whole(stand: Stand) -> None:
    stand.say("web.1", b"whole\nunfin")
    batches = stand.batches(lines=None)
    assert stand.text() == "app[web.1]: whole\napp[web.1]: unfin\n"
    stand.say("web.1", b"ished\n")
    assert stand.text(after=batches[-1].position) == "app[web.1]: unfinished\n"


def test_a_closed_line_is_whole(stand: Stand) -> None:
    stand.say("web.1", b"last words")
    stand.channel.close_line(stand.channel.source("app", "web.1", "i", 1), START_US)
    assert [each["text"] for each in stand.json() if each["position"]] == ["last words"]


def test_a_tail_gives_history_then_each_line_when_it_ends(stand: Stand) -> None:
    async def story() -> list[bytes]:
        stand.say("web.1", b"old\nbefore\nhalf")
        session = Session(stand.channel, Query(lines=1, tail=True), Turns())
        await session.seek()
        batches = session.batches()
        said = [(await anext(batches)).text]
        waiting = asyncio.ensure_future(anext(batches))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        stand.say("web.1", b" and half\n")
        said.append((await waiting).text)
        for number in range(3):
            stand.say("web.2", b"%d\n" % number, "i2")
            said.append((await anext(batches)).text)
        await batches.aclose()
        assert not stand.channel.listeners
        return said

    said = [each.split(b": ", 1)[1] for each in asyncio.run(story())]
    assert said == [b"before\n", b"half and half\n", b"0\n", b"1\n", b"2\n"]


def test_a_tail_follows_into_new_segments(small: Stand) -> None:
    async def story() -> int:
        session = Session(small.channel, Query(lines=0, tail=True), Turns())
        await session.seek()
        seen = 0
        batches = session.batches()
        for number in itertools.count():
            small.say("web.1", b"line %d\n" % number)
            if number % 20 == 0:
                small.sync()
            batch = await anext(batches)
            assert batch.text.endswith(b"line %d\n" % number)
            seen += batch.lines
            if number == 100:
                break
        await batches.aclose()
        return seen

    assert asyncio.run(story()) == 101
    assert len(small.channel.segments()) > 3


@pytest.mark.parametrize("position", ["", "1.2", "1.2.3.4", "-1.0.0", "a.b.c", "9" * 30 + ".0.0"])
def test_what_is_no_position_is_refused(stand: Stand, position: str) -> None:
    with pytest.raises(faults.Invalid):
        stand.text(after=position)


@pytest.mark.parametrize("position", ["99.0.0", "1.99.0", "1.1.99", "1.2.0"])
def test_a_position_beyond_the_end_reads_what_comes(stand: Stand, position: str) -> None:
    stand.say("web.1", b"a\n")
    stand.say("web.1", b"b\n")
    assert stand.text(after=position) == ""
    assert stand.text(after="0.0.0") == "app[web.1]: a\napp[web.1]: b\n"


def test_a_large_record_is_read_in_slices(stand: Stand, tmp_path: Path) -> None:
    whole = b"".join(b"%07d %s\n" % (number, b"z" * 90) for number in range(9000))
    stand.say("web.1", whole)
    assert len(stand.batches(lines=None)) > 5
    assert [each["text"] for each in stand.json()] == whole.decode().splitlines()
    assert stand.json(lines=3)[0]["text"] == whole.decode().splitlines()[-3]


def test_a_large_record_of_frames_is_cut_between_frames(stand: Stand) -> None:
    router = stand.channel.source("heroku", "router")
    frames = [
        b'<158>1 t h haproxy 1 - [oriel channel="c"] at=info n=%d p=%s\n' % (number, b"q" * 300)
        for number in range(800)
    ]
    stand.channel.append_frames(router, frames, START_US)
    seen = stand.json()
    assert len(seen) == 800
    position = str(seen[399]["position"])
    assert stand.json(after=position) == seen[400:]
    assert stand.json(lines=10) == seen[-10:]
