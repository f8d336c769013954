"""`heroku logs` in all its forms (heroku-cli-contract 2.2): Server-Sent Events read by the official
program, which must end at once without --tail and go on with it."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time

import pytest

from .heroku import Heroku, eventually
from .place import Place

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 (app|heroku)\[([\w.-]+)\]: (.*)")


@pytest.fixture(scope="module")
def app(oriel: Place) -> str:
    """An app that has said something: two dynos, and a few lines of each kind."""
    oriel.app("told", "one")
    oriel.ask("PATCH", "/apps/told/formation", {"updates": [{"type": "worker", "quantity": 1}]})
    oriel.wait_up("told", "web.1", "worker.1")
    return "told"


def lines(heroku: Heroku, *argv: str) -> list[tuple[str, str, str]]:
    """(source, ps, text) of each line that `heroku logs` printed."""
    out = heroku("logs", *argv).out
    found = [LINE.fullmatch(line) for line in out.splitlines()]
    assert all(found), out
    return [(match[1], match[2], match[3]) for match in found if match]


def test_all_of_it_and_it_ends_at_once(heroku: Heroku, app: str) -> None:
    def told() -> bool:
        return {ps for _, ps, _ in lines(heroku, "-a", app)} >= {"api", "web.1", "worker.1"}

    eventually(told, "lines of api, web.1 and worker.1")
    began = time.monotonic()
    heroku("logs", "-n", "1", "-a", app)
    with_logs = time.monotonic() - began
    began = time.monotonic()
    heroku("maintenance", "-a", app)
    # Without `retry: 1` the program lingers for 3 s; a command takes 1 to 2.
    assert with_logs < time.monotonic() - began + 2.5


def test_filters(heroku: Heroku, app: str) -> None:
    def some() -> list[tuple[str, str, str]]:
        return lines(heroku, "-a", app, "-n", "50", "-s", "app")

    said = eventually(some, "lines of the app")
    assert {source for source, _, _ in said} == {"app"}
    assert len(lines(heroku, "-a", app, "-n", "2")) == 2
    for argv in (["--ps", "web.1"], ["-d", "web.1"], ["-p", "web"]):
        assert {ps for _, ps, _ in lines(heroku, "-a", app, *argv)} == {"web.1"}, argv
    told = lines(heroku, "-a", app, "--source", "heroku", "--ps", "api")
    assert any(text.startswith("Scale to web=1, worker=1 by ") for _, _, text in told), told


def test_a_tail_shows_a_line_as_it_comes(heroku: Heroku, oriel: Place, app: str) -> None:
    tail = heroku.start("logs", "-t", "-a", app)
    try:
        assert tail.stdout is not None
        _read_until(tail, "heroku[")
        oriel.ask("PATCH", f"/apps/{app}", {"maintenance": True})
        _read_until(tail, "Set maintenance mode on by")
        assert tail.poll() is None
    finally:
        os.killpg(tail.pid, signal.SIGKILL)
        tail.communicate()


def _read_until(tail: subprocess.Popen[str], wanted: str, within_s: float = 20.0) -> None:
    assert tail.stdout is not None
    seen = b""
    deadline = time.monotonic() + within_s
    while wanted.encode() not in seen:
        ready, _, _ = select.select([tail.stdout], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"not within {within_s} s: {wanted!r}; seen: {seen!r}"
        chunk = os.read(tail.stdout.fileno(), 1 << 16)
        assert chunk, f"the tail ended before {wanted!r}: {seen!r}"
        seen += chunk
