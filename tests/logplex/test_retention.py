"""What is removed, and that whoever missed it is told how much it was."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.clock import SystemClock
from oriel.logplex import jobs, retention
from oriel.logplex.channel import Channel
from oriel.logplex.gone import ROWS_MAX, Gone, Removed, Skipped
from oriel.logplex.limits import Limits
from oriel.logplex.policy import Policy
from oriel.logplex.retention import Held, Retention, overdue
from oriel.logplex.segment import data_path, index_path, seal_path
from oriel.logplex.shelf import Shelf
from tests.logplex.conftest import BOOT, START_US, Stand

DAY_US = 86400 * 1_000_000
NOW_US = 100 * DAY_US


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([], []),
        ([(1, 500, 0)], []),
        ([(1, 50, 100), (2, 50, 100)], []),
        ([(1, 50, 100), (2, 60, 100)], [(1, "size")]),
        ([(1, 50, 100), (2, 60, 100), (3, 200, 100)], [(1, "size"), (2, "size")]),
        ([(1, 1, 69), (2, 1, 71), (3, 1, 99)], [(1, "age")]),
        ([(1, 1, 69), (2, 1, 69), (3, 1, 69)], [(1, "age"), (2, "age")]),
        ([(1, 90, 99), (2, 10, 50), (3, 9, 99)], [(1, "size"), (2, "age")]),
    ],
)
def test_the_oldest_go_and_the_last_stays(
    held: list[tuple[int, int, int]], expected: list[tuple[int, str]]
) -> None:
    segments = [Held(number, size, day * DAY_US) for number, size, day in held]
    assert overdue(segments, Policy(max_bytes=100, max_age_s=30 * 86400), NOW_US) == expected


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), max_size=20),
    st.integers(1, 5000),
)
def test_what_is_left_is_within_the_limit_or_is_one_segment(
    sizes: list[tuple[int, int]], limit: int
) -> None:
    held = [Held(at, size, day * DAY_US) for at, (size, day) in enumerate(sizes, 1)]
    gone = {each for each, _ in overdue(held, Policy(max_bytes=limit), NOW_US)}
    left = [each for each in held if each.segment not in gone]
    assert sum(each.bytes for each in left) <= limit or len(left) == 1
    assert [each.segment for each in left] == [each.segment for each in held[len(gone) :]]


def _remove(stand: Stand, number: int) -> Removed:
    job = stand.channel.removal(number, "size")
    assert job
    row = job.run()
    stand.channel.removed(row)
    # The files are still there, but who asks is told already what it may find gone.
    assert number not in stand.channel.segments()
    assert stand.channel.skipped(number, 0, 0).lines == row.lines
    jobs.remove_files(stand.directory, number)
    return row


def _filled(small: Stand, lines: int = 100) -> list[dict[str, object]]:
    for number in range(lines):
        small.say(f"web.{number % 2 + 1}", b"line %d\n" % number, f"i{number % 2}")
    small.sync()
    return small.json()


def _place(line: dict[str, object]) -> tuple[int, int, int]:
    segment, record, byte = map(int, str(line["position"]).split("."))
    return segment, record, byte


def test_a_reader_is_told_exactly_what_was_removed(small: Stand) -> None:
    said = _filled(small)
    assert len(small.channel.segments()) >= 3
    # Somebody stands behind the fifth line, somebody at the very beginning.
    fifth = _place(said[4])
    small.channel.watchers.add(lambda: [fifth])
    _remove(small, 1)
    _remove(small, 2)
    left = small.json()
    missed = len(said) - len(left)
    assert left == said[missed:]
    for _ in range(2):
        whole = small.channel.skipped(0, 0, 0)
        assert (whole.lines, whole.exact) == (missed, True)
        assert whole.bytes == sum(len(str(each["text"])) + 1 for each in said[:missed])
        after = small.channel.skipped(*fifth)
        assert (after.lines, after.exact) == (missed - 5, True)
        assert small.channel.skipped(*_place(said[-1])) == Skipped()
        # And of one source only.
        one = next(each.id for each in small.channel.book.rows.values() if each.ps == "web.1")
        mine = [each for each in said[5:missed] if each["ps"] == "web.1"]
        assert small.channel.skipped(*fifth, {one}.__contains__).lines == len(mine)
        # A place that nobody counted from: at most so many.
        other = small.channel.skipped(*_place(said[2]))
        assert (other.lines, other.exact) == (missed, False)
        small.reopen()


def test_a_removal_that_a_kill_cut_short_is_finished(small: Stand) -> None:
    _filled(small)
    job = small.channel.removal(1, "age")
    assert job
    job.run()
    assert data_path(small.directory, 1).exists()
    small.reopen()
    assert small.channel.segments()[0] == 2
    assert not data_path(small.directory, 1).exists()
    assert not seal_path(small.directory, 1).exists()
    assert small.channel.skipped(1, 0, 0).lines > 0


def test_a_segment_without_manifest_is_counted_when_it_is_removed(small: Stand) -> None:
    for number in range(60):
        small.say("web.1", b"line %d\n" % number)
    said = small.json()
    assert not seal_path(small.directory, 1).exists()
    _remove(small, 1)
    assert small.channel.skipped(0, 0, 0).lines == len(said) - len(small.json())


def test_the_segment_being_written_is_never_removed(small: Stand) -> None:
    small.say("web.1", b"x\n")
    assert small.channel.removal(1, "size") is None


def test_numbers_do_not_come_twice(small: Stand) -> None:
    _filled(small)
    last = small.channel.active.number
    for number in small.channel.segments()[:-1]:
        _remove(small, number)
    for path in (data_path, index_path):
        path(small.directory, last).unlink()
    small.reopen()
    assert small.channel.active.number >= last


def test_many_rows_are_folded_and_their_sum_stays(tmp_path: Path) -> None:
    gone = Gone(tmp_path / "removed")
    for number in range(1, ROWS_MAX + 2):
        gone.know(Removed(number, number, number, number, "size", {1: (2, 10), 2: (1, 5)}))
    assert gone.fold()
    gone.save()
    again = Gone(tmp_path / "removed")
    total = again.since((0, 0, 0), 10_000, None)
    assert (total.lines, total.bytes) == (3 * (ROWS_MAX + 1), 15 * (ROWS_MAX + 1))
    assert again.since((0, 0, 0), 10_000, lambda source: source == 2).lines == ROWS_MAX + 1
    assert not again.since((5, 0, 0), 10_000, None).exact
    assert again.has(3)
    assert again.last == ROWS_MAX + 1


def _play(
    tmp_path: Path, limits: Limits, story: Callable[[Shelf, Retention], Awaitable[None]]
) -> None:
    async def played() -> None:
        shelf = Shelf(tmp_path / "channels", limits, SystemClock(), BOOT)
        await shelf.start()
        kept = Retention(shelf, limits, SystemClock())
        try:
            await story(shelf, kept)
        finally:
            await kept.close()
            await shelf.close()

    asyncio.run(played())


def _say(channel: Channel, lines: int, text: bytes = b"x" * 99 + b"\n") -> None:
    source = channel.source("app", "web.1", "i", 1)
    for _ in range(lines):
        channel.write(source, text, START_US)


def test_a_channel_stays_within_its_bytes(tmp_path: Path) -> None:
    async def story(shelf: Shelf, kept: Retention) -> None:
        channel = shelf.channel("c")
        channel.set_policy({"max_bytes": 65536})
        for _ in range(5):
            _say(channel, 400)
            await shelf.sync()
            await kept.sweep()
            assert channel.kept_bytes() <= 65536 + 65536 // 8 + 200
        assert kept.counts.removed_lines == channel.skipped(0, 0, 0).lines > 0
        left = sum(each.lines(None) for n in channel.segments() if (each := channel.seal_of(n)))
        assert left + channel.active.records + kept.counts.removed_lines == 2000

    _play(tmp_path, Limits(), story)


def test_what_is_too_old_goes_in_open_and_in_closed_channels(tmp_path: Path) -> None:
    async def story(shelf: Shelf, kept: Retention) -> None:
        shelf.channel("quiet").set_policy({"max_age_s": 60})
        _say(shelf.channel("quiet"), 3)
        await shelf.sync()
        for name in os.listdir(tmp_path / "channels/quiet"):
            os.utime(tmp_path / "channels/quiet" / name, (1, 1))
        await kept.sweep()
        assert shelf.channel("quiet").skipped(0, 0, 0).lines == 0
        shelf._open.pop("quiet").close()
        await kept.sweep()
        assert shelf.channel("quiet").skipped(0, 0, 0).lines == 3
        assert shelf.channel("quiet").segments() == [2]

    _play(tmp_path, Limits(), story)


def test_below_the_floor_the_largest_channel_gives_first_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(shelf: Shelf, kept: Retention) -> None:
        for name, lines in (("large", 900), ("small", 100)):
            _say(shelf.channel(name), lines)
        await shelf.sync()
        large = shelf.channel("large")
        full = large.kept_bytes()

        def space(_: Path) -> tuple[int, int]:
            return 1_000_000 + full - large.kept_bytes(), 100_000_000

        monkeypatch.setattr(retention, "_space", space)
        await kept.look_at_space()
        assert kept.counts.free_bytes >= kept.counts.floor_bytes == 1_030_000
        assert shelf.channel("small").skipped(0, 0, 0).lines == 0
        lost = large.skipped(0, 0, 0).lines
        assert 0 < lost < 900
        large.say_notes(START_US)
        source = large.book.rows[max(large.book.rows)]
        assert (source.source, source.ps) == ("heroku", "logplex")
        said = data_path(large.directory, large.active.number).read_bytes()
        assert re.search(rb"the oldest %d lines of this log" % lost, said)
        # What stays of a channel stays, however little space there is.
        monkeypatch.setattr(retention, "_space", lambda _: (0, 100_000_000))
        await kept.look_at_space()
        assert large.kept_bytes() > 0
        assert shelf.channel("small").skipped(0, 0, 0).lines == 0

    limits = Limits(segment_bytes=10_000, free_floor_bytes=1_030_000, floor_keep_bytes=20_000)
    _play(tmp_path, limits, story)
