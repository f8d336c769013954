"""`run`, `ps:exec` and `ca` as they are typed: what is asked of the API, and what is refused here.
That an attached one works is told in tests/story/test_run.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from oriel.cli.commands import run
from tests.cli.conftest import Oriel
from tests.client.stub import Stub

DYNO = {"name": "run.4321", "size": "Standard-1X", "command": "rake reindex", "oriel": {}}


def asked(stub: Stub) -> Any:
    return stub.calls("POST")[-1].json


def test_detached(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/apps/foobaz/dynos", DYNO)
    ended = oriel("run", "-d", "-a", "foobaz", "-e", "A=b=c", "--ttl", "15m", "rake", "re index")
    assert (ended.out, ended.code) == ("run.4321\n", 0)
    assert "Watch it: oriel logs --tail --ps run.4321 -a foobaz" in ended.err
    assert "Stop it:  oriel ps:stop run.4321 -a foobaz" in ended.err
    assert asked(stub) == {
        "attach": False,
        "command": "rake 're index'",
        "env": {"A": "b=c"},
        "force_no_tty": True,
        "time_to_live": 900,
    }


def test_one_word_is_the_shells(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/apps/foobaz/dynos", DYNO)
    oriel("run", "--detached", "-a", "foobaz", "echo $X | wc -l")
    assert asked(stub)["command"] == "echo $X | wc -l"


def test_what_follows_the_command_is_its_own(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/apps/foobaz/dynos", DYNO)
    oriel("run", "-d", "-a", "foobaz", "ls", "-a", "--help", "-x")
    assert asked(stub)["command"] == "ls -a --help -x"


def test_json_is_for_detached_ones(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/apps/foobaz/dynos", DYNO)
    assert '"name": "run.4321"' in oriel("run", "-d", "--json", "-a", "foobaz", "ls").out
    ended = oriel("run", "--json", "-a", "foobaz", "ls")
    assert ended.code == 2
    assert "--json goes with --detached" in ended.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("run", "-a", "foobaz"), "Missing argument"),
        (("run", "-a", "foobaz", "-e", "X", "ls"), "X is not NAME=VALUE"),
        (("run", "-a", "foobaz", "-e", "=s3cret", "ls"), "is not NAME=VALUE"),
        (("run", "-a", "foobaz", "--ttl", "2 days", "ls"), "2 days is not a time"),
    ],
)
def test_what_makes_no_sense(oriel: Oriel, argv: tuple[str, ...], said: str) -> None:
    ended = oriel(*argv)
    assert ended.code == 2
    assert said in ended.err
    assert "s3cret" not in ended.err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("30", 30), (None, None)]
)
def test_times(text: str | None, seconds: int | None) -> None:
    assert run._seconds(text) == seconds


@pytest.mark.parametrize(
    ("word", "is_dyno"),
    [("web.1", True), ("run.1234", True), ("./x.1", False), ("ls", False), (".1", False)],
)
def test_what_is_a_dynos_name(word: str, is_dyno: bool) -> None:
    assert run._is_dyno(word) is is_dyno


def test_the_authority(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/oriel/authority", {"certificate": "-----BEGIN CERTIFICATE-----\n"})
    assert oriel("ca").out == "-----BEGIN CERTIFICATE-----\n"
    assert "NODE_EXTRA_CA_CERTS" in oriel("ca", "--help").out
