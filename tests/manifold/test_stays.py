"""The record of one dyno, as the lives of its instances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from oriel.lexicon import DynoName
from oriel.manifold.history import Happening
from oriel.manifold.stays import crash_row, crashes, restarts, stays
from tests.manifold.wording import because

BEGIN = datetime(2011, 6, 19, 8, 0, tzinfo=UTC)


def entries(*told: tuple[float, str, str], causes: str = "", folded: int = 0) -> list[Happening]:
    """Entries as `(seconds, instance, state)`; an instance's release is its last digits or 1."""
    return [
        Happening(
            id=place,
            instance=instance,
            name=DynoName("web", 1),
            release=int(instance[1:] or 1),
            state=state,
            at=BEGIN + timedelta(seconds=after_s),
            because=because(causes if state in ("crashed", "down", "stopping") else ""),
            command="",
            size="",
            once=False,
            folded=folded if state == "crashed" else 0,
        )
        for place, (after_s, instance, state) in enumerate(told, 1)
    ]


def test_a_life() -> None:
    [stay] = stays(
        entries((0, "a", "starting"), (2, "a", "up"), (60, "a", "stopping"), (61, "a", "down"))
    )
    assert stay.was_up_for == timedelta(seconds=58)
    assert stay.lived == timedelta(seconds=61)
    assert (stay.state, stay.since) == ("down", BEGIN + timedelta(seconds=61))


def test_an_idle_dyno_was_up_and_another_is_woken_in_its_place() -> None:
    [slept, woken] = stays(
        entries((0, "a", "starting"), (2, "a", "up"), (60, "a", "idle"), (99, "b", "starting"))
    )
    assert slept.was_up_for == timedelta(seconds=58)
    assert (slept.state, woken.state) == ("idle", "starting")


CRASH = [(0, "a", "starting"), (1, "a", "crashed")]
AGAIN = [(2, "b", "starting"), (3, "b", "crashed")]


@pytest.mark.parametrize(
    ("told", "row"),
    [
        ([], []),
        ([(0, "a", "starting"), (1, "a", "up")], []),
        (CRASH, ["a"]),
        ([*CRASH, *AGAIN], ["a", "b"]),
        ([*CRASH, *AGAIN, (4, "c", "starting"), (5, "c", "up")], ["a", "b"]),
        # One that lived for ten minutes begins a row.
        ([*CRASH, (2, "b", "starting"), (3, "b", "up"), (700, "b", "crashed")], ["b"]),
        # So does a new release, and a stop by hand.
        ([*CRASH, (2, "b2", "starting"), (3, "b2", "crashed")], ["b2"]),
        ([*CRASH, (2, "b2", "starting"), (3, "b2", "up")], []),
        ([*CRASH, (2, "b", "starting"), (3, "b", "stopping"), (4, "b", "down")], []),
    ],
)
def test_crashes_in_a_row(told: list[tuple[float, str, str]], row: list[str]) -> None:
    assert [each.instance for each in crash_row(stays(entries(*told)))] == row


def test_folded_crashes_are_counted() -> None:
    row = crash_row(stays(entries(*CRASH, *AGAIN, folded=10)))
    assert crashes(row) == 22


@pytest.mark.parametrize(
    ("told", "cause", "count"),
    [
        ([], "", 0),
        (CRASH, "", 0),
        ([*CRASH, *AGAIN], "exited with status 1", 1),
        ([*CRASH, (2, "b", "starting"), (3, "b", "up"), (4, "c", "starting")], "", 2),
        ([(0, "a", "starting"), (1, "a", "down"), *AGAIN], "scaled down by a@b.c", 0),
        ([(0, "a", "starting"), (1, "a", "down"), *AGAIN], "stopped by a@b.c", 1),
        # Only what was since then.
        ([(-20, "y", "starting"), (-10, "z", "starting"), *CRASH], "", 1),
    ],
)
def test_restarts(told: list[tuple[float, str, str]], cause: str, count: int) -> None:
    assert restarts(entries(*told, causes=cause), BEGIN) == count


def test_folded_restarts_are_counted() -> None:
    assert restarts(entries(*CRASH, *AGAIN, folded=10), BEGIN) == 21
