"""Tokens on disk: what was answered for is there after a kill, what is damaged is left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oriel import faults
from oriel.logplex import tokens
from oriel.logplex.tokens import Tokens, new_token


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "logplex" / "tokens"


def test_what_was_made_is_there_after_a_restart(journal: Path) -> None:
    first = Tokens(journal)
    app, redis = first.create("c", "app"), first.create("c", "redis")
    other = first.create("d", "app")
    assert first.revoke(redis.id)
    credential, password = first.create_credential(any_channel=True)
    again = Tokens(journal)
    assert again.of() == [app, other]
    assert again.of("c") == [app]
    assert again.get(redis.id) is None
    assert again.credential(credential.id, password) == credential
    assert again.credential(credential.id, password + "x") is None
    assert again.credential("nobody", "") is None
    again.forget("c")
    assert Tokens(journal).of() == [other]
    assert password not in journal.read_text()
    assert journal.stat().st_mode & 0o777 == 0o600
    assert journal.parent.stat().st_mode & 0o777 == 0o700


def test_asking_twice_for_the_same_is_once(journal: Path) -> None:
    kept = Tokens(journal)
    number = new_token()
    assert kept.create("c", "app", number) == kept.create("c", "app", number)
    assert len(kept) == 1
    with pytest.raises(faults.Conflict):
        kept.create("d", "app", number)
    assert kept.named("c", "app").id == number
    assert kept.named("c", "redis").name == "redis"
    assert not kept.revoke("t.nobody")


@pytest.mark.parametrize(
    "ask",
    [
        lambda kept: kept.create("../c", "app"),
        lambda kept: kept.create("c", "a b"),
        lambda kept: kept.create("c", "x]: "),
        lambda kept: kept.create("c", None),
        lambda kept: kept.create("c", "app", "t.rubbish"),
        lambda kept: kept.create("c", "app", 7),
    ],
)
def test_what_is_no_name_is_refused(journal: Path, ask: Callable[[Tokens], object]) -> None:
    with pytest.raises(faults.Invalid):
        ask(Tokens(journal))


def test_there_is_a_limit_in_each_channel(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "TOKENS_PER_CHANNEL", 3)
    kept = Tokens(journal)
    for _ in range(3):
        kept.create("c", "app")
    with pytest.raises(faults.Invalid):
        kept.create("c", "app")
    kept.create("d", "app")


def test_a_torn_end_is_cut_and_a_damaged_line_left_out(journal: Path) -> None:
    kept = Tokens(journal)
    made = [kept.create("c", f"n{number}") for number in range(3)]
    whole = journal.read_bytes()
    for cut in range(len(whole)):
        journal.write_bytes(whole[:cut])
        there = Tokens(journal)
        assert there.of() == made[: len(there)]
        extra = there.create("c", "after")
        assert Tokens(journal).get(extra.id) == extra
        there.close()
    lines = whole.split(b"\n")
    lines[2] = lines[2].replace(b"n1", b"n9")
    journal.write_bytes(b"\n".join(lines))
    hurt = Tokens(journal)
    assert hurt.of() == [made[0], made[2]]
    assert hurt.damaged_lines == 1


def test_a_full_disk_is_said_and_nothing_is_half_there(journal: Path) -> None:
    import resource

    kept = Tokens(journal)
    made = kept.create("c", "app")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(journal) + 10, hard))
    try:
        with pytest.raises(faults.Unavailable):
            kept.create("c", "redis")
        with pytest.raises(faults.Unavailable):
            kept.revoke(made.id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept.of() == [made]
    later = kept.create("c", "redis")
    assert Tokens(journal).of() == [made, later]


def test_a_long_journal_of_few_tokens_is_written_anew(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_COMPACT_LINES", 10)
    kept = Tokens(journal)
    stays = kept.create("c", "stays")
    for _ in range(20):
        kept.revoke(kept.create("c", "goes").id)
    before = journal.stat().st_size
    assert Tokens(journal).of() == [stays]
    assert journal.stat().st_size < before
    assert Tokens(journal).of() == [stays]


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=300))
def test_any_file_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    journal = tmp_path_factory.mktemp("t") / "tokens"
    journal.write_bytes(data)
    kept = Tokens(journal)
    assert len(kept) == 0
    made = kept.create("c", "app")
    kept.close()
    again = Tokens(journal)
    assert again.of() == [made]
    again.close()
