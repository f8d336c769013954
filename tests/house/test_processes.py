"""A process is known again by more than its pid."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from oriel.house import processes
from oriel.house.processes import Identity


@pytest.mark.parametrize("name", ["sh", "a b", "a) S 1 (b", "(((", ")", "x) R 7"])
def test_the_start_time_is_found_whatever_the_program_is_called(name: str) -> None:
    rest = "S 1 " + " ".join(str(number) for number in range(5, 23)) + " 99"
    assert processes.parse_stat(f"77 ({name}) {rest}") == ("S", 22)


def test_it_finds_itself() -> None:
    pidfd = processes.open_again(processes.identify(os.getpid()))
    assert pidfd is not None
    assert not processes.wait_for_end(pidfd, 0)
    os.close(pidfd)


@pytest.mark.parametrize(
    "changed", [{"start_time": 1}, {"boot_id": "another boot"}, {"pid": 1}, {"pid": 2**22 + 1}]
)
def test_a_stranger_is_not_taken_for_it(changed: dict) -> None:
    assert processes.open_again(replace(processes.identify(os.getpid()), **changed)) is None


def test_a_zombie_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    identity = processes.identify(child.pid)
    pidfd = processes.open_again(identity)
    assert pidfd is not None
    child.kill()
    assert processes.wait_for_end(pidfd, 10)
    os.close(pidfd)
    assert processes.open_again(identity) is None
    child.communicate()


def test_pid_files_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.pid.json"
    assert processes.read_pid_file(path) is None
    identity = Identity(7, 8, "boot", "digest")
    processes.write_pid_file(path, identity)
    assert processes.read_pid_file(path) == identity
    assert list(tmp_path.iterdir()) == [path]


@given(some.text(max_size=80) | some.sampled_from(["{}", "[]", "1", '{"version":1,"pid":"x"}']))
def test_a_broken_pid_file_names_nobody(text: str) -> None:
    path = Path(f"/dev/shm/oriel-test-{os.getpid()}.json")
    path.write_text(text)
    try:
        assert processes.read_pid_file(path) is None
    finally:
        path.unlink()
