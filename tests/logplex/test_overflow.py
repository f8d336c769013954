"""The note beside a FIFO: one process has it, and what it says outlives that process."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from oriel.logplex.overflow import Lost, Note


def test_only_one_has_a_note(tmp_path: Path) -> None:
    path = tmp_path / "overflow"
    assert Note.lock(path, make=False) is None
    first = Note.lock(path, make=True)
    assert first
    assert first.read() is None
    assert Note.lock(path, make=True) is None
    first.write(Lost(5, 7, 1, in_line=True))
    first.let_go()
    second = Note.lock(path, make=False)
    assert second
    assert second.read() == Lost(5, 7, 1, in_line=True)
    second.let_go()


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_lines_are_counted_wherever_the_reads_cut_them(parts: list[bytes]) -> None:
    lost = Lost(0)
    for part in parts:
        lost = lost.plus(part)
    whole = b"".join(parts)
    assert (lost.bytes, lost.lines) == (len(whole), whole.count(b"\n"))
    assert lost.messages == len(whole.split(b"\n")) - whole.endswith(b"\n") - (not whole)


def test_a_note_that_is_damaged_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "overflow"
    for text in (b"", b"x" * 10, os.urandom(60)):
        path.write_bytes(text)
        note = Note.lock(path, make=False)
        assert note
        assert note.read() is None
        note.let_go()
