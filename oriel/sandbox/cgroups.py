"""Owns a sandbox's limits in the kernel's control groups, of either version, and what it uses.

A group bears the name of its sandbox, below one of the platform's: a later start finds it by name,
and removes those that nobody owns. Only what is inside a sandbox is in its group: a monitor that
the kernel killed for want of memory could not tell how the program ended. Must not know dynos.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel.sandbox import linux

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
        """Made by `delegation.open_cgroups`."""
        self.version = version
        self.places = places

    def make(self, name: str, bounds: Bounds) -> Group:
        """A fresh group; raises OSError."""
        group = self.group(name)
        for place in group.places.values():
            with contextlib.suppress(FileExistsError):
                os.mkdir(place)
        group.bound(bounds)
        return group

    def group(self, name: str) -> Group:
        """The group of that name, whether it is there or not."""
        return Group(self.version, {each: place / name for each, place in self.places.items()})

    def sweep(self, keep: Iterable[str]) -> None:
        """Remove groups that nobody owns, and in which nothing runs."""
        kept = set(keep)
        for place in set(self.places.values()):
            with contextlib.suppress(OSError):
                for each in place.iterdir():
                    if each.is_dir() and each.name not in (*kept, LEAF):
                        _remove(each)

    def close(self) -> None:
        """Remove the platform's own, unless a sandbox's is in it."""
        for place in set(self.places.values()):
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
                linux.write(place / name, value)
            except FileNotFoundError:
                continue  # this kernel counts no swap, say
            except OSError as error:
                _log.warning("%s of %s cannot be set: %s", name, place.name, error.strerror)

    def enter(self, pid: int) -> None:
        """Put a process, and those that it will begin, into the group; raises OSError."""
        for place in set(self.places.values()):
            linux.write(place / "cgroup.procs", str(pid))

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

    def alarm(self, levels: Sequence[int]) -> int | None:
        """A descriptor that becomes readable when its memory grows beyond one of the levels, in
        bytes, or is beyond one already; None where the kernel cannot tell (the second version can
        only slow a group down).
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
                    linux.write(f"{memory}/cgroup.event_control", f"{event} {usage} {level}")
                # The kernel tells only of what goes beyond a level from now on.
                if int(os.pread(usage, 32, 0)) > min(levels):
                    os.eventfd_write(event, 1)
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
