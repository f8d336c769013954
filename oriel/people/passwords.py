"""Owns how a password is kept and compared. Pure; must not know accounts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata

from oriel.clock import new_key
from oriel.faults import Invalid

LENGTH_MIN = 10
LENGTH_MAX = 512

_LOG_N, _R, _P = 15, 8, 1
"""32 MB and about 60 ms for each try."""
_MEMORY_MAX = 64 * 1024 * 1024
_DIGEST_BYTES = 32

_WORN = frozenset(
    {"password12", "password123", "1234567890", "qwertyuiop", "0123456789", "letmein123"}
)


DUMMY = f"scrypt${_LOG_N}${_R}${_P}$AAAAAAAAAAAAAAAAAAAAAA==${'A' * 43}="
"""A hash that no password has: to compare with where there is no account."""


def hash_password(password: str) -> str:
    """The password as it is kept: `scrypt$15$8$1$SALT$DIGEST`."""
    salt = new_key(16)
    digest = _scrypt(password, salt, _LOG_N, _R, _P)
    return f"scrypt${_LOG_N}${_R}${_P}${_text(salt)}${_text(digest)}"


def verify(password: str, hash: str | None) -> bool:
    """Whether `password` is the one kept as `hash`.

    None (no such account, or no password yet) takes as long, so that time tells nothing.
    """
    kept = _parse(hash or DUMMY)
    if kept is None:
        return False
    log_n, r, p, salt, digest = kept
    return hmac.compare_digest(_scrypt(password, salt, log_n, r, p), digest)


def check_strength(password: str) -> None:
    """Raise Invalid for a password that is too easily guessed, or that nobody could type."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise Invalid(
            f"A password needs {LENGTH_MIN} to {LENGTH_MAX} characters.",
            hint="Several words in a row are long and easy to keep in mind.",
        )
    if len(set(password)) < 5 or password.lower() in _WORN:
        raise Invalid("This password is one of the first that anybody would try.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in password):
        raise Invalid("A password cannot hold control characters.")


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    # The same password typed on two keyboards may be spelled in two ways of Unicode.
    typed = unicodedata.normalize("NFKC", password[:LENGTH_MAX]).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(
        typed, salt=salt, n=1 << log_n, r=r, p=p, maxmem=_MEMORY_MAX, dklen=_DIGEST_BYTES
    )


def _parse(hash: str) -> tuple[int, int, int, bytes, bytes] | None:
    try:
        scheme, log_n, r, p, salt, digest = hash.split("$")
        kept = (int(log_n), int(r), int(p), base64.b64decode(salt), base64.b64decode(digest))
    except ValueError:
        return None
    fits = 1 <= kept[0] <= 20 and kept[1] >= 1 and kept[2] >= 1
    fits = fits and 128 * kept[1] * ((1 << kept[0]) + kept[2] + 2) <= _MEMORY_MAX
    return kept if scheme == "scrypt" and fits else None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
