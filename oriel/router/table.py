"""Owns the route table as a value: which host leads to which app, and where its dynos listen.

Every text that later enters a configuration, a map or a runtime command is checked here, so that
rendering need not quote. Must not know HAProxy's syntax, sockets or files.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import quote

from oriel.lexicon import AppName, DynoName, Malformed

Mode = Literal["serve", "maintenance", "blank", "crashed", "none", "booting", "idle"]
"""What a request of the app meets: a dyno, or the page that says why there is none."""

MODES: tuple[str, ...] = get_args(Mode)

PAGE_SAFE = "<>/='()[]{}!&*,-.:?@^_`|~"
"""Of an app's own page, what enters a map as it is; the rest as `%XX`.

A `;` is not in it: it would end the command that carries the page, and begin another one.
"""

PAGE_BYTES_MAX = 20 * 1024
"""Of an app's own page: it must fit, encoded, into a line of a map and HAProxy's buffer."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)
_INSTANCE = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,28}", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_ANSWER = re.compile(r"[A-Za-z0-9_-]{1,256}\.[A-Za-z0-9_-]{1,128}", re.ASCII)
_PEM = re.compile(r"(?:-----BEGIN [A-Z ]+-----\n(?:[A-Za-z0-9+/=]+\n)+-----END [A-Z ]+-----\n)+")
_PORT_MAX = 65535


def hostname(text: str) -> str:
    """A host name as it is matched: lower case, no trailing dot, no port; raises Malformed.

    Internationalised names come in their ASCII form (`xn--...`); a number is an address, not a
    name.
    """
    name = text.lower().removesuffix(".")
    # Some letters beyond ASCII become ASCII when lowered.
    if not text.isascii() or not _HOSTNAME.fullmatch(name):
        raise Malformed(
            f"{_shown(text)} is not a host name: use letters, digits and dashes, in parts "
            "separated by dots."
        )
    if name.rsplit(".", 1)[-1].isdigit():
        raise Malformed(f"{_shown(text)} is an address, not a host name.")
    return name


def pattern(text: str) -> str:
    """A host name, or `*.` and one for every host below it that nothing else names."""
    below = text.removeprefix("*.")
    return hostname(text) if below == text else f"*.{hostname(below)}"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the router listens: an address (empty for every address) or a name, and a port."""

    host: str
    port: int

    def __post_init__(self) -> None:
        """Check both; raises Malformed."""
        if self.host and not _is_address(self.host):
            object.__setattr__(self, "host", hostname(self.host))
        _check_port(self.port)

    @classmethod
    def parse(cls, text: str) -> Listen:
        """`HOST:PORT`, `[::1]:PORT`, `:PORT` or `PORT` as a value; raises Malformed."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if (colon and ":" in host and not bracketed) or not _PORT.fullmatch(port):
            raise Malformed(
                f"{_shown(text)} is not an address to listen on: use HOST:PORT, [IPV6]:PORT or "
                ":PORT."
            )
        if bracketed:
            host = host[1:-1]
            if not _is_address(host, version=6):
                raise Malformed(f"{_shown(text)} has no IPv6 address between its brackets.")
        return cls("" if host == "*" else host, int(port))

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """One web dyno's instance and the address of its PORT."""

    name: str
    instance: str
    host: str
    port: int

    def __post_init__(self) -> None:
        """Check each part; raises Malformed."""
        DynoName.parse(self.name)
        if not _INSTANCE.fullmatch(self.instance):
            raise Malformed(f"{_shown(self.instance)} is not an instance's id.")
        if not _is_address(self.host):
            raise Malformed(f"{_shown(self.host)} is not an IP address.")
        object.__setattr__(self, "host", str(ipaddress.ip_address(self.host)))
        _check_port(self.port)
        if self.port == 0:
            raise Malformed(f"{self.name} has no port.")

    @property
    def label(self) -> str:
        """Its name towards HAProxy: two instances of one dyno may exist for a moment."""
        return f"{self.name}:{self.instance[:8]}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A key with its certificate and chain, and the hosts (or patterns) it is shown to."""

    pem: str = field(repr=False)
    hosts: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check each part: a PEM goes through HAProxy's socket line by line; raises Malformed."""
        if not _PEM.fullmatch(self.pem):
            raise Malformed("A certificate is not in PEM form.")
        object.__setattr__(self, "hosts", tuple(dict.fromkeys(map(pattern, self.hosts))))


