"""The sync marker."""

from __future__ import annotations

from pathlib import Path

from oriel.logplex.mark import Mark, MarkFile


def test_the_newest_whole_marker_counts(tmp_path: Path) -> None:
    path = tmp_path / "synced"
    file = MarkFile(path)
    assert file.load() is None
    marks = [Mark("boot", 1, at, at * 10) for at in range(5)]
    for mark in marks:
        file.write(mark)
        again = MarkFile(path)
        assert again.load() == mark
        again.close()
    file.close()
    data = bytearray(path.read_bytes())
    newest = 5 % 2 * 512
    data[newest + 20] ^= 1
    path.write_bytes(data)
    file = MarkFile(path)
    assert file.load() == marks[3]
    file.write(Mark("boot", 2, 0, 0))
    assert file.load() == Mark("boot", 2, 0, 0)
    file.close()
