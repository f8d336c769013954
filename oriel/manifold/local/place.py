"""Owns what lies in an instance's directory and its slug, read and removed with care: an app could
write to both. Must not know what runs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

PROFILE_BYTES_MAX = 64 * 1024


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
        directory = os.open(slug / ".oriel", flags | os.O_DIRECTORY)
    except OSError:
        return b""
    try:
        with os.fdopen(os.open("profile.json", flags, dir_fd=directory), "rb") as file:
            return file.read(PROFILE_BYTES_MAX)
    except OSError:
        return b""
    finally:
        os.close(directory)
