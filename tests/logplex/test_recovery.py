"""What is left after kills, power losses and damage: nothing made up, nothing lost but the lost."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oriel.logplex import checkpoint, entry
from oriel.logplex.channel import Channel
from oriel.logplex.limits import Limits
from oriel.logplex.segment import data_path, index_path
from oriel.logplex.sources import Source
from tests.logplex.conftest import START_US, Stand


def _filled(directory: Path, **limits: int) -> Stand:
    stand = Stand(directory, Limits(**limits))
    for number in range(40):
        stand.say(f"web.{number % 3 + 1}", b"line %d\n" % number, f"i{number % 3}")
    return stand


def test_an_entry_whose_bytes_never_came_is_as_good_as_none(stand: Stand) -> None:
    stand.say("web.1", b"one\n")
    source = stand.channel.source("app", "web.2", "i2", 1)
    stand.channel.active.begin(START_US, source.id, 1, entry.STREAM, 0)
    stand.reopen()
    stand.say("web.1", b"two\n")
    assert stand.text() == "app[web.1]: one\napp[web.1]: two\n"


def test_bytes_that_came_just_before_a_kill_belong_to_the_entry_before_them(stand: Stand) -> None:
    stand.say("web.1", b"one\n")
    source = stand.channel.source("app", "web.2", "i2", 1)
    stand.channel.active.begin(START_US, source.id, 1, entry.STREAM, 0)
    os.pwrite(stand.channel.active.data_fd, b"moved, not committed\n", 4)
    stand.reopen()
    assert stand.text() == "app[web.1]: one\napp[web.2]: moved, not committed\n"


def test_a_torn_entry_is_cut(stand: Stand) -> None:
    stand.say("web.1", b"one\n")
    with index_path(stand.directory, 1).open("ab") as index:
        index.write(b"torn")
    stand.reopen()
    stand.say("web.1", b"two\n")
    assert stand.text() == "app[web.1]: one\napp[web.1]: two\n"


def test_a_torn_batch_of_frames_is_cut_to_whole_ones_and_sent_again(stand: Stand) -> None:
    stand.platform(1, "one")
    whole = data_path(stand.directory, 1).stat().st_size
    stand.platform(2, "two", "api")
    stand.platform(3, "three", "web.1")
    full = data_path(stand.directory, 1).read_bytes()
    for size in range(whole, len(full)):
        os.truncate(data_path(stand.directory, 1), size)
        stand.reopen()
        kept = stand.channel.last_id
        for number, text, ps in ((2, "two", "api"), (3, "three", "web.1")):
            assert stand.platform(number, text, ps) == max(kept, number)
        assert stand.text() == "heroku[api]: one\nheroku[api]: two\nheroku[web.1]: three\n"


def test_after_a_power_loss_the_tail_is_cut_to_the_marker_and_set_aside(stand: Stand) -> None:
    stand.say("web.1", b"safe\n")
    stand.sync()
    stand.say("web.2", b"not safe\n", "i2")
    # The index entry was lost and the bytes were not: they would be taken for web.1's.
    os.truncate(index_path(stand.directory, 1), 2 * entry.SIZE)
    stand.reopen("another boot")
    assert stand.text() == "app[web.1]: safe\n"
    assert stand.channel.set_aside_bytes == 9
    assert Path(f"{data_path(stand.directory, 1)}.unsynced").read_bytes() == b"not safe\n"
    stand.say("web.1", b"later\n")
    assert stand.json()[-1]["position"] == "2.0.6"


def test_after_a_power_loss_unsealed_later_segments_are_cut_too(tmp_path: Path) -> None:
    stand = _filled(tmp_path / "c", segment_bytes=120)
    stand.sync()
    safe = stand.text()
    for number in range(30):
        stand.say("web.1", b"lost %d\n" % number)
    assert len(stand.channel.segments()) > 4
    stand.reopen("another boot")
    assert stand.text() == safe
    stand.say("web.1", b"later\n")
    stand.sync()
    stand.reopen()
    assert stand.text() == safe + "app[web.1]: later\n"
    stand.channel.close()


def test_after_a_mere_restart_nothing_is_cut(stand: Stand) -> None:
    stand.sync()
    stand.say("web.1", b"not synced\n")
    stand.reopen()
    assert stand.text() == "app[web.1]: not synced\n"


def test_a_damaged_entry_costs_its_record_and_the_one_before(stand: Stand) -> None:
    for number in range(6):
        stand.say("web.1", b"line %d\n" % number)
    with index_path(stand.directory, 1).open("r+b") as index:
        index.seek((3 + 1) * entry.SIZE + 9)
        index.write(b"\xff")
    stand.reopen()
    stand.say("web.1", b"after\n")
    assert [each["text"] for each in stand.json()] == [
        "line 0",
        "line 1",
        "line 4",
        "line 5",
        "after",
    ]
    assert stand.text(lines=2) == "app[web.1]: line 5\napp[web.1]: after\n"
    stand.sync()
    assert len(stand.json()) == 5


def test_damage_keeps_the_outbox_ids(stand: Stand) -> None:
    for number in range(1, 6):
        stand.platform(number, f"act {number}")
    with index_path(stand.directory, 1).open("r+b") as index:
        index.seek((1 + 1) * entry.SIZE)
        index.write(b"\xff\xff")
    stand.reopen()
    assert stand.channel.last_id == 5
    assert stand.platform(5, "again") == 5


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 1 << 32), sealed=st.booleans())
def test_whatever_is_damaged_nothing_is_made_up(
    tmp_path_factory: object, seed: int, sealed: bool
) -> None:
    directory: Path = tmp_path_factory.mktemp("damage") / "c"  # type: ignore[attr-defined]
    stand = _filled(directory, segment_bytes=150)
    true = {(each["ps"], each["text"]) for each in stand.json()}
    if sealed:
        stand.sync()
    chance = random.Random(seed)
    paths = sorted(each for each in directory.iterdir() if each.suffix in (".idx", ".seal"))
    for _ in range(chance.randint(1, 4)):
        _damage(chance.choice(paths), chance)
    stand.reopen()
    said = {(each["ps"], each["text"]) for each in stand.json()}
    assert said <= true
    assert len(stand.text(lines=5).splitlines()) <= 5
    stand.text(lines=7, ps=("web.1",))
    stand.say("web.1", b"goes on\n")
    stand.sync()
    assert stand.text(lines=1) == "app[web.1]: goes on\n"
    stand.channel.close()


def _damage(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes() if path.exists() else b"")
    if not data:
        return
    at = chance.randrange(len(data))
    match chance.randrange(4):
        case 0:
            data[at] ^= 1 << chance.randrange(8)
        case 1:
            data[at : at + 40] = bytes(len(data[at : at + 40]))
        case 2:
            data = bytearray(chance.randbytes(len(data)))
        case 3:
            path.unlink()
            return
    path.write_bytes(data)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 1 << 32))
def test_truncated_files_never_raise(tmp_path_factory: object, seed: int) -> None:
    directory: Path = tmp_path_factory.mktemp("cut") / "c"  # type: ignore[attr-defined]
    stand = _filled(directory, segment_bytes=150)
    if seed % 2:
        stand.sync()
    chance = random.Random(seed)
    for path in sorted(directory.iterdir()):
        if chance.random() < 0.3:
            os.truncate(path, chance.randrange(path.stat().st_size + 1))
    stand.reopen(chance.choice([None, "another boot"]))
    stand.json()
    stand.text(lines=7, ps=("web.2",))
    stand.say("web.1", b"goes on\n", "new")
    stand.sync()
    assert stand.text(lines=1, ps=("web.1",)) == "app[web.1]: goes on\n"
    stand.reopen()
    assert stand.text(lines=1) == "app[web.1]: goes on\n"
    stand.channel.close()


def _killed_in_splice(stand: Stand, splice: Callable[[Channel, Source, int], None]) -> None:
    """Another process is killed when bytes have just been moved by os.splice."""
    reader, writer = os.pipe()
    os.write(writer, b"hello\n")
    one = stand.channel.source("app", "web.1", "i1", 1)
    two = stand.channel.source("app", "web.2", "i2", 1)
    stand.channel.write(one, b"before\n", START_US)
    child = os.fork()
    if child == 0:
        real = os.splice

        def and_die(*args: Any, **more: Any) -> int:
            real(*args, **more)
            os._exit(9)

        os.splice = and_die
        splice(stand.channel, two, reader)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    os.close(reader)
    os.close(writer)
    stand.reopen()


def test_a_kill_right_after_the_move_leaves_the_bytes_their_source(stand: Stand) -> None:
    _killed_in_splice(stand, lambda channel, source, fd: _ignore(channel.splice(source, fd, 1)))
    assert stand.text() == "app[web.1]: before\napp[web.2]: hello\n"


def test_that_would_not_be_so_if_the_entry_came_after_the_move(stand: Stand) -> None:
    """The mutant that proves the test above: bytes first, whose they are afterwards."""

    def mutant(channel: Channel, source: Source, fd: int) -> None:
        active = channel.active
        moved = os.splice(fd, active.data_fd, 1 << 20, offset_dst=active.size)
        active.begin(1, source.id, 1, entry.STREAM, 0)
        active.commit(source.id, moved)

    _killed_in_splice(stand, mutant)
    assert stand.text() != "app[web.1]: before\napp[web.2]: hello\n"


def _ignore(_: object) -> None:
    pass


def test_a_checkpoint_says_the_same_as_reading_all_of_the_index(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_RECORDS", 10)
    chance = random.Random(7)
    last = 0
    for number in range(300):
        if chance.random() < 0.2:
            last += 1
            stand.platform(last, f"act {last}")
        else:
            stand.say(f"web.{number % 3}", b"line %d\n" % number, f"i{number % 3}")
        if chance.random() < 0.1:
            stand.sync()
        if chance.random() < 0.1:
            stand.reopen()
            quick = stand.channel
            assert quick._known is None or quick._known.records <= quick.active.records
            tail = stand.directory / "tail"
            aside = tail.read_bytes() if tail.exists() else None
            tail.unlink(missing_ok=True)
            stand.channel = Channel(stand.directory, stand.limits, stand.boot)
            slow = stand.channel
            assert quick.active.extent == slow.active.extent
            assert quick.active.last == slow.active.last
            assert (quick.last_id, quick._last_us) == (slow.last_id, slow._last_us)
            quick.close()
            if aside is not None:
                tail.write_bytes(aside)
    assert len(stand.text().splitlines()) == 300


def test_a_checkpoint_that_does_not_fit_is_not_believed(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_RECORDS", 4)
    for number in range(20):
        stand.say("web.1", b"line %d\n" % number)
    stand.sync()
    assert (stand.directory / "tail").exists()
    with index_path(stand.directory, 1).open("r+b") as index:
        index.seek((3 + 1) * entry.SIZE + 9)
        index.write(b"\xff")
    stand.reopen()
    assert stand.channel.suspects == {1}
    assert stand.channel.active.number == 2
