"""Owns where on this machine the platform may have control groups of its own.

Must not know what is put into them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from oriel.sandbox import linux
from oriel.sandbox.cgroups import CONTROLLERS, LEAF, Cgroups

ROOT = Path("/sys/fs/cgroup")

_log = logging.getLogger("oriel.sandbox.delegation")


def open_cgroups(data: Path, root: Path = ROOT) -> Cgroups | None:
    """Where the platform of a data directory may have groups; None where nowhere.

    Within one boot it stays the same place, from wherever `oriel up` is called.
    """
    whose = "oriel-" + hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:10]
    kept = data / "cgroups.json"
    found = _kept(kept)
    if found is None:
        own = _own(Path("/proc/self/cgroup"))
        found = _second(root, whose, own) or _first(root, whose, own)
        if found is not None:
            places = {each: str(place) for each, place in found.places.items()}
            value = {"boot": linux.boot_id(), "version": found.version, "places": places}
            with contextlib.suppress(OSError):
                kept.write_text(json.dumps(value))
    return found


def is_writable(root: Path = ROOT) -> bool:
    """Whether `open_cgroups` would find a place; nothing is made."""
    own = _own(Path("/proc/self/cgroup"))
    with contextlib.suppress(OSError):
        if "memory" in (root / "cgroup.controllers").read_text().split():
            mine = root / own.get("", "").removesuffix(f"/{LEAF}")
            return os.access(mine if _is_delegated(mine) else root, os.W_OK)
    return any(os.access(place, os.W_OK) for place in _parents(root, own, "memory"))


def warm_up(cgroups: Cgroups, root: Path = ROOT) -> None:
    """Let the kernel begin what `Group.enter` waits for: it lets all processors come by before the
    first process may change groups, and not again for the next that follows soon. So we change to
    where we are.
    """
    own, me = _own(Path("/proc/self/cgroup")), str(os.getpid())
    places = [root / own.get("", "")] if cgroups.version == 2 else _parents(root, own, "memory")
    for place in places:
        with contextlib.suppress(OSError):
            if me in (place / "cgroup.procs").read_text().split():
                linux.write(place / "cgroup.procs", me)


def _parents(root: Path, own: dict[str, str], controller: str) -> Iterable[Path]:
    """Where in a controller's tree we are; the tree's root where that is not shown here."""
    for controllers, group in own.items():
        if controller in controllers.split(","):
            for name in (controllers, controller):
                if (root / name).is_dir():
                    inner = root / name / group
                    yield inner if inner.is_dir() else root / name
                    return


def _kept(path: Path) -> Cgroups | None:
    try:
        kept = json.loads(path.read_text())
        if kept["boot"] != linux.boot_id():
            return None
        places = {str(each): Path(place) for each, place in kept["places"].items()}
        for place in places.values():
            place.mkdir(exist_ok=True)
        return Cgroups(int(kept["version"]), places)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _own(path: Path) -> dict[str, str]:
    """This process's group by controllers, as /proc names them; "" is the second version's."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            found[controllers] = place.lstrip("/")
    return found


def _second(root: Path, whose: str, own: dict[str, str]) -> Cgroups | None:
    """In the unit's own group where systemd has delegated it, or at the top, as root."""
    try:
        if "memory" not in (root / "cgroup.controllers").read_text().split():
            return None
        mine = root / own.get("", "").removesuffix(f"/{LEAF}")
        parent = mine if _is_delegated(mine) else root
        if parent != root:
            _move_into_leaf(parent)
        _enable(parent)
        place = parent / whose
        place.mkdir(exist_ok=True)
        _enable(place)
    except OSError as error:
        _log.info("no control groups: %s", error)
        return None
    return Cgroups(2, dict.fromkeys((*CONTROLLERS, "cpuacct"), place))


def _is_delegated(place: Path) -> bool:
    """systemd marks what it leaves to others; an ordinary user's is their own."""
    for mark in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(place, mark) == b"1":
                return True
    return os.geteuid() != 0 and os.access(place / "cgroup.subtree_control", os.W_OK)


def _move_into_leaf(parent: Path) -> None:
    """A group that hands controllers on may hold no process itself."""
    leaf = parent / LEAF
    leaf.mkdir(exist_ok=True)
    for _ in range(8):
        pids = (parent / "cgroup.procs").read_text().split()
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                linux.write(leaf / "cgroup.procs", pid)


def _enable(place: Path) -> None:
    there = (place / "cgroup.controllers").read_text().split()
    wanted = [f"+{each}" for each in CONTROLLERS if each in there]
    if wanted:
        linux.write(place / "cgroup.subtree_control", " ".join(wanted))


def _first(root: Path, whose: str, own: dict[str, str]) -> Cgroups | None:
    """One tree for each controller: below our own group in each."""
    places: dict[str, Path] = {}
    for controller in (*CONTROLLERS, "cpuacct"):
        for parent in _parents(root, own, controller):
            with contextlib.suppress(OSError):
                (parent / whose).mkdir(exist_ok=True)
                places[controller] = parent / whose
    return Cgroups(1, places) if "memory" in places else None
