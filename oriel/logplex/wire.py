"""Owns how control and logplex talk: one JSON object a line. Must not know operations."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 32 * 1024 * 1024
"""A request of as many platform lines as one may have fits."""

_ADDRESS_BYTES_MAX = 107


def packed(value: dict[str, Any]) -> bytes:
    """An object as its line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def unpacked(line: bytes) -> dict[str, Any]:
    """The object in a line; raises ValueError."""
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """A name of a Unix socket that fits into an address, however long its path is."""
    if len(os.fsencode(path)) <= _ADDRESS_BYTES_MAX:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600; what a killed process left there is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with address(draft) as name:
            made.bind(name)
        os.chmod(draft, 0o600)
        made.listen(128)
        # Renamed when it answers: nobody meets a socket that is not ready, or not private.
        os.rename(draft, path)
    except OSError:
        made.close()
        raise
    return made
