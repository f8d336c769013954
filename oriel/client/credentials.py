"""Owns what is remembered of a login: `oriel/credentials.json` below the user's configuration.

One entry for each API: e-mail, token, and the token's id. The file is the user's alone (mode 600)
and is replaced whole, so that a kill leaves the old or the new one. Must not know HTTP.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from oriel.client.refusal import Refusal

VERSION = 1
SIZE_MAX = 1 << 20


class Login:
    """What is remembered of one login."""

    __slots__ = ("authorization", "email", "token")

    def __init__(self, email: str, token: str, authorization: str = "") -> None:
        """`authorization` is the token's id, by which logging out revokes it."""
        self.email = email
        self.token = token
        self.authorization = authorization


def path_of(environ: Mapping[str, str], platform: str = sys.platform) -> str:
    """Where the file is: $XDG_CONFIG_HOME, else the platform's own place for such things."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        base = environ.get("APPDATA", "") if platform == "win32" else ""
    if not base:
        base = os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "oriel", "credentials.json")


def load(path: str) -> dict[str, Login]:
    """Every login by the origin of its API; none where there is no file."""
    try:
        with open(path, "rb") as file:
            _keep_private(file.fileno())
            text = file.read(SIZE_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise _unusable(path, f"cannot be read: {problem.strerror}") from None
    return _parse(path, text)


def token_for(path: str, origin: str) -> str:
    """The token for an API; empty when not logged in."""
    found = load(path).get(origin)
    return found.token if found else ""


def remember(path: str, origin: str, login: Login) -> None:
    """Keep a login, in place of an earlier one to the same API."""
    _save(path, {**load(path), origin: login})


def forget(path: str, origin: str) -> Login | None:
    """Drop a login; returns it."""
    logins = load(path)
    found = logins.pop(origin, None)
    if found:
        _save(path, logins)
    return found


def _parse(path: str, text: bytes) -> dict[str, Login]:
    try:
        content: Any = json.loads(text) if len(text) <= SIZE_MAX else None
        if content["version"] != VERSION:
            raise _unusable(path, "was written by a newer oriel")
        return {
            str(origin): Login(
                str(entry["email"]), str(entry["token"]), str(entry.get("authorization", ""))
            )
            for origin, entry in content["apis"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _unusable(path, "is damaged") from None


def _save(path: str, logins: Mapping[str, Login]) -> None:
    apis = {
        origin: {"email": one.email, "token": one.token, "authorization": one.authorization}
        for origin, one in sorted(logins.items())
    }
    text = json.dumps({"version": VERSION, "apis": apis}, indent=2) + "\n"
    fresh = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Made with its mode, never changed to it: there is no moment when others could read it.
        with open(fresh, "x", encoding="utf-8", opener=_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as problem:
        raise _unusable(path, f"cannot be written: {problem.strerror}") from None
    finally:
        if os.path.exists(fresh):
            os.unlink(fresh)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _keep_private(descriptor: int) -> None:
    """Take away what a copy or a careless umask gave to others."""
    if sys.platform == "win32":
        return
    status = os.fstat(descriptor)
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        os.fchmod(descriptor, 0o600)


def _unusable(path: str, why: str) -> Refusal:
    return Refusal(
        f"{path} {why}.", id="fault", hint="Move it away, then log in again: oriel login"
    )
