"""Owns where an API is: scheme, host and port, and nothing behind them. Pure."""

from __future__ import annotations

import urllib.parse

from oriel.client.refusal import Refusal

DEFAULT = "http://127.0.0.1:5050"
_PORTS = {"http": 80, "https": 443}


class Address:
    """The origin of an API: everything it offers, git too, is below it."""

    __slots__ = ("host", "port", "scheme")

    def __init__(self, scheme: str, host: str, port: int) -> None:
        """`host` without brackets, in lower case."""
        self.scheme = scheme
        self.host = host
        self.port = port

    @classmethod
    def parse(cls, text: str) -> Address:
        """`http://127.0.0.1:5050`, `https://[::1]:5050/`, `oriel.example.com` (then https)."""
        text = text.strip()
        if not text.isprintable():  # urlsplit would take a newline out without a word.
            raise _malformed(repr(text))
        if "://" not in text:
            text = f"{'http' if _loopback(text) else 'https'}://{text}"
        try:
            parts = urllib.parse.urlsplit(text)
            port = parts.port
        except ValueError:
            raise _malformed(text) from None
        host = parts.hostname or ""
        if parts.scheme not in _PORTS or not _host_like(host) or parts.username is not None:
            raise _malformed(text)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise _malformed(text)
        if port == 0:
            raise _malformed(text)
        return cls(parts.scheme, host, port or _PORTS[parts.scheme])

    @property
    def netloc(self) -> str:
        """Host and port as a URL has them: `[::1]:5050`, `oriel.example.com`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The URL, in the one form under which it is remembered."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def loopback(self) -> bool:
        """Whether what is sent there stays on this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        """The origin."""
        return self.origin


def below(*segments: str) -> str:
    """A path of the API, each segment quoted: whatever a user typed stays one segment."""
    quoted = [urllib.parse.quote(segment, safe="@:~") for segment in segments]
    # A segment of dots alone would be walked up by whoever cleans the path on the way.
    return "/" + "/".join("%2E" * len(one) if one in (".", "..") else one for one in quoted)


def query(**values: object) -> str:
    """A query of those values that are not empty, with its `?`; nothing where all are."""
    told = {name: str(value) for name, value in values.items() if value not in ("", None)}
    return "?" + urllib.parse.urlencode(told) if told else ""


def target_of(url: str) -> str:
    """Path and query of a URL that the API gave.

    Its origin is what the server calls itself, which behind a tunnel is not where this client
    found it; everything is on one port, so the client goes where it went before.
    """
    parts = urllib.parse.urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _loopback(text: str) -> bool:
    return text.startswith(("127.", "localhost", "[::1]"))


def _host_like(host: str) -> bool:
    return bool(host) and host.isascii() and host.isprintable() and not set(host) & set(' %\\"<>')


def _malformed(text: str) -> Refusal:
    shown = text if len(text) <= 80 else text[:77] + "..."
    if "@" in shown:  # It may hold a password.
        shown = "The address"
    return Refusal(
        f"{shown} is not the address of an Oriel API.",
        id="bad_request",
        hint=f"Set ORIEL_API to a URL such as {DEFAULT} or https://oriel.example.com",
    )
