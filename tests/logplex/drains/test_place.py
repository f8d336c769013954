"""What is on disk of a drain survives a kill at any byte."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from oriel.logplex.drains.machine import Health
from oriel.logplex.drains.place import SLOT_BYTES, PlaceFile, Places, Plan, State

PLAN = Plan("id", "d.t", "c", "https://user:pass@a/", 5)


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    places = Places(tmp_path / "drains")
    places.add(PLAN, State("1.0.0"))
    assert list(places.plans()) == [PLAN]
    file = places.open("id")
    assert file.load() == State("1.0.0")
    newer = State("1.2.3", until="1.4.0", lost=3, health=Health("paused", 7, said="404 \u00fc\n"))
    file.save(newer)
    file.close()
    again = places.open("id")
    assert again.load() == newer
    again.close()
    places.remove("id")
    assert list(places.plans()) == []
    assert os.listdir(tmp_path / "drains") == []


def test_nobody_else_can_read_a_url(tmp_path: Path) -> None:
    Places(tmp_path / "drains").add(PLAN, State("1.0.0"))
    assert (tmp_path / "drains").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "drains").iterdir())


def test_a_torn_write_leaves_the_state_before(tmp_path: Path) -> None:
    file = PlaceFile(tmp_path / "at")
    for number in range(1, 6):
        file.save(State(f"1.{number}.0"))
    file.close()
    whole = (tmp_path / "at").read_bytes()
    at = 5 % 2 * SLOT_BYTES
    for cut in (0, 1, 8, 20, 100):
        torn = (
            whole[:at] + whole[at : at + cut] + bytes(SLOT_BYTES - cut) + whole[at + SLOT_BYTES :]
        )
        (tmp_path / "at").write_bytes(torn)
        again = PlaceFile(tmp_path / "at")
        assert again.load() == State("1.4.0")
        again.close()


@settings(max_examples=60)
@given(st.binary(max_size=2 * SLOT_BYTES))
def test_no_damage_breaks_it(tmp_path_factory: object, data: bytes) -> None:
    path = tmp_path_factory.mktemp("at") / "at"  # type: ignore[attr-defined]
    path.write_bytes(data)
    file = PlaceFile(path)
    assert file.load() is None
    file.save(State("1.0.0"))
    assert file.load() == State("1.0.0")
    file.close()


def test_a_damaged_plan_is_left_alone(tmp_path: Path) -> None:
    places = Places(tmp_path / "drains")
    places.add(PLAN, State("1.0.0"))
    (tmp_path / "drains" / "other.json").write_text("{}\n00000000\n")
    assert list(places.plans()) == [PLAN]
