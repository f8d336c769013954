"""Owns reading the lines that others send and that are no strict RFC 5424 frames. Pure.

BSD lines (RFC 3164) in the forms in which Redis, memcached and PostgreSQL send them, with or
without a host; and frames of `application/logplex-1`, as Heroku's drains have them, that lack the
structured data. Must not know files, tokens or channels.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PRIORITY = rb"<(1[0-8]\d|19[01]|[1-9]?\d)>"
_STAMP = rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
_ISO = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.,]{0,10}(?:Z|[+-]\d\d:?\d\d)?"

_HEAD = re.compile(PRIORITY + rb"(?:(" + _STAMP + rb"|" + _ISO + rb") )?")
_HOST = re.compile(rb"(\S{1,255}) ")
_TAG = re.compile(rb"([^\s:\[\]]{1,128})(?:\[([^\s\]]{0,64})\])?:(?: |$)")
_DASHLESS = re.compile(PRIORITY + rb"1 (\S+) (\S+) (\S+) (\S+) (\S+)(?: |$)")


class Foreign(NamedTuple):
    """What such a line says. `process` is the number behind a BSD line's tag, or `PROCID`."""

    priority: int
    time: str
    host: str
    app: str
    process: str
    text: bytes


def parse(line: bytes) -> Foreign | None:
    """The line without its newline; None when it has no priority, so that it is only text."""
    match = _DASHLESS.match(line)
    if match:
        sent, at_host, app, process = map(_text, match.group(2, 3, 4, 5))
        return Foreign(int(match[1]), sent, at_host, app, process, line[match.end() :])
    head = _HEAD.match(line)
    if not head:
        return None
    at = head.end()
    host = b""
    tag = _TAG.match(line, at)
    if not tag and head[2] and (before := _HOST.match(line, at)):
        tag = _TAG.match(line, before.end())
        host = before[1] if tag else b""
    time = _text(head[2] or b"")
    if not tag:
        return Foreign(int(head[1]), time, "", "", "", line[at:])
    process = _text(tag[2] or b"")
    return Foreign(int(head[1]), time, _text(host), _text(tag[1]), process, line[tag.end() :])


def _text(field: bytes) -> str:
    return field.decode("utf-8", "replace")
