"""Debian's rsyslog and syslog-ng, as other people's syslog: they send to logplex, and take drains.

rsyslog conflicts with syslog-ng as a package, so it is downloaded by apt, unpacked into `.setup`,
and run from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".setup" / "rsyslog"
PACKAGES = ("rsyslog", "rsyslog-gnutls", "libestr0", "libfastjson4")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


@functools.cache
def rsyslog_root() -> Path:
    """Where rsyslog is unpacked; skips the test when it cannot be had."""
    CACHE.parent.mkdir(exist_ok=True)
    with (CACHE.parent / "rsyslog.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "usr/sbin/rsyslogd").exists():
            _fetch()
    return CACHE


def _fetch() -> None:
    draft = CACHE.with_name("rsyslog.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    got = subprocess.run(
        ["apt-get", "download", *PACKAGES], cwd=draft, capture_output=True, timeout=120, check=False
    )
    if got.returncode:
        pytest.skip("rsyslog's packages cannot be downloaded")
    for package in sorted(draft.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, draft], check=True, capture_output=True)
        package.unlink()
    draft.rename(CACHE)


@contextlib.contextmanager
def rsyslog(directory: Path, config: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run rsyslog in the foreground with a configuration of its own."""
    root = rsyslog_root()
    libraries = next(iter(root.glob("usr/lib/*-linux-gnu")))
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "rsyslog.conf"
    path.write_text(f'global(workDirectory="{directory}")\n{config}\n')
    modules = f"{libraries}/rsyslog"
    argv = [
        *(str(root / "usr/sbin/rsyslogd"), "-n", "-f", str(path), "-M", modules),
        *("-i", str(directory / "rsyslog.pid")),
    ]
    with _running(argv, directory / "rsyslog.out", {"LD_LIBRARY_PATH": str(libraries)}) as process:
        yield process


@contextlib.contextmanager
def syslog_ng(directory: Path, config: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run syslog-ng in the foreground with a configuration of its own."""
    program = shutil.which("syslog-ng") or shutil.which("syslog-ng", path="/usr/sbin")
    if program is None:
        pytest.skip("syslog-ng is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "syslog-ng.conf"
    path.write_text(f'@version: 3.35\n@include "scl.conf"\n{config}\n')
    argv = [
        *(program, "-F", "--no-caps", "-f", str(path), "-R", str(directory / "persist")),
        *("-c", str(directory / "control"), "-p", str(directory / "pid")),
    ]
    with _running(argv, directory / "syslog-ng.out", {}) as process:
        yield process


@contextlib.contextmanager
def _running(
    argv: list[str], output: Path, environ: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as said:
        process = subprocess.Popen(
            argv, stdout=said, stderr=said, stdin=subprocess.DEVNULL, env={**os.environ, **environ}
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
