"""Debian's pebble, a real ACME server, with its own DNS: every name leads to this machine.

Downloaded by apt, unpacked into `.setup`, and run from there: it needs no service.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oriel.authority import Authority
from oriel.clock import SystemClock

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".setup" / "pebble"


@functools.cache
def programs() -> Path:
    """Where pebble's programs are; skips the test when they cannot be had."""
    CACHE.parent.mkdir(exist_ok=True)
    with (CACHE.parent / "pebble.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "usr/bin/pebble").exists():
            _fetch()
    return CACHE / "usr/bin"


def _fetch() -> None:
    draft = CACHE.with_name("pebble.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    argv = ["apt-get", "download", "pebble"]
    if subprocess.run(argv, cwd=draft, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip("Debian's pebble cannot be downloaded")
    for package in draft.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, draft], check=True, capture_output=True)
        package.unlink()
    draft.rename(CACHE)


@dataclass
class Pebble:
    """A running one."""

    directory: str
    ca: Path
    management: str
    dns: str
    said: Path

    def roots(self) -> str:
        """The certificate (PEM) that its certificates lead to."""
        context = ssl.create_default_context(cafile=str(self.ca))
        url = f"{self.management}/roots/0"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            return str(answer.read().decode())

    def point(self, host: str, *addresses: str) -> None:
        """Where a host leads; nowhere without an address."""
        self._ask("clear-a", {"host": host})
        if addresses:
            self._ask("add-a", {"host": host, "addresses": addresses})

    def fail(self, host: str) -> None:
        """The DNS of a host is broken."""
        self._ask("set-servfail", {"host": host})

    def heal(self, host: str) -> None:
        """It is well again."""
        self._ask("clear-servfail", {"host": host})

    def _ask(self, what: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(f"{self.dns}/{what}", data=json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=10).close()


@contextlib.contextmanager
def pebble(directory: Path, http_port: int, **environ: str) -> Iterator[Pebble]:
    """Run it; hosts are asked for their challenges at `http_port`."""
    where = programs()
    directory.mkdir(parents=True, exist_ok=True)
    api, management, dns, dns_management = (_free_port() for _ in range(4))
    authority = Authority.open(directory / "authority.pem", SystemClock())
    pem, _ = authority.sign(frozenset({"127.0.0.1", "localhost"}))
    (directory / "server.pem").write_bytes(pem)
    ca = directory / "ca.pem"
    ca.write_text(authority.certificate)
    config = {
        "listenAddress": f"127.0.0.1:{api}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(directory / "server.pem"),
        "privateKey": str(directory / "server.pem"),
        "httpPort": http_port,
        "tlsPort": 1,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (directory / "pebble.json").write_text(json.dumps({"pebble": config}))
    off: list[str] = []
    for each in ("http01", "https01", "tlsalpn01"):
        off += [f"-{each}", ""]
    names = [
        str(where / "pebble-challtestsrv"),
        *("-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{dns}"),
        *("-management", f"127.0.0.1:{dns_management}", *off),
    ]
    server = [
        str(where / "pebble"),
        *("-config", str(directory / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"),
    ]
    said = directory / "pebble.out"
    quick = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20", **environ}
    with _running(names, directory / "dns.out", {}), _running(server, said, quick):
        for port in (api, management, dns_management):
            _wait(port)
        yield Pebble(
            f"https://127.0.0.1:{api}/dir",
            ca,
            f"https://127.0.0.1:{management}",
            f"http://127.0.0.1:{dns_management}",
            said,
        )


@contextlib.contextmanager
def _running(argv: list[str], output: Path, environ: dict[str, str]) -> Iterator[None]:
    with output.open("wb") as said:
        process = subprocess.Popen(
            argv, stdout=said, stderr=said, stdin=subprocess.DEVNULL, env={**os.environ, **environ}
        )
        try:
            yield
        finally:
            process.kill()
            process.wait(10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on {port}"
            time.sleep(0.02)
