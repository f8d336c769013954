"""Checked rows: what was torn or changed is left out, the rest is read."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from oriel.logplex import rows


def test_rows_are_read_in_order(tmp_path: Path) -> None:
    for number in range(3):
        rows.append(tmp_path / "r", {"n": number})
    assert [each["n"] for each in rows.load(tmp_path / "r")] == [0, 1, 2]


def test_a_torn_row_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "r"
    rows.append(path, {"n": 0})
    whole = path.stat().st_size
    rows.append(path, {"n": 1})
    full = path.read_bytes()
    for size in range(whole, len(full)):
        path.write_bytes(full[:size])
        rows.append(path, {"n": 2})
        kept = [each["n"] for each in rows.load(path)]
        # A row that only lacks its newline is whole.
        assert kept == ([0, 1, 2] if size == len(full) - 1 else [0, 2])


def test_replace_has_these_and_no_others(tmp_path: Path) -> None:
    rows.append(tmp_path / "r", {"n": 0})
    rows.replace(tmp_path / "r", [{"n": 7}])
    assert rows.load(tmp_path / "r") == [{"n": 7}]


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_an_exception(data: bytes) -> None:
    path = Path("/dev/shm/oriel-rows-test") if Path("/dev/shm").is_dir() else Path("rows-test")
    path.write_bytes(data)
    try:
        assert rows.load(path) == []
    finally:
        path.unlink()
