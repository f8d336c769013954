"""Owns a sandbox's limits in the kernel's control groups, of either version, and what it uses.

A group bears the name of its sandbox, below one of the platform's: a later start finds it by name,
and removes those that nobody owns. Only what is inside a sandbox is in its group: a monitor that
the kernel killed for want of memory could not tell how the program ended. Must not know dynos.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from oriel.sandbox import linux

ROOT = Path("/sys/fs/cgroup")
LEAF = "platform"
"""Where our own processes go in a delegated group: one with limits for others holds none itself."""
CONTROLLERS = ("memory", "pids", "cpu")
PROCESSES_SPARE = 4
"""bubblewrap's own process inside, and those that come and go while it starts."""
_V1_SHARES, _V1_WEIGHT = 1024, 100

_log = logging.getLogger("oriel.sandbox.cgroups")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one group is limited to; None is no limit."""

    memory_bytes: int | None
    processes: int | None
    cpu_weight: int = 100


@dataclass(frozen=True, slots=True)
class Used:
    """What the processes of a group use."""

    memory_bytes: int
    """Resident and cached, without what the kernel could drop at once."""
    swap_bytes: int
    cpu_s: float
    processes: int


class Cgroups:
    """The platform's groups: `places` says where, by controller. The second version has one place
    for all.
    """

    def __init__(self, version: int, places: dict[str, Path]) -> None:
        """Made by `open_cgroups`."""
        self.version = version
        self._places = places

    def make(self, name: str, bounds: Bounds) -> Group:
        """A fresh group; raises OSError."""
        group = self.group(name)
        for place in group.places.values():
            place.mkdir(exist_ok=True)
        group.bound(bounds)
        return group

    def group(self, name: str) -> Group:
        """The group of that name, whether it is there or not."""
        return Group(self.version, {each: place / name for each, place in self._places.items()})

    def sweep(self, keep: Iterable[str]) -> None:
        """Remove groups that nobody owns, and in which nothing runs."""
        kept = set(keep)
        for place in set(self._places.values()):
            with contextlib.suppress(OSError):
                for each in place.iterdir():
                    if each.is_dir() and each.name not in (*kept, LEAF):
                        _remove(each)

    def close(self) -> None:
        """Remove the platform's own, unless a sandbox's is in it."""
        for place in set(self._places.values()):
            if place.name != LEAF and place.name.startswith("oriel-"):
                _remove(place)


class Group:
    """One sandbox's groups, one for each controller, or one for all."""

    def __init__(self, version: int, places: dict[str, Path]) -> None:
        """It need not be there."""
        self._version = version
        self.places = places

    @property
    def is_there(self) -> bool:
        """Whether it was made, and not removed."""
        return any(place.is_dir() for place in self.places.values())

    def bound(self, bounds: Bounds) -> None:
        """Set its limits; what a kernel does not have is left out."""
        for controller, name, value in _settings(self._version, bounds):
            place = self.places.get(controller)
            if place is None:
                continue
            try:
                _write(place / name, value)
            except FileNotFoundError:
                continue  # this kernel counts no swap, say
            except OSError as error:
                _log.warning("%s of %s cannot be set: %s", name, place.name, error.strerror)

    def enter(self, pid: int) -> None:
        """Put a process, and those that it will begin, into the group; raises OSError."""
        for place in set(self.places.values()):
            _write(place / "cgroup.procs", str(pid))

    def used(self) -> Used | None:
        """What it uses now; None when that is not known here."""
        memory = self.places.get("memory")
        try:
            if memory is None:
                return None
            return self._used_v2(memory) if self._version == 2 else self._used_v1(memory)
        except (OSError, ValueError, KeyError):
            return None

    def _used_v1(self, memory: Path) -> Used:
        stat = _table(memory / "memory.stat")
        resident = stat["total_rss"] + stat["total_cache"] - stat["total_inactive_file"]
        cpu = _number(self.places.get("cpuacct"), "cpuacct.usage") / 1e9
        processes = _number(self.places.get("pids"), "pids.current")
        return Used(max(0, resident), stat.get("total_swap", 0), cpu, processes)

    def _used_v2(self, place: Path) -> Used:
        stat = _table(place / "memory.stat")
        resident = _number(place, "memory.current") - stat.get("inactive_file", 0)
        swap = _number(place, "memory.swap.current")
        cpu = _table(place / "cpu.stat").get("usage_usec", 0) / 1e6
        return Used(max(0, resident), swap, cpu, _number(place, "pids.current"))

    def out_of_memory(self) -> bool:
        """Whether the kernel killed one of its processes for its memory limit."""
        memory = self.places.get("memory")
        if memory is None:
            return False
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError):
            return _table(memory / name).get("oom_kill", 0) > 0
        return False

    def alarm(self, levels: Iterable[int]) -> int | None:
        """A descriptor that becomes readable when its memory grows beyond one of the levels, in
        bytes; None where the kernel cannot tell (the second version can only slow a group down).
        """
        memory = self.places.get("memory")
        if self._version == 2 or memory is None:
            return None
        name = "memory.memsw.usage_in_bytes"
        if not (memory / name).exists():
            name = "memory.usage_in_bytes"
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            usage = os.open(memory / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                for level in levels:
                    _write(memory / "cgroup.event_control", f"{event} {usage} {level}")
            finally:
                os.close(usage)
        except OSError:
            os.close(event)
            return None
        return event

    def remove(self) -> None:
        """Remove it; what still runs in it is left to the next start."""
        for place in set(self.places.values()):
            _remove(place)


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
            places = {each: str(place) for each, place in found._places.items()}
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
                _write(leaf / "cgroup.procs", pid)


def _enable(place: Path) -> None:
    there = (place / "cgroup.controllers").read_text().split()
    wanted = [f"+{each}" for each in CONTROLLERS if each in there]
    if wanted:
        _write(place / "cgroup.subtree_control", " ".join(wanted))


def _first(root: Path, whose: str, own: dict[str, str]) -> Cgroups | None:
    """One tree for each controller: below our own group in each."""
    places: dict[str, Path] = {}
    for controller in (*CONTROLLERS, "cpuacct"):
        for parent in _parents(root, own, controller):
            with contextlib.suppress(OSError):
                (parent / whose).mkdir(exist_ok=True)
                places[controller] = parent / whose
    return Cgroups(1, places) if "memory" in places else None


def _settings(version: int, bounds: Bounds) -> Iterable[tuple[str, str, str]]:
    """(controller, file, value) in the order in which they must be written."""
    memory = "max" if bounds.memory_bytes is None else str(bounds.memory_bytes)
    processes = "max" if bounds.processes is None else str(bounds.processes + PROCESSES_SPARE)
    yield "pids", "pids.max", processes
    if version == 2:
        yield "cpu", "cpu.weight", str(min(10_000, max(1, bounds.cpu_weight)))
        yield "memory", "memory.max", memory
        yield "memory", "memory.swap.max", memory
        yield "memory", "memory.oom.group", "1"
        return
    yield "cpu", "cpu.shares", str(max(2, bounds.cpu_weight * _V1_SHARES // _V1_WEIGHT))
    if bounds.memory_bytes is not None:
        yield "memory", "memory.limit_in_bytes", memory
        yield "memory", "memory.memsw.limit_in_bytes", memory


def _remove(place: Path) -> None:
    with contextlib.suppress(OSError):
        place.rmdir()


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _table(path: Path) -> dict[str, int]:
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


def _number(place: Path | None, name: str) -> int:
    if place is None:
        return 0
    try:
        return int((place / name).read_text())
    except (OSError, ValueError):
        return 0
