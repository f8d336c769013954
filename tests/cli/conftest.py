from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oriel.cli.main import main
from tests.client.stub import Stub


class Ended:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


Oriel = Callable[..., Ended]


@pytest.fixture(scope="session")
def server() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


@pytest.fixture
def stub(server: Stub) -> Stub:
    server.reset()
    return server


@pytest.fixture
def oriel(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Oriel:
    """Run a command line against the stub, outside of any repository, logged in as ned."""
    for name in ("COLUMNS", "NO_COLOR", "ORIEL_APP", "GIT_DIR", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("ORIEL_API", stub.url)
    monkeypatch.setenv("ORIEL_TOKEN", "ned-token")
    monkeypatch.setenv("TZ", "UTC")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(*words: str, stdin: str | bytes = "") -> Ended:
        raw = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        capsys.readouterr()
        code = main(words)
        shown = capsys.readouterr()
        return Ended(code, shown.out, shown.err)

    return run
