"""How soon a process that died is started again."""

import pytest

from oriel.house.restarts import DELAY_S_MAX, HEALTHY_AFTER_S, Record

STORIES = [
    ("a first crash: at once", [0.1], 0.0),
    ("a second one soon after: half a second", [0.1, 0.1], 0.5),
    ("a third: twice that", [0.1, 0.1, 0.1], 1.0),
    ("for ever: the cap", [0.1] * 500, DELAY_S_MAX),
    ("it lived long enough: it begins anew", [0.1] * 9 + [HEALTHY_AFTER_S], 0.0),
    ("and crashes again: half a second", [0.1] * 9 + [HEALTHY_AFTER_S, 0.1], 0.5),
]


@pytest.mark.parametrize(("lives", "delay_s"), [(s[1], s[2]) for s in STORIES], ids=lambda _: "")
def test_delays(lives: list[float], delay_s: float) -> None:
    record = Record()
    for lived_s in lives:
        record = record.after_exit(lived_s)
    assert record.delay_s == delay_s
