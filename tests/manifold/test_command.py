"""What is shown of a command, and what is run: no config var's value in a log line."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.manifold.command import (
    PATH,
    SHOWN_VARIABLES,
    argv,
    environment,
    read_profile,
    shown,
)

ENV = {
    "PORT": "38180",
    "RACK_ENV": "production",
    "NODE_ENV": "staging",
    "RAILS_ENV": "test",
    "SECRET": "s3cret",
    "PORTAL": "hidden",
}


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        (
            "bundle exec thin start -p $PORT -e $RACK_ENV",
            "bundle exec thin start -p 38180 -e production",
        ),
        ("x ${PORT} ${NODE_ENV} $RAILS_ENV", "x 38180 staging test"),
        ("x $SECRET ${SECRET} $HOME", "x $SECRET ${SECRET} $HOME"),
        ("x $PORTAL ${PORTAL}", "x $PORTAL ${PORTAL}"),
        ("x ${PORT:-80} $", "x ${PORT:-80} $"),
        ("x $port", "x $port"),
        ("", ""),
    ],
)
def test_shown(command: str, seen: str) -> None:
    assert shown(command, ENV) == seen


def test_a_variable_that_is_not_set_is_shown_as_it_is() -> None:
    assert shown("x $PORT $RACK_ENV", {}) == "x $PORT $RACK_ENV"


def test_without_a_profile_there_is_one_shell() -> None:
    assert argv("x $PORT", is_profiled=False) == ("/bin/bash", "-c", "x $PORT")
    assert argv("x $PORT", is_profiled=True)[-1] == "x $PORT"


@given(st.text(), st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text()))
def test_only_the_well_known_are_ever_expanded(command: str, env: dict[str, str]) -> None:
    secret = {key: value for key, value in env.items() if key not in SHOWN_VARIABLES}
    assert shown(command, secret) == command


def test_the_environment_is_config_and_what_is_oriels() -> None:
    profile = {"path": ["/app/.venv/bin"], "env": {"PYTHONUNBUFFERED": "1", "LANG": "x"}}
    config = {"SECRET": "s3cret", "LANG": "de_DE.UTF-8", "HOME": "/x", "DYNO": "y", "PORT": "1"}
    assert environment(config, profile, "web.1", 38180) == {
        "PYTHONUNBUFFERED": "1",
        "SECRET": "s3cret",
        "LANG": "de_DE.UTF-8",
        "HOME": "/app",
        "PATH": "/app/.venv/bin:" + PATH,
        "DYNO": "web.1",
        "PORT": "38180",
    }


def test_a_worker_has_no_port_but_one_that_config_gives() -> None:
    assert "PORT" not in environment({}, {}, "worker.1", None)
    assert environment({"PORT": "5000"}, {}, "worker.1", None)["PORT"] == "5000"


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        (b"", {}),
        (b"[]", {}),
        (b"{", {}),
        (b"\xff", {}),
        (b"[" * 60_000, {}),
        (b'{"path": 1}', {}),
        (b'{"env": []}', {}),
        (b'{"path": ["/a", 1, null]}', {"path": ["/a"], "env": {}}),
        (b'{"env": {"A": "b"}}', {"path": [], "env": {"A": "b"}}),
    ],
)
def test_a_profile_may_be_broken(text: bytes, profile: dict[str, object]) -> None:
    assert read_profile(text) == profile


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_profile_stops_a_start(text: bytes | str) -> None:
    profile = read_profile(text.encode() if isinstance(text, str) else text)
    env = environment({}, profile, "web.1", None)
    assert all(isinstance(each, str) for pair in env.items() for each in pair)


def run(command: str, **env: str) -> str:
    """What a command prints, run as a dyno runs it (outside a sandbox, so without /app)."""
    environ = environment(env, {}, "web.1", None) | {"HOME": os.getcwd()}
    return subprocess.run(argv(command), env=environ, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("echo hello", "hello\n"),
        ("echo \"$SECRET\" '$SECRET'", "s3 cret $SECRET\n"),
        ("echo a; echo b && echo c | tr c d", "a\nb\nd\n"),
        ("echo $0", "/bin/bash\n"),
        ("echo $each $_oriel_file", "mine\n"),
    ],
)
def test_a_command_is_the_shell_s(command: str, output: str) -> None:
    assert run(command, SECRET="s3 cret", each="mine") == output


def test_a_simple_command_takes_the_shell_s_place() -> None:
    """Signals and the exit code are its own."""
    assert run("cat /proc/self/comm /proc/$PPID/comm").split()[0] == "cat"
    pids = run("sh -c 'echo $$ $PPID'").split()
    assert len(pids) == 2
    assert pids[1] == str(os.getpid())
