"""The log router alone, as typed: a real process, killed for real, and the commands beside it."""

from __future__ import annotations

import base64
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oriel.cli import exits, main

STAMP = "2020-01-01T00:00:00Z"
OPTIONS = ["--syslog", "127.0.0.1:0", "--http", ":0"]


class Router:
    """`oriel logplex` as a process; its ports are free ones."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        code = "import sys; from oriel.cli.main import main; sys.exit(main())"
        argv = [sys.executable, "-c", code, "logplex", "--data", str(self.data), *options]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 30
        while time.monotonic() < until and main.main(self.words("logplex:status")):
            assert self.process.poll() is None
            time.sleep(0.01)

    def words(self, *words: str) -> list[str]:
        return [*words, "--data", str(self.data)]

    def end(self, number: int = signal.SIGKILL) -> int:
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stderr
        self.process.stderr.close()
        self.process = None
        return code


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    made = Router(tmp_path / "logs")
    yield made
    if made.process:
        made.end()


Say = Callable[..., str]


@pytest.fixture
def say(router: Router, capfd: pytest.CaptureFixture[str]) -> Say:
    """Type a command; gives what it prints, and checks how it ends."""

    def said(*words: str, code: int = 0) -> str:
        capfd.readouterr()
        assert main.main(router.words(*words)) == code
        caught = capfd.readouterr()
        return caught.err if code else caught.out

    return said


def _door(say: Say, kind: str) -> int:
    doors = json.loads(say("logplex:status", "--json"))["inlets"]
    return next(int(each["port"]) for each in doors if each["kind"] == kind)


def _post(port: int, token: str, text: str) -> int:
    frame = f"<190>1 {STAMP} host - web.1 - - {text}".encode()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        basic = base64.b64encode(f"token:{token}".encode()).decode()
        headers = {"Content-Type": "application/logplex-1", "Authorization": f"Basic {basic}"}
        connection.request("POST", "/logs", b"%d %b" % (len(frame), frame), headers)
        return connection.getresponse().status


def test_channels_tokens_and_lines_from_the_command_line(router: Router, say: Say) -> None:
    router.start(*OPTIONS)
    assert say("logplex:create", "shop") == "Channel shop created.\n"
    assert say("logplex:create", "shop") == "Channel shop is there already.\n"
    token = say("logplex:tokens-add", "shop", "app").strip()
    assert re.fullmatch(r"t\.[0-9a-f-]{36}", token)
    assert say("logplex:tokens", "shop") == f"{token}  shop  app\n"
    assert say("logplex:channels") == "shop  (1 token)\n"
    assert _post(_door(say, "http"), token, "hello") == 204
    assert say("logplex:logs", "shop").endswith("+00:00 app[web.1]: hello\n")
    assert json.loads(say("logplex:logs", "shop", "--json", "-n", "1"))["sent"] == STAMP
    assert "frames 1, connections 1" in say("logplex:status")
    assert "no log channel" in say("logplex:logs", "nope", code=exits.code_of("not_found"))
    assert "--confirm shop" in say(
        "logplex:destroy", "shop", code=exits.code_of("confirmation_required")
    )
    assert say("logplex:tokens-remove", token) == "Token removed.\n"
    assert _post(_door(say, "http"), token, "hello") == 401
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
        port = _door(say, "http")
        for number in range(20):
            assert _post(port, token, f"life {life} line {number}") == 204
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
