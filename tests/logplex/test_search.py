"""Which part of a channel a reader gets: times, texts, patterns, releases; and tails together."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oriel import faults
from oriel.logplex import query as queries
from oriel.logplex import timeline
from oriel.logplex.feed import Feeds
from oriel.logplex.limits import Limits
from oriel.logplex.matcher import Matcher
from oriel.logplex.query import Query
from oriel.logplex.session import Batch, Session
from oriel.logplex.turns import Turns
from tests.logplex.conftest import START_US, Stand

_piece = st.text("ab\n", min_size=1, max_size=9).map(str.encode)
_said = st.lists(st.tuples(st.integers(0, 2), _piece), max_size=40)


def _texts(lines: list[dict[str, object]]) -> list[str]:
    return [str(each["text"]) for each in lines]


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    said=_said,
    segment=st.sampled_from([30, 200, 30_000]),
    sync=st.booleans(),
    needle=st.sampled_from(["a", "ab", "bb", "aba", "abab"]),
    lines=st.sampled_from([None, 1, 2, 5]),
)
def test_a_search_finds_just_the_lines_that_hold_the_text(
    tmp_path_factory: pytest.TempPathFactory,
    said: list[tuple[int, bytes]],
    segment: int,
    sync: bool,
    needle: str,
    lines: int | None,
) -> None:
    stand = Stand(tmp_path_factory.mktemp("x") / "c", Limits(segment_bytes=segment))
    for number, (who, piece) in enumerate(said, 1):
        if who == 2:
            stand.platform(number, piece.decode().replace("\n", "."))
        else:
            stand.say("web.1", piece, f"i{who}")
    if sync:
        stand.sync()
    whole = [each for each in stand.json() if each["position"]]
    wanted = [each for each in whole if needle in str(each["text"])]
    found = stand.json(grep=needle, lines=lines)
    assert found == (wanted if lines is None else wanted[-lines:])
    if wanted:
        assert stand.json(grep=needle, after=str(wanted[0]["position"])) == wanted[1:]
    stand.channel.close()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    count=st.integers(0, 60),
    segment=st.sampled_from([40, 300, 30_000]),
    low=st.integers(-2, 62),
    high=st.integers(-2, 62),
    lines=st.sampled_from([None, 3]),
)
def test_since_and_until_take_just_what_lies_between(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    segment: int,
    low: int,
    high: int,
    lines: int | None,
) -> None:
    stand = Stand(tmp_path_factory.mktemp("x") / "c", Limits(segment_bytes=segment))
    for number in range(count):
        stand.say("web.1", b"%d\n" % number)
    since, until = START_US + low * 1000, START_US + high * 1000
    wanted = [str(each) for each in range(count) if low <= each <= high]
    got = _texts(stand.json(since_us=max(0, since), until_us=until, lines=lines))
    assert got == (wanted if lines is None else wanted[-lines:])
    stand.channel.close()


def test_a_time_index_steps_over_damaged_entries(stand: Stand) -> None:
    for number in range(50):
        stand.say("web.1", b"%d\n" % number)
    index = stand.directory / "00000001.idx"
    data = bytearray(index.read_bytes())
    for entry in (1, 25, 26):
        data[(entry + 1) * 32 + 3] ^= 1
    index.write_bytes(data)
    found = timeline.first_since(stand.channel, START_US + 30_000, stand.channel.extent)
    assert (found.segment, found.record) == (1, 30)


def test_a_release_is_its_dynos_and_what_the_platform_says_of_it(stand: Stand) -> None:
    stand.say("web.1", b"old\n", "i1", release=1)
    stand.platform(1, "Restart all dynos")
    stand.say("web.1", b"new\nnewer\n", "i2", release=2)
    assert _texts(stand.json(release=2)) == ["new", "newer"]
    assert _texts(stand.json(release=2, lines=1)) == ["newer"]
    assert _texts(stand.json(release=1, grep="l")) == ["old"]


def test_a_router_line_is_found_as_it_is_shown(stand: Stand) -> None:
    router = stand.channel.source("heroku", "router")
    frame = b'<158>1 t h haproxy 1 - [oriel channel="c"] at=info dyno=web.1:c4fe connect=0ms x\n'
    stand.channel.append_frames(router, [frame, frame.replace(b"web.1", b"web.2")], START_US)
    assert len(stand.json(grep="dyno=web.1 connect=0")) == 1
    assert len(stand.json(grep="dyno=web.1 co")) == 1
    for hidden in ("c4fe", "haproxy", "oriel channel"):
        assert stand.json(grep=hidden) == []


def test_a_pattern(stand: Stand) -> None:
    stand.say("web.1", b"took 12ms\ntook ms\nTOOK 3ms\n")
    stand.platform(1, "took 9ms")
    assert _texts(stand.json(grep=r"took \d+ms", regex=True)) == ["took 12ms", "took 9ms"]
    assert _texts(stand.json(grep=r"took \d", regex=True, lines=1)) == ["took 9ms"]
    for wrong in ("(", "a{1,9}{1,9}{1,9}(", "[z-a]"):
        with pytest.raises(faults.Invalid, match="no regular expression"):
            stand.json(grep=wrong, regex=True)


def test_a_pattern_that_never_ends_is_ended() -> None:
    async def story() -> None:
        matcher = Matcher("(a+)+$")
        await matcher.start()
        try:
            assert await matcher.matching([b"aaa", b"b"]) == [True, False]
            with pytest.raises(faults.Invalid, match="takes too long"):
                await matcher.matching([b"a" * 64 + b"b"])
        finally:
            await matcher.close()

    asyncio.run(story())


def test_raw_lines_keep_their_control_characters(stand: Stand) -> None:
    stand.say("web.1", b"\x1b[31mred\r\nend\n")
    stand.say("web.1", b"next\x07\n")
    assert stand.text() == "app[web.1]: ^[[31mred\napp[web.1]: end\napp[web.1]: next^G\n"
    raw = b"".join(each.text for each in stand.batches(lines=None, raw=True))
    assert b"app[web.1]: \x1b[31mred\r\n" in raw
    assert raw.endswith(b"next\x07\n")


def test_utf8_is_shown_as_it_is_and_c1_is_not(stand: Stand) -> None:
    for text in ("grün ✓\n", "auch\n", "c1 \u009b31m\n"):
        stand.say("web.1", text.encode())
    assert stand.text() == "app[web.1]: grün ✓\napp[web.1]: auch\napp[web.1]: c1 <9B>31m\n"
    assert _texts(stand.json(grep="ün ✓")) == ["grün ✓"]


@pytest.mark.parametrize(
    "request_",
    [
        {"grep": "a\nb"},
        {"grep": "x" * 501},
        {"grep": 5},
        {"since_us": -1},
        {"until_us": "now"},
        {"release": True},
        {"tail": True, "until_us": 5},
    ],
)
def test_a_query_that_cannot_be_is_refused(request_: dict[str, object]) -> None:
    with pytest.raises(faults.Invalid):
        queries.from_request(request_)


class _Reader:
    """A tail that keeps what it was put, and can be slow."""

    def __init__(self, stand: Stand, feeds: Feeds, turns: Turns, **query: object) -> None:
        self.said = b""
        self.fast = asyncio.Event()
        self.fast.set()
        self.batches = 0
        self.session = Session(stand.channel, Query(tail=True, **query), turns, feeds)  # type: ignore[arg-type]

    async def run(self) -> None:
        await self.session.seek()
        await self.session.follow(self._put, self._ready)

    def _put(self, batch: Batch) -> bool:
        self.said += batch.text
        self.batches += 1
        return self.fast.is_set()

    async def _ready(self) -> None:
        await self.fast.wait()

    @property
    def texts(self) -> list[bytes]:
        return [line.split(b": ", 1)[1] for line in self.said.splitlines()]


def test_tails_that_want_the_same_share_and_none_loses_or_repeats(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "c", Limits(segment_bytes=2000))

    async def story() -> None:
        feeds, turns = Feeds(), Turns()
        readers = [_Reader(stand, feeds, turns, lines=0) for _ in range(6)]
        others = [_Reader(stand, feeds, turns, lines=0, ps=("web.2",)) for _ in range(2)]
        tasks = [asyncio.create_task(each.run()) for each in (*readers, *others)]
        await asyncio.sleep(0.01)
        number = 0
        for turn in range(60):
            if turn % 7 == 3:
                readers[turn % 3].fast.clear()
            if turn % 7 == 6:
                for each in readers:
                    each.fast.set()
            if turn == 30:
                late = _Reader(stand, feeds, turns, lines=None)
                readers.append(late)
                tasks.append(asyncio.create_task(late.run()))
            for _ in range(turn % 5):
                stand.say(f"web.{number % 2 + 1}", b"%d\n" % number, f"i{number % 2}")
                number += 1
            await asyncio.sleep(0.001 if turn % 4 else 0)
        for each in readers:
            each.fast.set()
        wanted = [b"%d" % each for each in range(number)]
        async with asyncio.timeout(10):
            while any(each.texts[-1:] != wanted[-1:] for each in readers):
                await asyncio.sleep(0.002)
        assert [each.texts for each in readers] == [wanted] * len(readers)
        assert [each.texts for each in others] == [wanted[1::2]] * 2
        assert len(feeds) == 2
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (len(feeds), stand.channel.listeners) == (0, set())

    asyncio.run(story())
    stand.channel.close()


def test_a_forgotten_channel_ends_all_its_tails(stand: Stand) -> None:
    async def story() -> None:
        feeds, turns = Feeds(), Turns()
        readers = [_Reader(stand, feeds, turns, lines=0) for _ in range(3)]
        tasks = [asyncio.create_task(each.run()) for each in readers]
        await asyncio.sleep(0.01)
        stand.channel.forgotten = True
        stand.channel.tell()
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)

    asyncio.run(story())


def test_stamps_are_utc() -> None:
    assert datetime.fromtimestamp(START_US / 1e6, UTC).year == 2011


def _remove(stand: Stand, number: int) -> None:
    job = stand.channel.removal(number, "size")
    assert job
    stand.channel.removed(job.run())


def test_a_reader_that_retention_overtook_is_told_what_it_missed(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "c", Limits(segment_bytes=20))
    for number in range(40):
        stand.say(f"web.{number % 2 + 1}", b"%d\n" % number, f"i{number % 2}")
    stand.sync()
    first = stand.channel.segments()[0]
    places = [str(each["position"]) for each in stand.json()]
    whole = next(each for each in places if not each.startswith(f"{first}."))
    ends_first = places[places.index(whole) - 1]
    there = stand.channel.segments()
    for number in there[:3]:
        _remove(stand, number)
    left = stand.json()
    missed = 40 - len(left)
    assert missed > 3
    # From nothing on, nothing was missed: it was never asked for.
    assert not any("L11" in str(each["text"]) for each in left)
    told, *rest = stand.json(after=ends_first)
    assert rest == left
    assert (told["source"], told["ps"]) == ("heroku", "logplex")
    assert str(told["text"]).startswith(
        "Error L11 (Tail buffer overflow) -> This tail session dropped "
    )
    already = places.index(whole)
    assert f" {missed - already} messages since " in str(told["text"]) or "up to" in str(
        told["text"]
    )
    assert str(stand.text(after=ends_first)).startswith("heroku[logplex]: Error L11 (Tail")
    of_one = stand.json(after=ends_first, ps=("web.1",))
    assert [each["text"] for each in of_one[1:]] == [
        each["text"] for each in left if each["ps"] == "web.1"
    ]
    stand.channel.close()


def test_a_tail_that_is_overtaken_goes_on_with_what_is_left(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "c", Limits(segment_bytes=20))

    async def story() -> None:
        reader = _Reader(stand, Feeds(), Turns(), lines=0)
        task = asyncio.create_task(reader.run())
        await asyncio.sleep(0.01)
        stand.say("web.1", b"0\n")
        await asyncio.sleep(0.01)
        reader.fast.clear()
        for number in range(1, 40):
            stand.say("web.1", b"%d\n" % number)
            if number == 2:
                await asyncio.sleep(0.01)
        job = stand.channel.sync_job()
        assert job
        stand.channel.synced(job.run())
        for number in stand.channel.segments()[:-1]:
            _remove(stand, number)
        reader.fast.set()
        async with asyncio.timeout(5):
            while reader.texts[-1] != b"39":
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        numbers = [int(each) for each in reader.texts if each.isdigit()]
        told = [each for each in reader.texts if b"L11" in each]
        assert numbers == sorted(set(numbers))
        assert len(told) == 1
        assert numbers[0] == 0

    asyncio.run(story())
    stand.channel.close()
