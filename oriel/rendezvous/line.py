"""Owns the first line of a connection: `SECRET[?query]`, CRLF. Pure (heroku-cli-contract 2.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE_BYTES_MAX = 512

_LINE = re.compile(rb"([A-Za-z0-9_-]{16,128})(?:\?([ -~]{0,256}))?")


class Malformed(ValueError):
    """What came is no first line."""


@dataclass(frozen=True, slots=True)
class Knock:
    """Who knocks: the secret, and what was asked for with it."""

    secret: str
    query: str


def split(received: bytes) -> tuple[Knock, bytes] | None:
    """The line and what came behind it; None when it is not whole. Raises Malformed."""
    line, newline, rest = received.partition(b"\n")
    if not newline:
        if len(received) > LINE_BYTES_MAX:
            raise Malformed("the line is too long")
        return None
    match = _LINE.fullmatch(line.removesuffix(b"\r"))
    if len(line) > LINE_BYTES_MAX or match is None:
        raise Malformed("the line is not SECRET or SECRET?QUERY")
    return Knock(match[1].decode(), (match[2] or b"").decode()), rest
