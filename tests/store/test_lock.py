"""One Oriel per SQLite file: the lock names its holder and ends with it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oriel.faults import Conflict, Unavailable
from oriel.store.lock import FileLock

NOW = datetime(2011, 6, 19, 8, 35, 18, tzinfo=UTC)


def test_the_holder_is_named(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "oriel.db.lock", NOW)
    with pytest.raises(Conflict, match=rf"process {os.getpid()} since 2011-06-19 08:35:18 UTC"):
        FileLock(tmp_path / "oriel.db.lock", NOW)
    held.close()
    FileLock(tmp_path / "oriel.db.lock", NOW).close()


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "oriel.db.lock", NOW)
    child = subprocess.Popen(
        [sys.executable, "-c", "print(); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    assert child.stdout is not None
    child.stdout.readline()  # the kernel closes such files a moment after the parent goes on
    held.close()
    FileLock(tmp_path / "oriel.db.lock", NOW).close()
    child.communicate(b"\n")


def test_a_killed_holder_holds_no_more(tmp_path: Path) -> None:
    script = (
        "import sys, datetime, pathlib; from oriel.store.lock import FileLock;"
        "held = FileLock(pathlib.Path(sys.argv[1]), datetime.datetime.now(datetime.UTC));"
        "print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "oriel.db.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(Conflict, match=f"process {holder.pid}"):
        FileLock(tmp_path / "oriel.db.lock", NOW)
    holder.kill()
    holder.communicate()
    FileLock(tmp_path / "oriel.db.lock", NOW).close()


def test_the_lock_file_is_private(tmp_path: Path) -> None:
    FileLock(tmp_path / "oriel.db.lock", NOW).close()
    assert stat.S_IMODE((tmp_path / "oriel.db.lock").stat().st_mode) == 0o600


def test_no_directory_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        FileLock(tmp_path / "missing" / "oriel.db.lock", NOW)
