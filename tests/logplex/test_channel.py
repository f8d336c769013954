"""A channel's order, its segments, and what it remembers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from oriel.logplex import seal
from oriel.logplex.channel import Channel, PlatformLine, check_name
from oriel.logplex.segment import data_path, index_path, seal_path
from tests.logplex.conftest import START_US, Stand


def test_the_data_file_is_the_very_bytes_that_were_written(stand: Stand) -> None:
    stand.say("web.1", b"\x1b[31mred\nhalf")
    stand.say("web.2", b"\xff\x00\n")
    stand.say("web.1", b" line\n")
    written = data_path(stand.directory, 1).read_bytes()
    assert written == b"\x1b[31mred\nhalf\xff\x00\n line\n"


def test_splice_moves_what_is_in_the_pipe_and_says_when_it_is_empty(stand: Stand) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    source = stand.channel.source("app", "web.1", "i", 7)
    os.write(writer, b"hello\n")
    assert stand.channel.splice(source, reader, START_US) == 6
    with pytest.raises(BlockingIOError):
        stand.channel.splice(source, reader, START_US)
    os.write(writer, b"world\n")
    assert stand.channel.splice(source, reader, START_US) == 6
    assert stand.text() == "app[web.1]: hello\napp[web.1]: world\n"
    assert stand.json()[0]["release"] == 7
    os.close(reader)
    os.close(writer)


def test_time_never_runs_backwards_even_over_a_restart(small: Stand) -> None:
    for step in (0, -5_000_000, 3, -1):
        small.now_us += step
        small.say("web.1", b"x\n")
    small.reopen()
    small.now_us = START_US - 10_000_000
    small.say("web.1", b"x\n")
    small.say("web.1", b"y" * 300 + b"\n")
    small.sync()
    small.reopen()
    small.say("web.1", b"x\n")
    times = [str(each["time"]) for each in small.json()]
    assert times == sorted(times)


def test_a_full_segment_is_finished_and_sealed_with_its_sources(small: Stand) -> None:
    for number in range(30):
        small.say(f"web.{number % 2 + 1}", b"line %d\n" % number)
    small.platform(9, "Scale to web=2")
    small.sync()
    made = seal.load(small.directory, 1)
    assert made
    assert made.records == sum(each.records for each in made.sources.values())
    assert made.size == data_path(small.directory, 1).stat().st_size >= 200
    assert made.lines(None) == made.records
    assert not made.damaged
    assert len(small.text().splitlines()) == 31
    assert small.channel.segments() == [1, 2]


def test_each_outbox_id_is_kept_once_over_restarts_and_segments(small: Stand) -> None:
    for number in range(1, 40):
        assert small.platform(number, f"act {number}") == number
        if number % 7 == 0:
            small.sync()
        if number % 5 == 0:
            small.reopen()
        assert small.channel.last_id == number
        assert small.platform(number, "again") == number
        assert small.platform(max(1, number - 3), "again") == number
    expected = "".join(f"heroku[api]: act {each}\n" for each in range(1, 40))
    assert small.text() == expected


def test_ids_in_frames_from_elsewhere_mean_nothing(stand: Stand) -> None:
    stand.platform(3, "three")
    router = stand.channel.source("heroku", "router")
    forged = b'<134>1 t host heroku api - [oriel id="999"] forged\n'
    stand.channel.append_frames(router, [forged], START_US)
    stand.reopen()
    assert stand.channel.last_id == 3


def test_a_batch_of_platform_lines_of_several_processes_keeps_its_order(stand: Stand) -> None:
    lines = [PlatformLine(at, "heroku", ("api", "web.1")[at % 2], f"n{at}") for at in range(1, 9)]
    assert stand.channel.append_platform(lines, START_US) == 8
    assert [line.split("n")[-1] for line in stand.text().splitlines()] == list("12345678")
    assert stand.text(ps=("web.1",)) == "".join(f"heroku[web.1]: n{at}\n" for at in (1, 3, 5, 7))


def test_a_frame_that_does_not_fit_leaves_nothing_behind(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.platform(1, "one")
    real = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if fd == stand.channel.active.data_fd:
            if len(data) > 10:
                return real(fd, data[:10], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        stand.channel.append_platform(
            [PlatformLine(2, "heroku", "api", "a"), PlatformLine(3, "heroku", "b", "c")], START_US
        )
    monkeypatch.undo()
    assert stand.channel.last_id == 1
    # Longer than the first of the frames: the second's entry, left behind, would claim its end.
    stand.say("web.1", b"between " * 40 + b"\n")
    stand.reopen()
    stand.platform(2, "two")
    said = f"heroku[api]: one\napp[web.1]: {'between ' * 40}\nheroku[api]: two\n"
    assert stand.text() == said


def test_two_instances_of_one_name_do_not_mix(stand: Stand) -> None:
    stand.say("web.1", b"old begins", "i1", 1)
    stand.say("web.1", b"new\n", "i2", 2)
    stand.say("web.1", b" and ends\n", "i1", 1)
    assert [(each["text"], each["instance"], each["release"]) for each in stand.json()] == [
        ("new", "i2", 2),
        ("old begins and ends", "i1", 1),
    ]


def test_the_marker_is_durable_before_anything_is_in_a_new_channel(tmp_path: Path) -> None:
    made = Channel(tmp_path / "channels" / "x", Stand(tmp_path / "c").limits, "boot-a")
    assert (made.directory / "synced").stat().st_size > 0
    made.close()


def test_a_missing_manifest_is_made_again(small: Stand) -> None:
    for number in range(60):
        small.say("web.1", b"line %d\n" % number)
    small.sync()
    before = small.text()
    small.reopen()
    seal_path(small.directory, 1).unlink()
    seal_path(small.directory, 2).write_bytes(b"rubbish")
    assert small.text() == before
    assert small.text(lines=50) == "".join(before.splitlines(keepends=True)[-50:])
    small.sync()
    assert seal.load(small.directory, 1)
    assert seal.load(small.directory, 2)
    assert small.text() == before


@pytest.mark.parametrize("name", ["", "..", "a/b", ".lock", "a" * 65, 7, None, "a\n"])
def test_a_name_that_is_no_channels_is_refused(name: object) -> None:
    with pytest.raises(Exception, match="channel"):
        check_name(name)


def test_the_index_is_32_bytes_a_record_behind_its_header(stand: Stand) -> None:
    stand.say("web.1", b"a\n")
    stand.say("web.1", b"b\n")
    assert index_path(stand.directory, 1).stat().st_size == 3 * 32
