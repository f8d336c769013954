"""Starting fast is a feature: what may be imported is pinned here; `bench/story` measures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import oriel
from tests.cli.commands.test_ps import CRASHED
from tests.cli.commands.test_releases import STORY
from tests.client.stub import Stub

ROOT = Path(oriel.__file__).parents[1]

HEAVY = {
    "asyncio", "concurrent", "cryptography", "dataclasses", "difflib", "encodings.idna", "getpass",
    "logging", "oriel.clock", "oriel.lexicon", "pathlib", "secrets", "shlex", "shutil",
    "sqlalchemy", "starlette", "subprocess", "tempfile", "unicodedata", "urllib.request",
    "webbrowser",
}  # fmt: skip

SHOW = (
    "import sys; from oriel.cli.main import main; code = main(sys.argv[1:]); "
    "print(*sorted(sys.modules), file=sys.stderr); sys.exit(code)"
)


@pytest.fixture
def environ(stub: Stub, tmp_path: Path) -> dict[str, str]:
    stub.on("GET", "/apps/foobaz/dynos", CRASHED)
    stub.on("GET", "/apps/foobaz/releases", STORY)
    repository = tmp_path / "repository" / ".git"
    repository.mkdir(parents=True)
    (repository / "config").write_text(f'[remote "oriel"]\n\turl = {stub.url}/foobaz.git\n')
    inherited = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    return {
        **inherited,
        "HOME": str(tmp_path),
        "ORIEL_API": stub.url,
        "ORIEL_TOKEN": "t",
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled"),
    }


def run(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env=environ,
        cwd=Path(environ["HOME"]) / "repository",
        capture_output=True,
        text=True,
        check=True,
    )


def loaded(environ: dict[str, str], *words: str) -> set[str]:
    return set(run(environ, "-c", SHOW, *words).stderr.split())


def ours(modules: set[str]) -> set[str]:
    return {each.removeprefix("oriel.") for each in modules if each.startswith("oriel.")}


def test_ps_imports_what_it_needs_and_no_more(environ: dict[str, str]) -> None:
    modules = loaded(environ, "ps")
    assert modules & HEAVY == set()
    assert ours(modules) == {
        "cli", "cli.ages", "cli.commands", "cli.commands.ps", "cli.exits", "cli.main",
        "cli.options", "cli.render", "cli.repository", "cli.session", "cli.table",
        "cli.terminal", "client", "client.address", "client.credentials", "client.refusal",
        "client.wire", "faults",
    }  # fmt: skip
    assert loaded(environ, "releases") & HEAVY == set()


def test_help_imports_no_command(environ: dict[str, str]) -> None:
    modules = loaded(environ, "--help")
    assert ours(modules) == {"cli", "cli.exits", "cli.main", "cli.table", "cli.terminal", "faults"}
    assert "http.client" not in modules
