"""`ps --watch`, as a process of its own: on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import queue
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import oriel
from tests.cli.commands.test_ps_wait import PATH, seen, web
from tests.client.stub import Reply, Request, Stub, refusal

ROOT = Path(oriel.__file__).parents[1]
WITHIN_S = 20.0

Answers = queue.Queue[Any]


@pytest.fixture
def answers(stub: Stub) -> Iterator[Answers]:
    """What the server answers, each to one held request."""
    coming: Answers = queue.Queue()

    def answer(request: Request) -> Reply:
        given = coming.get(timeout=WITHIN_S)
        return given if isinstance(given, Reply) else Reply(given)

    stub.on("GET", PATH, answer)
    yield coming
    for _ in range(8):  # Whoever is held still is let go.
        coming.put(refusal(404, "not_found", "Over."))


class Watching:
    """A run of `oriel ps --watch`, and what it has shown so far."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self.fd = fd
        self.text = ""

    def until(self, text: str) -> str:
        """What came up to and with `text`; what comes next is looked at afresh."""
        deadline_s = time.monotonic() + WITHIN_S
        while text not in self.text:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"no {text!r} in {self.text!r}"
            if select.select([self.fd], [], [], left_s)[0]:
                self.text += self._read()
        found, _, self.text = self.text.partition(text)
        return found + text

    def end(self, number: int) -> tuple[int, str]:
        """End it with a signal; its exit code, and what it still said."""
        self.process.send_signal(number)
        code = self.process.wait(WITHIN_S)
        while select.select([self.fd], [], [], 0)[0] and (more := self._read()):
            self.text += more
        return code, self.text

    def _read(self) -> str:
        try:
            return os.read(self.fd, 65536).decode()
        except OSError:  # The other end of a terminal is gone.
            return ""


@contextmanager
def watching(stub: Stub, home: Path, *words: str, terminal: bool) -> Iterator[Watching]:
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 80, 0, 0))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "xterm",
        "TZ": "UTC",
        "ORIEL_API": stub.url,
        "ORIEL_TOKEN": "t",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    argv = [sys.executable, "-m", "oriel.cli.main", "ps", "--watch", "-a", "foobaz", *words]
    process = subprocess.Popen(
        argv,
        env=env,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Watching(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_it_redraws_in_place_and_gives_the_terminal_back(
    stub: Stub, answers: Answers, tmp_path: Path
) -> None:
    answers.put(seen("a", web("starting")))
    with watching(stub, tmp_path, terminal=True) as shown:
        first = shown.until("starting\x1b[0m for 5s")
        assert first.startswith("\x1b[?1049h\x1b[?25l\x1b[H")
        assert "foobaz, v74, Sun Jun 19 08:35:25 2011. Ctrl-C ends." in first
        # Nothing changed, but a second has passed.
        shown.until("starting\x1b[0m for 6s")
        answers.put(seen("b", web("up", since="2011-06-19T08:35:25Z")))
        shown.until("up\x1b[0m for 0s")
        answers.put(refusal(503, "unavailable", "Oriel is being restarted."))
        shown.until("Oriel is being restarted. Trying again; this is what was there last.")
        # It is back, and nothing has changed: the message goes.
        answers.put(seen("b", web("up", since="2011-06-19T08:35:25Z")))
        shown.until("\x1b[J")
        shown.until("\x1b[J")
        code, rest = shown.end(signal.SIGINT)
        assert code == 130
        left = rest.rpartition("\x1b[?25h\x1b[?1049l")[2]
        assert left.splitlines()[0] == "Process       State               Command"
        assert "web.1" in left
        assert "Traceback" not in rest


def test_a_low_terminal_is_told_what_is_left_out(
    stub: Stub, answers: Answers, tmp_path: Path
) -> None:
    answers.put(seen("a", *(web("up", name=f"web.{number}") for number in range(1, 31))))
    with watching(stub, tmp_path, terminal=True) as shown:
        first = shown.until("\x1b[J")
        assert first.count("\r\n") == 11
        assert "... and 24 more" in first
        code, rest = shown.end(signal.SIGTERM)
        assert code == 143
        assert "\x1b[?1049l" in rest


def test_in_a_pipe_a_fresh_table_comes_with_each_change(
    stub: Stub, answers: Answers, tmp_path: Path
) -> None:
    answers.put(seen("a", web("starting"), web("up", name="web.2")))
    with watching(stub, tmp_path, "web.1", terminal=False) as shown:
        first = shown.until("-e..\n")
        assert first.splitlines()[2].startswith("web.1         starting for 5s")
        # Of another process: nothing to tell.
        answers.put(seen("b", web("starting"), web("crashed", name="web.2")))
        answers.put(refusal(503, "unavailable", "Oriel is being restarted."))
        answers.put(refusal(503, "unavailable", "Oriel is being restarted."))
        answers.put(seen("c", web("up"), web("crashed", name="web.2")))
        assert shown.until("-e..\n").splitlines() == [
            "Oriel is being restarted. Trying again; this is what was there last.",
            "",
            "Process       State               Command",
            "------------  ------------------  ------------------------------",
            "web.1         up for 5s           bundle exec thin start -p $PORT -e..",
        ]
        code, rest = shown.end(signal.SIGINT)
        assert (code, rest.strip()) == (130, "")


def test_as_json_a_line_a_change(stub: Stub, answers: Answers, tmp_path: Path) -> None:
    answers.put(seen("a", web("starting")))
    with watching(stub, tmp_path, "--json", terminal=False) as shown:
        first = json.loads(shown.until("\n"))
        assert (first["app"], first["release"]) == ("foobaz", 74)
        assert first["dynos"] == [web("starting")]
        answers.put(seen("b", web("up")))
        assert json.loads(shown.until("\n"))["dynos"] == [web("up")]
        answers.put(refusal(404, "not_found", "Couldn't find that app."))
        shown.until(" !    Couldn't find that app.\n")
        assert shown.process.wait(WITHIN_S) == 4
