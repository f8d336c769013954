"""Owns reading credentials from a request: Bearer for the API, Basic for git and logging in.

Whether they are right, `control` says. Must not keep or log one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from oriel import faults

HEADER_MAX = 4096


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an Authorization header gives: a secret, and for Basic the name before it."""

    secret: str = field(repr=False)
    user: str | None = None
    """None with Bearer."""


def read(header: str | None) -> Credentials | None:
    """The credentials of a header, None where there are none that anybody could use."""
    if not header or len(header) > HEADER_MAX:
        return None
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return _bearer(rest.strip())
    if scheme.lower() == "basic":
        return _basic(rest.strip())
    return None


def nobody() -> faults.Unauthorized:
    """The refusal of a call that did not say who makes it."""
    return faults.Unauthorized("You are not logged in.", hint="Log in with: oriel login")


def unknown() -> faults.Unauthorized:
    """The refusal of a token that is not, or no longer, one of ours."""
    return faults.Unauthorized(
        "Invalid credentials provided.",
        hint="The token is unknown, expired or revoked. Log in again with: oriel login",
    )


def _bearer(secret: str) -> Credentials | None:
    return Credentials(secret) if secret else None


def _basic(encoded: str) -> Credentials | None:
    try:
        user, colon, secret = (
            base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        )
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    if not colon or not secret or "\0" in user + secret:
        return None
    return Credentials(secret, user)


SCOPES = ("global", "identity", "read", "read-protected", "write", "write-protected")
"""What a token may be limited to, as Heroku names it. `protected` takes in config values."""


def check_scopes(scopes: Sequence[str]) -> None:
    """Refuse a scope that would mean nothing."""
    for each in scopes:
        if each not in SCOPES:
            raise faults.Invalid(
                f'"scope" has {each[:40]!r}, which is not known: use one of {", ".join(SCOPES)}.'
            )


def allows(scopes: Sequence[str], method: str, path: str) -> bool:
    """Whether a token with these scopes is good for such a call."""
    held = set(scopes)
    if "global" in held:
        return True
    if path in ("/account", "/users/~"):
        return method in _READS
    if not held & {"read", "read-protected", "write", "write-protected"}:
        return False
    if path.startswith(_PEOPLE):
        return False
    wanted = {"write", "write-protected"}
    if method in _READS or path.endswith(_LOOKS):
        wanted |= {"read", "read-protected"}
    runs = method == "POST" and _RUNS.fullmatch(path)
    if path.endswith(_SECRETS) or "/diff/" in path or runs:
        wanted -= {"read", "write"}
    return bool(held & wanted)


_READS = ("GET", "HEAD")
_PEOPLE = ("/oauth/", "/oriel/users", "/account/")
_SECRETS = ("/config-vars",)
_RUNS = re.compile(r"/apps/[^/]+/dynos(/[^/]+)?")
"""Running a command in a dyno: its environment has the config."""
_LOOKS = ("/log-sessions",)
"""Reading, though Heroku's API asks for it with a POST."""
