"""The log router alone, as typed: a real process, killed for real, and the commands beside it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oriel.cli import exits, main
from tests.house.alone.conftest import OPTIONS, STAMP, Router, Say, door, post


def test_channels_tokens_and_lines_from_the_command_line(router: Router, say: Say) -> None:
    router.start(*OPTIONS)
    assert say("logplex:create", "shop") == "Channel shop created.\n"
    assert say("logplex:create", "shop") == "Channel shop is there already.\n"
    token = say("logplex:tokens-add", "shop", "app").strip()
    assert re.fullmatch(r"t\.[0-9a-f-]{36}", token)
    assert say("logplex:tokens", "shop") == f"{token}  shop  app\n"
    assert say("logplex:channels") == "shop  (1 token)\n"
    assert post(door(say, "http"), token, "hello") == 204
    assert say("logplex:logs", "shop").endswith("+00:00 app[web.1]: hello\n")
    assert json.loads(say("logplex:logs", "shop", "--json", "-n", "1"))["sent"] == STAMP
    assert "frames 1, connections 1" in say("logplex:status")
    assert "no log channel" in say("logplex:logs", "nope", code=exits.code_of("not_found"))
    assert "--confirm shop" in say(
        "logplex:destroy", "shop", code=exits.code_of("confirmation_required")
    )
    assert say("logplex:tokens-remove", token) == "Token removed.\n"
    assert post(door(say, "http"), token, "hello") == 401
    assert say("logplex:destroy", "shop", "--confirm", "shop") == "Channel shop removed.\n"
    assert say("logplex:channels") == ""
    assert router.end(signal.SIGTERM) == 0
    assert "oriel logplex --data" in say("logplex:channels", code=exits.code_of("unavailable"))


def test_what_was_answered_with_204_survives_a_sigkill_and_so_do_tokens(
    router: Router, say: Say
) -> None:
    router.start(*OPTIONS)
    say("logplex:create", "shop")
    token = say("logplex:tokens-add", "shop", "app").strip()
    for life in range(3):
        port = door(say, "http")
        for number in range(20):
            assert post(port, token, f"life {life} line {number}") == 204
        router.end(signal.SIGKILL)
        router.start(*OPTIONS)
    said = [line.split(": ", 1)[1] for line in say("logplex:logs", "shop").splitlines()]
    assert said == [f"life {life} line {number}" for life in range(3) for number in range(20)]


def test_alone_it_listens_nowhere_but_at_its_own_socket(router: Router, say: Say) -> None:
    router.start()
    assert router.process
    listening = []
    for line in Path(f"/proc/{router.process.pid}/net/tcp").read_text().splitlines()[1:]:
        listening.append(line.split()[9])
    for line in Path(f"/proc/{router.process.pid}/net/udp").read_text().splitlines()[1:]:
        listening.append(line.split()[9])
    own = {
        target.split("[")[1].rstrip("]")
        for each in Path(f"/proc/{router.process.pid}/fd").iterdir()
        if (target := str(each.readlink())).startswith("socket:")
    }
    assert own & set(listening) == set()
    assert (router.data / "run" / "logplex.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "words",
    [
        ["--syslog", "nonsense"],
        ["--syslog-tls", ":6514"],
        ["--tls-cert", "x"],
        ["--unix", "relative"],
        ["--unix-mode", "rw"],
        ["--allow-egress", "nonsense"],
    ],
)
def test_what_makes_no_sense_is_refused_before_it_starts(say: Say, words: list[str]) -> None:
    assert main.main(["logplex", "--data", "/nonexistent", *words]) != 0


def test_a_port_in_use_is_said(router: Router) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code = "import sys; from oriel.cli.main import main; sys.exit(main())"
        argv = [sys.executable, "-c", code, "logplex", "--data", str(router.data)]
        argv += ["--syslog", f"127.0.0.1:{taken.getsockname()[1]}"]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "in use" in ended.stderr
    assert "Traceback" not in ended.stderr
