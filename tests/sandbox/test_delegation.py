"""Where the platform may have control groups: the second version over a tree of plain files, the
first where it is real.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oriel.sandbox import delegation
from oriel.sandbox.cgroups import Bounds, Cgroups

WHOLE = Bounds(memory_bytes=100 << 20, processes=256, cpu_weight=200)


def tree(root: Path, unit: str = "") -> Path:
    """The root of the second version, with a unit's group in it."""
    for place in (root, root / unit):
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.controllers").write_text("cpu memory pids io\n")
        (place / "cgroup.subtree_control").write_text("")
        (place / "cgroup.procs").write_text("")
    return root


def test_as_root_without_delegation_it_is_at_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "cgroup", "user.slice")
    monkeypatch.setattr(delegation, "_is_delegated", lambda place: False)
    monkeypatch.setattr(delegation, "_enable", lambda place: None)
    found = delegation._second(root, "oriel-x", {"": "user.slice"})
    assert found is not None
    assert found.version == 2
    assert set(found.places.values()) == {root / "oriel-x"}


def test_under_systemd_it_is_in_the_unit_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own processes go into a leaf of it, where the next control finds itself."""
    root = tree(tmp_path / "cgroup", "system.slice/oriel.service")
    monkeypatch.setattr(delegation, "_is_delegated", lambda place: place != root)
    enabled: list[Path] = []
    monkeypatch.setattr(delegation, "_enable", enabled.append)
    unit = root / "system.slice" / "oriel.service"
    for own in ("system.slice/oriel.service", "system.slice/oriel.service/platform"):
        found = delegation._second(root, "oriel-x", {"": own})
        assert found is not None
        assert set(found.places.values()) == {unit / "oriel-x"}
        assert (unit / "platform").is_dir()
        assert enabled == [unit, unit / "oriel-x"]
        enabled.clear()


def test_without_controllers_there_is_none(tmp_path: Path) -> None:
    assert delegation.open_cgroups(tmp_path, tmp_path / "nothing") is None


@pytest.mark.real
def test_it_stays_where_it_was_within_one_boot(tmp_path: Path) -> None:
    first = delegation.open_cgroups(tmp_path)
    if first is None:
        pytest.skip("no control group can be written here")
    again = delegation.open_cgroups(tmp_path)
    assert again is not None
    assert again.places == first.places
    orphan = first.make("orphan", WHOLE)
    kept = first.make("kept", WHOLE)
    again.sweep({"kept"})
    assert (orphan.is_there, kept.is_there) == (False, True)
    kept.remove()
    again.close()
    assert not any(place.exists() for place in first.places.values())


@pytest.mark.real
def test_warming_up_leaves_us_where_we_are(tmp_path: Path) -> None:
    made = delegation.open_cgroups(tmp_path)
    if made is None:
        pytest.skip("no control group can be written here")
    before = Path("/proc/self/cgroup").read_text()
    delegation.warm_up(made)
    made.close()
    assert Path("/proc/self/cgroup").read_text() == before


@pytest.mark.parametrize("is_there", [True, False])
def test_only_the_group_that_we_are_in_is_warmed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    """Where a namespace shows another tree, a process would be moved."""
    own = tmp_path / "unit"
    own.mkdir()
    listed = f"1\n{os.getpid()}\n" if is_there else "1\n"
    (own / "cgroup.procs").write_text(listed)
    monkeypatch.setattr(delegation, "_own", lambda path: {"": "unit"})
    delegation.warm_up(Cgroups(2, {}), tmp_path)
    changed = (own / "cgroup.procs").read_text() != listed
    assert changed == is_there
