"""Damage is found, told once with what it cost, and the rest goes on."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oriel.clock import SystemClock
from oriel.logplex import damage, entry, seal
from oriel.logplex.limits import Limits
from oriel.logplex.segment import data_path, index_path, seal_path
from oriel.logplex.shelf import Checked, Shelf
from tests.logplex.conftest import BOOT, Stand

LINES = 400


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Sealed segments of some blocks each, which are small here."""
    monkeypatch.setattr(seal, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(damage, "BLOCK_BYTES", 1024)
    return _filled(tmp_path / "channels" / "c")


def _filled(directory: Path) -> Stand:
    stand = Stand(directory, Limits(segment_bytes=8192))
    for number in range(LINES):
        stand.say(
            f"web.{number % 2 + 1}", b"line %04d %s\n" % (number, b"x" * 60), f"i{number % 2}"
        )
    stand.sync()
    assert len(stand.channel.segments()) > 3
    return stand


def _check(stand: Stand) -> Checked:
    async def play() -> Checked:
        shelf = Shelf(stand.directory.parent, stand.limits, SystemClock(), BOOT)
        await shelf.start()
        try:
            await shelf.check("c")
            return await shelf.check("c")
        finally:
            await shelf.close()

    stand.channel.close()
    found = asyncio.run(play())
    stand.channel = type(stand.channel)(stand.directory, stand.limits, stand.boot)
    return found


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def _zero(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + 300] = bytes(len(data[at : at + 300]))
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit": lambda each: _flip(data_path(each, 2), 3000),
    "a zeroed span": lambda each: _zero(data_path(each, 2), 3000),
    "a truncated data file": lambda each: os.truncate(data_path(each, 2), 3000),
    "a truncated index": lambda each: os.truncate(index_path(each, 2), 40 * entry.SIZE),
    "a flipped bit in the index": lambda each: _flip(index_path(each, 2), 900),
    "a zeroed index": lambda each: _zero(index_path(each, 2), 0),
    "no data file": lambda each: data_path(each, 2).unlink(),
    "no index": lambda each: index_path(each, 2).unlink(),
    "no segment": lambda each: (data_path(each, 2).unlink(), index_path(each, 2).unlink()),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("what", list(DAMAGES))
def test_it_is_told_with_the_lines_that_are_gone(blocks: Stand, what: str) -> None:
    said = [str(each["text"]) for each in blocks.json()]
    DAMAGES[what](blocks.directory)
    blocks.reopen()
    read = blocks.json()
    left = [str(each["text"]) for each in read if each["source"] == "app"]
    # A line that begins in what is damaged and a notice of a reader's are nothing made up.
    assert set(left) <= set(said)
    assert left == [each for each in said if each in set(left)]
    found = _check(blocks)
    assert len(found.damage) == 1
    told = found.damage[0]
    assert told.segment == 2
    assert told.lines == LINES - len(left) > 0
    assert 0 < told.first_us <= told.last_us
    lines = [each for each in blocks.json() if each["ps"] == "logplex"]
    told_lines = [each for each in lines if str(each["text"]).startswith("Damaged log")]
    assert len(told_lines) == 1
    assert f"{told.lines} lines" in str(told_lines[0]["text"])
    blocks.say("web.1", b"goes on\n")
    assert blocks.text(lines=1) == "app[web.1]: goes on\n"
    blocks.channel.close()


def test_a_sound_log_has_no_damage(blocks: Stand) -> None:
    found = _check(blocks)
    assert found.damage == ()
    assert found.segments > 2
    blocks.channel.close()


def test_a_block_is_checked_once(blocks: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = damage._block_crc

    def spy(fd: int, at: int, size: int) -> int:
        seen.append(at)
        return real(fd, at, size)

    monkeypatch.setattr(damage, "_block_crc", spy)
    first = blocks.text()
    once = len(seen)
    assert once > 0
    assert blocks.text() == first
    assert len(seen) == once
    blocks.channel.close()


def test_files_that_are_deleted_while_they_are_written_are_left(stand: Stand) -> None:
    stand.say("web.1", b"gone\n")
    stand.sync()
    data_path(stand.directory, 1).unlink()
    index_path(stand.directory, 1).unlink()
    stand.say("web.1", b"gone too\n")
    stand.sync()
    stand.say("web.1", b"kept\n")
    stand.channel.say_notes(stand.now_us)
    assert "app[web.1]: kept\n" in stand.text()
    assert "its files were deleted" in stand.text()
    stand.reopen()
    assert "app[web.1]: kept\n" in stand.text()


def test_a_directory_that_is_deleted_is_made_again(stand: Stand) -> None:
    stand.say("web.1", b"gone\n")
    stand.sync()
    shutil.rmtree(stand.directory)
    stand.say("web.1", b"gone too\n")
    stand.sync()
    stand.say("web.1", b"kept\n")
    stand.sync()
    stand.reopen()
    assert stand.text(lines=1) == "app[web.1]: kept\n"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1 << 32))
def test_whatever_is_damaged_no_line_is_made_up(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(seal, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(damage, "BLOCK_BYTES", 1024)
    stand = _filled(tmp_path_factory.mktemp("d") / "channels" / "c")
    said = {str(each["text"]) for each in stand.json()}
    chance = random.Random(seed)
    sealed = [
        each for each in stand.channel.segments() if seal_path(stand.directory, each).exists()
    ]
    for _ in range(chance.randint(1, 4)):
        # What lies in a segment that is not sealed has no checksum.
        number = chance.choice(sealed)
        path = chance.choice([data_path, index_path])(stand.directory, number)
        size = path.stat().st_size if path.exists() else 0
        if size < 400:
            continue
        at = chance.randrange(size - 300)
        match chance.randrange(4):
            case 0:
                _flip(path, at)
            case 1:
                _zero(path, at)
            case 2:
                os.truncate(path, at)
            case 3:
                path.unlink()
    stand.reopen()
    left = {str(each["text"]) for each in stand.json() if each["source"] == "app"}
    assert left <= said
    found = _check(stand)
    assert sum(each.lines or 0 for each in found.damage) >= len(said) - len(left)
    stand.channel.close()
