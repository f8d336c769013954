"""Owns the setup token: a file that only who runs Oriel can read makes its reader the owner, once.

Must not know accounts: whoever makes the owner calls `forget`.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from oriel.clock import new_id


def write_token(path: Path, secret: str) -> None:
    """Write the secret to `path`, mode 600, whole or not at all."""
    draft = path.with_name(f".{path.name}.{new_id()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def matches(path: Path, secret: str) -> bool:
    """Whether `secret` is the one in the file; never when there is no file or it is empty."""
    try:
        kept = path.read_bytes().strip()
    except OSError:
        return False
    given = secret.strip().encode("utf-8", "surrogatepass")
    return bool(kept) and hmac.compare_digest(kept, given)


def forget(path: Path) -> None:
    """Take the token away once there is an owner."""
    path.unlink(missing_ok=True)
