from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.cli.render import Column, assignments, cells_of, cut, fields, table

COLUMNS = (
    Column("Process", 12, 12, most=40),
    Column("State", 18, 18, least=8),
    Column("Command", 30, 30, most=36, least=8),
)


def test_a_longer_name_widens_its_column_and_rule() -> None:
    lines = table(COLUMNS, [("a-long-worker.1", "up for 1s", "x"), ("web.1", "up for 1s", "y")])
    assert lines == [
        "Process          State               Command",
        "---------------  ------------------  ------------------------------",
        "a-long-worker.1  up for 1s           x",
        "web.1            up for 1s           y",
    ]


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        (
            "bundle exec thin start -p $PORT -e production",
            36,
            "bundle exec thin start -p $PORT -e..",
        ),
        ("x" * 36, 36, "x" * 36),
        ("x" * 37, 36, "x" * 34 + ".."),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字.."),
        ("漢字漢字", 5, "漢.."),
        ("e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"),
        ("abc", 2, ".."),
        ("abc", 1, "."),
        ("abc", 0, ""),
    ],
)
def test_cut(text: str, most: int, shown: str) -> None:
    assert cut(text, most) == shown


TEXT = st.text(max_size=50) | st.text("ab漢字é\u0301\u200b\u202e\x1b\n\t", max_size=50)


@given(TEXT, st.integers(0, 60))
def test_what_is_cut_fits(text: str, most: int) -> None:
    shown = cut(text, most)
    assert cells_of(shown) <= max(most, 0)
    assert shown == text or shown.endswith("..") or most < 2


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=5), st.none() | st.integers(1, 120))
def test_a_table_keeps_to_its_screen_and_its_columns(
    rows: list[tuple[str, str, str]], width: int | None
) -> None:
    lines = table(COLUMNS, rows, width)
    assert len(lines) == len(rows) + 2
    for line in lines:
        assert line.isprintable()
        assert line == line.rstrip()
        assert width is None or cells_of(line) <= width
    if width is None:
        rule = lines[1]
        starts = [0, rule.index("  ") + 2]
        for line in lines[2:]:
            # Counted in cells, the second column begins where its rule does.
            taken = 0
            for place, each in enumerate(line):
                if taken >= starts[1]:
                    assert cells_of(line[:place]) == starts[1]
                    break
                taken += cells_of(each)


def test_fields_and_assignments() -> None:
    assert fields([("Change", "Deploy d706b4a"), ("A longer label", "x"), ("None", "")]) == [
        "Change:      Deploy d706b4a",
        "A longer label: x",
        "None:",
    ]
    assert assignments({"LONGER": "1", "A": "x\x1b\ny"}, "  ") == [
        "  A      => x?\ny",
        "  LONGER => 1",
    ]
    assert assignments({}) == []
