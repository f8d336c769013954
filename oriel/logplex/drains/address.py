"""Owns a drain's URL: what it means, what the receiver sees of it, how it is shown. Pure.

Schemes, ports and aliases are Heroku's (heroku-facts B1). Passwords, and what looks like a key in
a query, are shown by nobody.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from oriel import faults

URL_CHARS_MAX = 2048
FORMATS = ("", "rfc5424", "json")
MASK = "****"

_PORTS = {"syslog": 601, "syslog+tls": 6514, "syslog+udp": 514, "http": 80, "https": 443}
_ALIASES = {"tcpsyslog": "syslog", "syslog+tcp": "syslog", "udpsyslog": "syslog+udp"}
_PRINTABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\]")
_SECRET = re.compile(r"key|token|secret|passw|auth|signature|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A drain's URL, taken apart."""

    scheme: str
    host: str
    port: int
    target: str = "/"
    """Path and query, as the receiver gets them."""
    authorization: str = ""
    format: str = ""
    insecure: bool = False
    host_header: str = ""
    text: str = ""

    @property
    def is_http(self) -> bool:
        """Whether it is posted to."""
        return self.scheme in ("http", "https")

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("https", "syslog+tls")

    @property
    def style(self) -> str:
        """How lines are said to such a receiver: a style of `wording`."""
        return self.format or "http" if self.is_http else "syslog"

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        return masked(self.text)


def parse(text: str) -> Target:
    """A URL from outside; raises Invalid, whose message never quotes a secret."""
    if len(text) > URL_CHARS_MAX or not _PRINTABLE.fullmatch(text):
        raise faults.Invalid(
            f"A drain's URL is at most {URL_CHARS_MAX} plain characters without spaces."
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise faults.Invalid("That is not a URL.", hint=_HINT) from None
    scheme = _ALIASES.get(parts.scheme.lower(), parts.scheme.lower())
    if scheme not in _PORTS:
        raise faults.Invalid(f"A drain cannot be of scheme {scheme[:20]!r}.", hint=_HINT)
    host = parts.netloc.rpartition("@")[2]
    host = re.sub(r":\d*\Z", "", host)
    if not _HOST.fullmatch(host) or port == 0:
        raise faults.Invalid("The URL names no host.", hint=_HINT)
    form, query = _taken_format(parts.query)
    return Target(
        scheme=scheme,
        host=host.strip("[]"),
        port=port or _PORTS[scheme],
        target=(parts.path or "/") + (f"?{query}" if query else ""),
        authorization=_basic(parts.username, parts.password),
        format=_checked_format(form, scheme),
        insecure="insecure" in parts.fragment.split("&"),
        host_header=host if port in (None, _PORTS[scheme]) else f"{host}:{port}",
        text=text,
    )


_HINT = "Give one as in syslog+tls://logs.example.com:6514 or https://user:password@example.com/in"


def masked(text: str) -> str:
    """A URL without its secrets: the password, a user name that stands alone, keys in the query."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return MASK
    netloc = parts.netloc
    user, at, host = netloc.rpartition("@")
    if at:
        name, _, password = user.partition(":")
        # A user with hardly a password is the key itself, as many services have it.
        netloc = f"{name if len(password) > 1 else MASK}:{MASK}@{host}"
    query = "&".join(_masked_pair(each) for each in parts.query.split("&"))
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment))


def _masked_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    return f"{name}={MASK}" if equals and value and _SECRET.search(unquote(name)) else pair


def _taken_format(query: str) -> tuple[str, str]:
    """The format, and the query without it: the rest is kept to the letter."""
    form, kept = "", []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name == "format" and value in FORMATS:
            form = value
        else:
            kept.append(pair)
    return form, "&".join(kept)


def _checked_format(form: str, scheme: str) -> str:
    if form == "json" and scheme not in ("http", "https"):
        raise faults.Invalid("Only http and https drains can be given format=json.")
    return form


def _basic(user: str | None, password: str | None) -> str:
    if user is None and password is None:
        return ""
    both = f"{unquote(user or '')}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(both.encode()).decode("ascii")
