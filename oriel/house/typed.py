"""Owns what people type after `oriel up`, word by word: addresses, names, URLs. Must not know what
is kept, or what the words are for.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from oriel import faults
from oriel.egress.rules import network
from oriel.lexicon import Address

DEFAULT_ACME = "https://acme-v02.api.letsencrypt.org/directory"
"""Let's Encrypt. It is asked for nothing before an app wants automatic certificates."""

_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*\.?")
_DATABASE_URL = re.compile(r"(postgresql|postgres|sqlite)(\+\w+)?://\S+")


def address(text: str, flag: str, *, any_port: bool = False) -> Address:
    """`127.0.0.1:5050`, `localhost:5050`, `[::1]:5050` or `:5050`; `flag` is for the error.

    `any_port` allows port 0: one that the kernel chooses.
    """
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host or "127.0.0.1"
    least = 0 if any_port else 1
    if not (separator and port.isascii() and port.isdigit() and least <= int(port) < 65536):
        raise _bad_address(text, flag)
    if (":" in host) != bracketed or not (_is_ip(host) or _HOSTNAME.fullmatch(host)):
        raise _bad_address(text, flag)
    return Address(host, int(port))


def domain(text: str) -> str | None:
    """The domain below which apps have their hosts; None where nothing is given. Raises Invalid."""
    if not text:
        return None
    if not _HOSTNAME.fullmatch(text) or _is_ip(text):
        raise faults.Invalid(
            f"--domain {text!r} is not a domain name.",
            hint="Type one whose subdomains point here, as in: oriel up --domain apps.example.com",
        )
    return text.rstrip(".").lower()


def directory(given: str | None, kept: str) -> str:
    """An ACME directory's URL; https, since what comes from there decides who may serve what."""
    if given is None:
        return kept
    if not given:
        return DEFAULT_ACME
    if not re.fullmatch(r"https://[A-Za-z0-9.\[\]:-]+(?:/[!-~]*)?", given):
        raise faults.Invalid(
            f"--acme-directory {given[:80]!r} is not the https:// URL of an ACME directory.",
            hint=f"Type one like {DEFAULT_ACME}, or '' for that one.",
        )
    return given


def database(url: str) -> str:
    """A database's URL; raises Invalid."""
    if not _DATABASE_URL.fullmatch(url):
        raise faults.Invalid(
            "--database is not the URL of a database that Oriel can use.",
            hint="Type one like postgresql://user@host/name or sqlite:////var/lib/oriel/oriel.db",
        )
    return url


def networks(given: tuple[str, ...]) -> tuple[str, ...]:
    """Networks in one form; raises Invalid."""
    return tuple(str(network(each)) for each in given if each)


def absolute(given: str | None, kept: str | None) -> str | None:
    """A place from the root; the kept one where nothing is given, None for an empty word."""
    if given is None:
        return kept
    return str(Path(given).expanduser().absolute()) if given else None


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _bad_address(text: str, flag: str) -> faults.Invalid:
    return faults.Invalid(
        f"{flag} {text[:80]!r} is not an address to listen on.",
        hint=f"Type HOST:PORT, as in: oriel up {flag} 127.0.0.1:5050 (or [::1]:5050).",
    )