@dataclass(frozen=True, slots=True)
class AppRoute:
    """One app: the hosts that lead to it, the dynos that serve it, and what to do without."""

    app_id: str
    app: str
    channel: str
    hosts: tuple[str, ...]
    servers: tuple[Server, ...]
    mode: Mode
    sticky: bool = False
    """Whether a client comes back to the dyno that answered it first."""
    https: bool = False
    """Requests without TLS are sent to https."""
    challenges: Mapping[tuple[str, str], str] | None = None
    """By host and token what a certificate authority is to be answered (ACME, HTTP-01), which
    the app then never sees; None: such requests are the app's own."""
    error_page: str = ""
    """The app's own page in HTML for errors; empty: the router's."""
    maintenance_page: str = ""

    def __post_init__(self) -> None:
        """Check each part and bring the hosts into their matched form; raises Malformed."""
        AppName(self.app)
        for text, what in ((self.app_id, "an app's id"), (self.channel, "a channel's id")):
            if not _ID.fullmatch(text):
                raise Malformed(f"{_shown(text)} is not {what}.")
        if self.mode not in MODES:
            raise Malformed(f"{_shown(self.mode)} is not a mode: use one of {', '.join(MODES)}.")
        object.__setattr__(self, "hosts", tuple(dict.fromkeys(map(pattern, self.hosts))))
        for (host, token), answer in (self.challenges or {}).items():
            if hostname(host) != host or not (
                _TOKEN.fullmatch(token) and _ANSWER.fullmatch(answer)
            ):
                raise Malformed(f"{_shown(token)} for {_shown(host)} is no challenge of ACME.")
        for page in (self.error_page, self.maintenance_page):
            check_page(page)
        _refuse_twins((server.label for server in self.servers), f"dynos of {self.app}")


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All apps at one moment; a host leads to one app at most."""

    apps: tuple[AppRoute, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    fallback: Certificate | None = None
    """Shown where no other certificate is; its hosts are the platform's own."""
    reserved: tuple[str, ...] = ()
    """Hosts and patterns that are the platform's own: a wildcard of an app does not reach them."""

    def __post_init__(self) -> None:
        """No id and no host twice; raises Malformed."""
        object.__setattr__(self, "reserved", tuple(dict.fromkeys(map(pattern, self.reserved))))
        _refuse_twins((app.app_id for app in self.apps), "apps")
        _refuse_twins((host for app in self.apps for host in app.hosts), "hosts")


def check_page(page: str) -> None:
    """Raise Malformed for an app's own page that HAProxy cannot send: too large, or of many lines.

    See `oriel.router.pages.one_line`.
    """
    if any(each < " " or each == "\x7f" for each in page):
        raise Malformed("The page has line breaks or control characters.")
    try:
        encoded = quote(page, safe=PAGE_SAFE)
    except UnicodeEncodeError:
        raise Malformed("The page has halves of characters (surrogates).") from None
    if len(encoded) > PAGE_BYTES_MAX:
        raise Malformed(
            f"The page is too large: {PAGE_BYTES_MAX // 1024} kB at most, where characters beyond "
            "ASCII count three times a byte."
        )


def _refuse_twins(names: Iterable[str], of: str) -> None:
    """Raise Malformed when a name comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Malformed(f"{_shown(name)} is there twice among the {of}.")
        seen.add(name)


def _is_address(text: str, version: int | None = None) -> bool:
    """Is it an IP address, without a scope (which is a free text)?"""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text and version in (None, address.version)


def _check_port(port: int) -> None:
    """Raise Malformed for what is no port."""
    if not 0 <= port <= _PORT_MAX:
        raise Malformed(f"{port} is not a port: use 1 to {_PORT_MAX}.")


def _shown(text: str) -> str:
    """A text from outside, made safe and short for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
