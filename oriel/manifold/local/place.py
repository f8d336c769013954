"""Owns what lies in an instance's directory and its slug, read and removed with care: an app could
write to both. Must not know what runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from oriel.manifold.launcher import Launched, LaunchSpec

PROFILE_BYTES_MAX = 64 * 1024


def make(place: Path, spec: LaunchSpec, at: Launched, *marks: str) -> None:
    """The directory, with what says whose it is, and the FIFO for what it says. What `marks` it is
    there before all else.
    """
    os.makedirs(place, mode=0o700)
    for mark in marks:
        (place / mark).touch()
    reached = {"host": at.host, "port": at.port, "fronted": at.fronted}
    write(place / "identity.json", {**spec.identity(), **reached})
    fifo = f"{place}/out"
    os.mkfifo(fifo, 0o600)
    if os.geteuid() == 0:
        # An app that opens /dev/stdout anew may write to it, and not read its own log back:
        # by its group, since an owner could change the mode.
        os.chown(fifo, 0, spec.uid)
        os.chmod(fifo, 0o620)


def remove(place: Path) -> None:
    """Remove an instance's directory, its identity last: a kill in between leaves one that the
    next start knows what to do with.
    """
    for each in list(place.iterdir()) if place.is_dir() else []:
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, onerror=_make_way)
        elif each.name != "identity.json":
            each.unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)


def _make_way(_: Callable[..., object], path: str, __: object) -> None:
    """A copy of the app's files may hold directories that it made unwritable: each is opened up,
    once, and tried again.
    """
    with contextlib.suppress(OSError):
        for each in (os.path.dirname(path), path):
            mode = os.lstat(each).st_mode
            if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
                os.chmod(each, 0o700)
                shutil.rmtree(each, onerror=_make_way)


def read_profile(slug: Path) -> bytes:
    """The slug's profile; nothing where it is no plain file. Its tree is the app's: no link in
    it is followed.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        directory = os.open(f"{slug}/.oriel", flags | os.O_DIRECTORY)
    except OSError:
        return b""
    try:
        with os.fdopen(os.open("profile.json", flags, dir_fd=directory), "rb") as file:
            return file.read(PROFILE_BYTES_MAX)
    except OSError:
        return b""
    finally:
        os.close(directory)


def is_profiled(slug: Path) -> bool:
    """Whether a shell finds something in it to read before a command runs."""
    return any(os.path.lexists(f"{slug}/{name}") for name in (".profile", ".profile.d"))


def open_fifo(path: Path, how: int) -> int:
    """An end of a FIFO, without waiting for the other."""
    return os.open(path, how | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


def identity(place: Path, host: str) -> tuple[LaunchSpec, Launched]:
    """Whose it is, and where that is reached (`host` where nothing else is said); ValueError where
    that is damaged.
    """
    kept = json.loads((place / "identity.json").read_text())
    spec = LaunchSpec.from_identity(kept)
    if spec.instance != place.name:
        raise ValueError("its identity is another's")
    found = str(kept.get("host", host)), kept.get("port"), bool(kept.get("fronted"))
    return spec, Launched(*found)


def write(path: Path, value: object) -> None:
    """A file of JSON, whole or not at all."""
    draft = f"{path}.new"
    with open(draft, "wb") as file:
        file.write(json.dumps(value).encode())
    os.replace(draft, path)


def read(path: Path) -> dict[str, object]:
    """The object in a file of JSON; an empty one where there is none."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
