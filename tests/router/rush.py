"""Requests as fast as they go: wrk, and an app that answers and counts them without Python.

The app is a HAProxy of its own, so that nothing on a request's way is slower than what is tested.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import debs
from oriel.router import Server
from oriel.router.haproxy import program

from .conftest import free_port, until

_APP = """\
global
  stats socket {socket} mode 600 level admin
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout connect 5s
  timeout server 60s
frontend app
  bind 127.0.0.1:{port} backlog 4096
  http-request return status 200 content-type text/plain string hello
"""


@dataclass(frozen=True)
class QuickApp:
    """One that answers `hello` to whatever it is asked."""

    port: int
    control: Path

    def server(self) -> Server:
        return Server("web.1", "a" * 32, "127.0.0.1", self.port)

    def requests(self) -> int:
        """How many it has had."""
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(self.control))
            door.sendall(b"show stat app 1 -1\n")
            text = door.makefile("rb").read().decode()
        names, values = (line.split(",") for line in text.strip().splitlines()[:2])
        return int(values[names.index("req_tot")])


@contextlib.contextmanager
def quick_app(directory: Path) -> Iterator[QuickApp]:
    """One for the length of a block."""
    directory.mkdir()
    made = QuickApp(free_port(), directory / "app.sock")
    config = directory / "app.cfg"
    config.write_text(_APP.format(port=made.port, socket=made.control))
    process = subprocess.Popen([program(), "-db", "-f", str(config)])
    try:
        until(made.control.exists, "the app is up")
        yield made
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Rush:
    """What wrk saw."""

    requests: int
    per_s: float
    errors: int
    """Connections that failed or were closed under a request."""
    refused: int
    """Answers that were no 2xx or 3xx."""
    said: str


class Wrk:
    """A run of wrk, which goes on until its time is over."""

    def __init__(self, url: str, host: str, *, seconds: float, connections: int) -> None:
        place = debs.unpacked("wrk", ["wrk", "libluajit-5.1-2"], "usr/bin/wrk")
        if place is None:
            pytest.skip("wrk could not be fetched")
        self._process = subprocess.Popen(
            [
                str(place / "usr/bin/wrk"),
                *("-t", "1", "-c", f"{connections}", "-d", f"{seconds:.0f}s", "--latency"),
                *("--timeout", "20s", "-H", f"Host: {host}", url),
            ],
            env=debs.libraries(place),
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End it early."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def seen(self) -> Rush:
        """What it saw, once it has ended."""
        said = self._process.communicate()[0]
        assert self._process.returncode == 0, said
        return Rush(
            requests=int(_found(r"(\d+) requests in", said)),
            per_s=float(_found(r"Requests/sec:\s+([\d.]+)", said)),
            errors=sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", said))),
            refused=sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", said))),
            said=said,
        )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]
