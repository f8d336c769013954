"""Debian's rsyslog and syslog-ng, as other people's syslog: they send to logplex, and take drains.

As packages they conflict with each other, so both are downloaded by apt, unpacked into `.setup`,
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
CACHE = ROOT / ".setup"
PACKAGES = {
    "rsyslog": ("rsyslog", "rsyslog-gnutls", "libestr0", "libfastjson4"),
    "syslog-ng": (
        *("syslog-ng-core", "libivykis0", "libnet1", "libjson-c5", "libwrap0", "libpcre3"),
        *("libglib2.0-0",),
    ),
}


@functools.cache
def unpacked(name: str) -> Path:
    """Where one of them is unpacked; skips the test when it cannot be had."""
    CACHE.mkdir(exist_ok=True)
    place = CACHE / name
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "usr/sbin").is_dir():
            _fetch(name, place)
    return place


def _fetch(name: str, place: Path) -> None:
    draft = place.with_name(f"{name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    argv = ["apt-get", "download", *PACKAGES[name]]
    got = subprocess.run(argv, cwd=draft, capture_output=True, timeout=120, check=False)
    if got.returncode:
        pytest.skip(f"the packages of {name} cannot be downloaded")
    for package in sorted(draft.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, draft], check=True, capture_output=True)
        package.unlink()
    draft.rename(place)


def _libraries(root: Path) -> Path:
    return next(iter(root.glob("usr/lib/*-linux-gnu")))


@contextlib.contextmanager
def rsyslog(directory: Path, config: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run rsyslog in the foreground with a configuration of its own."""
    root = unpacked("rsyslog")
    libraries = _libraries(root)
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
    root = unpacked("syslog-ng")
    own = root / "usr/lib/syslog-ng"
    modules = next(each for each in own.iterdir() if each.is_dir())
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "syslog-ng.conf"
    path.write_text(f"@version: {modules.name}\n{config}\n")
    argv = [
        *(str(root / "usr/sbin/syslog-ng"), "-F", "--no-caps", "-f", str(path)),
        *("-R", str(directory / "persist"), "-c", str(directory / "control")),
        *("-p", str(directory / "pid"), f"--module-path={modules}"),
    ]
    places = [own, *root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
    paths = {"LD_LIBRARY_PATH": ":".join(map(str, places))}
    with _running(argv, directory / "syslog-ng.out", paths) as process:
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
