from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oriel import faults
from oriel.cli import exits, table
from oriel.cli.main import load, main
from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal

ROOT = Path(table.__file__).parents[2]
EVERY = [
    (name, target) for section in table.COMMANDS.values() for name, (target, _) in section.items()
]
OURS = [(name, target) for name, target in EVERY if target.startswith(table.HERE)]


@pytest.mark.parametrize(("name", "target"), OURS)
def test_each_command_is_there_with_help_and_an_example(
    oriel: Oriel, stub: Stub, name: str, target: str
) -> None:
    assert load(target).help
    ended = oriel(name, "--help")
    assert ended.code == 0
    assert f"Usage: oriel {name}" in ended.out
    assert "Example:\n    " in ended.out
    assert oriel("help", name).out == ended.out
    assert stub.requests == []


def test_each_alias_means_a_command() -> None:
    for alias, name in table.ALIASES.items():
        assert table.find(alias) == table.find(name) is not None
        assert alias not in dict(EVERY)


READING = [
    "apps", "apps:info", "ps", "ps:scale", "logs", "releases", "releases:info", "releases:diff",
    "releases:verify", "config", "config:get", "maintenance", "builds", "builds:info", "whoami",
    "users", "access", "open",
]  # fmt: skip


@pytest.mark.parametrize("name", READING)
def test_what_reads_has_json(oriel: Oriel, name: str) -> None:
    assert "--json" in oriel(name, "--help").out


def test_help_lists_every_command(oriel: Oriel) -> None:
    text = oriel("--help").out
    assert oriel("help").out == text
    assert oriel().out == text
    for name, _ in EVERY:
        assert f"\n  {name} " in text
    assert "git:credentials" not in text


def test_version(oriel: Oriel) -> None:
    assert oriel("version").out == oriel("--version").out == "oriel 0.1.0\n"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["relases"], "oriel releases"),
        (["rolback"], "oriel rollback"),
        (["config:ad"], "oriel config:add"),
        (["ps", "scale", "web=2"], "oriel ps:scale"),
        (["config", "get", "FOO"], "oriel config:get"),
    ],
)
def test_what_was_probably_meant(oriel: Oriel, words: list[str], meant: str) -> None:
    ended = oriel(*words)
    assert ended.code in (exits.USAGE, exits.UNKNOWN_COMMAND)
    assert meant in ended.err
    assert ended.out == ""


def test_unknown_words(oriel: Oriel) -> None:
    assert oriel("frobnicate").code == 127
    assert oriel("help", "frobnicate").code == 127
    ended = oriel("ps", "--frobnicate")
    assert ended.code == 2
    assert " !    Usage: oriel ps [OPTIONS] [TYPE|TYPE.N]...\n" in ended.err


def test_every_fault_has_an_exit_code() -> None:
    def below(kind: type[faults.Fault]) -> list[type[faults.Fault]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in below(sub))]

    named = {each.id for each in below(faults.Fault) if each.__module__ == "oriel.faults"}
    assert named <= set(exits.CODES)
    assert 0 not in exits.CODES.values()
    assert exits.code_of("never heard of") == exits.FAILED


@pytest.mark.parametrize(("id", "status"), [("unauthorized", 401), ("release_pending", 409)])
def test_a_refusal_is_told_with_its_hint(oriel: Oriel, stub: Stub, id: str, status: int) -> None:
    stub.on("GET", "/apps/foobaz/dynos", refusal(status, id, "No.\nReally.", hint="Type this."))
    ended = oriel("ps", "-a", "foobaz")
    assert (ended.out, ended.err) == ("", " !    No.\n !    Really.\n !    Type this.\n")
    assert ended.code == exits.CODES[id]


def test_without_a_server_extra_up_says_how_to_get_it(
    oriel: Oriel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needs_more.py").write_text("import a_package_of_the_server_extra\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(table.COMMANDS["Server"], "up", ("needs_more:up", ""))
    ended = oriel("up")
    assert ended.code == 1
    assert "a_package_of_the_server_extra is not installed" in ended.err
    assert "pip install 'oriel[server]'" in ended.err


def test_without_a_login_it_says_how_to(oriel: Oriel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORIEL_TOKEN")
    ended = oriel("ps", "-a", "foobaz")
    assert ended.code == 8
    assert "Log in: oriel login" in ended.err
    monkeypatch.setenv("ORIEL_TOKEN", "two words")
    assert oriel("ps", "-a", "foobaz").code == 8
    monkeypatch.setenv("ORIEL_API", "gopher://x")
    assert "ORIEL_API" in oriel("ps", "-a", "foobaz").err


@pytest.mark.parametrize("broken", ["PATH", "stdout"])
def test_a_reader_that_has_gone_is_no_error(stub: Stub, tmp_path: Path, broken: str) -> None:
    stub.on("GET", "/apps/foobaz/config-vars", {f"K{n}": "x" * 1000 for n in range(1000)})
    environ = {**os.environ, "ORIEL_API": stub.url, "ORIEL_TOKEN": "t", "PYTHONPATH": str(ROOT)}
    if broken == "stdout":
        script = 'exec 3>&1; { "$0" -m oriel.cli.main config -a foobaz; echo $? >&3; } | true'
    else:
        script = '{ "$0" -m oriel.cli.main config -a foobaz; echo $? >&2; } 2>&1 >/dev/null | cat'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == ("141" if broken == "stdout" else "0")


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("oriel.cli.session.address", interrupted)
    assert main(["whoami"]) == 130
    assert capsys.readouterr() == ("", "\n")
