"""`oriel logplex` as a process, and the commands beside it, as typed."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oriel.cli import main

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


def door(say: Say, kind: str) -> int:
    doors = json.loads(say("logplex:status", "--json"))["inlets"]
    return next(int(each["port"]) for each in doors if each["kind"] == kind)


def post(port: int, token: str, text: str) -> int:
    frame = f"<190>1 {STAMP} host - web.1 - - {text}".encode()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        basic = base64.b64encode(f"token:{token}".encode()).decode()
        headers = {"Content-Type": "application/logplex-1", "Authorization": f"Basic {basic}"}
        connection.request("POST", "/logs", b"%d %b" % (len(frame), frame), headers)
        return connection.getresponse().status
