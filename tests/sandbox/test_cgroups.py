"""A control group: the second version over plain files, the first as the kernel has it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from oriel.sandbox import cgroups
from oriel.sandbox.cgroups import Bounds, Cgroups, Group, Used
from oriel.sandbox.delegation import open_cgroups

WHOLE = Bounds(memory_bytes=100 << 20, processes=256, cpu_weight=200)
FILES = ("pids.max", "cpu.weight", "memory.max", "memory.swap.max", "memory.oom.group")


@pytest.fixture
def second(tmp_path: Path) -> Group:
    """A group of the second version, as a kernel would have made it."""
    place = tmp_path / "instance"
    group = Cgroups(2, dict.fromkeys((*cgroups.CONTROLLERS, "cpuacct"), tmp_path)).group("instance")
    assert not group.is_there
    place.mkdir()
    for name in (*FILES, "cgroup.procs"):
        (place / name).write_text("")
    (place / "memory.current").write_text("5000\n")
    (place / "memory.swap.current").write_text("70\n")
    (place / "memory.stat").write_text("anon 3000\ninactive_file 1000\n")
    (place / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (place / "pids.current").write_text("3\n")
    (place / "memory.events").write_text("low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n")
    return group


def test_the_second_version_s_files(second: Group) -> None:
    assert second.is_there
    second.bound(WHOLE)
    place = second.places["memory"]
    assert {name: (place / name).read_text() for name in FILES} == {
        "pids.max": "260",
        "cpu.weight": "200",
        "memory.max": str(100 << 20),
        "memory.swap.max": str(100 << 20),
        "memory.oom.group": "1",
    }
    assert second.used() == Used(4000, 70, 1.5, 3)
    assert second.out_of_memory()
    assert second.alarm((1, 2)) is None
    second.enter(77)
    assert (place / "cgroup.procs").read_text() == "77"


def test_no_limit_is_max(second: Group) -> None:
    second.bound(Bounds(None, None))
    assert (second.places["pids"] / "pids.max").read_text() == "max"
    assert (second.places["memory"] / "memory.max").read_text() == "max"


def test_a_kernel_that_lacks_a_file_has_the_others(second: Group) -> None:
    (second.places["memory"] / "memory.swap.max").unlink()
    second.bound(WHOLE)
    assert (second.places["memory"] / "memory.oom.group").read_text() == "1"
    assert not (second.places["memory"] / "memory.swap.max").exists()


GROW = """
import sys
sys.stdin.readline()
taken = bytearray(32 * 1024 * 1024)
print("grown", flush=True)
sys.stdin.readline()
"""


@pytest.mark.real
def test_an_alarm_tells_of_what_is_beyond_its_level_already(tmp_path: Path) -> None:
    mine = open_cgroups(tmp_path)
    if mine is None or mine.version != 1:
        pytest.skip("there are no control groups that tell")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", GROW], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        group = mine.make("grown", Bounds(None, None))
        group.enter(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"grown\n"
        few, many = 16 * 1024 * 1024, 1024 * 1024 * 1024
        for levels, rings in (((few, many), True), ((many, 2 * many), False)):
            alarm = group.alarm(levels)
            assert alarm is not None
            assert bool(select.select([alarm], [], [], 0)[0]) == rings
            os.close(alarm)
        process.stdin.close()
    group.remove()
    mine.close()
