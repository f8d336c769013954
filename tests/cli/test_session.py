from __future__ import annotations

import subprocess

import pytest

from oriel.cli import terminal
from tests.cli.conftest import Oriel
from tests.client.stub import Stub


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True)


def asked(oriel: Oriel, stub: Stub, *words: str) -> str:
    """The app that a command went for."""
    stub.requests.clear()
    oriel("ps", *words)
    return stub.requests[0].path.split("/")[2]


def test_the_app_comes_from_the_nearest_word(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "-q")
    git("remote", "add", "heroku", f"{stub.url}/from-heroku.git")
    assert asked(oriel, stub) == "from-heroku"
    git("remote", "add", "oriel", "http://tunnel.example.com/from-oriel.git")
    assert asked(oriel, stub) == "from-oriel"
    monkeypatch.setenv("ORIEL_APP", "from-environment")
    assert asked(oriel, stub) == "from-environment"
    git("remote", "add", "staging", f"{stub.url}/from-staging.git")
    assert asked(oriel, stub, "-r", "staging") == "from-staging"
    assert asked(oriel, stub, "-r", "staging", "-a", "from-option") == "from-option"


def test_an_app_at_heroku_is_none_of_ours(oriel: Oriel, stub: Stub) -> None:
    git("init", "-q")
    git("remote", "add", "heroku", "https://git.heroku.com/foobaz.git")
    ended = oriel("ps")
    assert ended.code == 2
    assert ended.err.startswith(" !    No app specified.\n !    Add -a NAME")
    assert stub.requests == []


def test_a_remote_that_is_not_there(oriel: Oriel, stub: Stub) -> None:
    assert "There is no git remote x: there is none here." in oriel("ps", "-r", "x").err
    git("init", "-q")
    git("remote", "add", "origin", "https://github.com/ned/foobaz.git")
    assert "it has origin" in oriel("ps", "-r", "x").err
    assert "is no app's" in oriel("ps", "-r", "origin").err


@pytest.mark.parametrize(
    ("environ", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], colour: bool) -> None:
    class Screen:
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert terminal.colourful(Screen()) is colour  # type: ignore[arg-type]
    painted = terminal.painted("up", terminal.GREEN, Screen())  # type: ignore[arg-type]
    assert painted == ("\x1b[32mup\x1b[0m" if colour else "up")


@pytest.mark.parametrize("columns", ["0", "x", "-5", "", "99999", "٣"])
def test_a_width_that_is_none(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal.width() is None or terminal.width() != columns
