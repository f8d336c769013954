"""The book of sources."""

from __future__ import annotations

from pathlib import Path

from oriel.logplex.sources import SourceBook


def test_a_speaker_keeps_its_number(tmp_path: Path) -> None:
    book = SourceBook(tmp_path / "sources")
    first, new = book.find_or_add("app", "web.1", "i1", 3)
    assert new
    assert book.find_or_add("app", "web.1", "i1", 3) == (first, False)
    second, _ = book.find_or_add("app", "web.1", "i2", 3)
    book.close()
    again = SourceBook(tmp_path / "sources")
    assert again.find_or_add("app", "web.1", "i1", 3) == (first, False)
    assert again.get(second.id) == second
    assert again.get(99).label == "app[unknown]"
    again.close()


def test_a_torn_row_is_cut_and_a_damaged_rows_number_is_not_used_again(tmp_path: Path) -> None:
    path = tmp_path / "sources"
    book = SourceBook(path)
    for at in range(3):
        book.find_or_add("app", f"web.{at}", f"i{at}", 1)
    book.close()
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rows[:3]) + b"x" * 9 + b"\n" + b'{"torn')
    book = SourceBook(path)
    assert sorted(book.rows) == [1, 2]
    row, new = book.find_or_add("app", "web.9", "i9", 1)
    assert (row.id, new) == (4, True)
    book.close()
