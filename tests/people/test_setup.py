"""The one-time setup token."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from oriel.people import setup


def test_only_its_reader_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "setup-token"
    old = os.umask(0)
    try:
        setup.write_token(path, "secret-secret")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "secret-secret\n"
    assert setup.matches(path, "secret-secret")
    assert setup.matches(path, "secret-secret\n")  # pasted
    for wrong in ("", "secret", "secret-secret!", "\ud800"):
        assert not setup.matches(path, wrong)
    assert os.listdir(tmp_path) == ["setup-token"]


def test_once(tmp_path: Path) -> None:
    path = tmp_path / "setup-token"
    setup.write_token(path, "one")
    setup.write_token(path, "two")
    assert not setup.matches(path, "one")
    setup.forget(path)
    setup.forget(path)
    assert not setup.matches(path, "two")
    assert not setup.matches(path, "")


def test_an_empty_file_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "setup-token"
    path.write_text("\n")
    assert not setup.matches(path, "")


def test_no_directory_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        setup.write_token(tmp_path / "missing" / "token", "x")
