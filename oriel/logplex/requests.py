"""Owns the router's line as it is stored: in Heroku's form, with the code that HAProxy cannot name.

HAProxy writes the line of a request that went well, and before it, as data, how the request ended:
`server`, `ts` (its termination state), `own` (what it answered itself). What went otherwise is
read from those once, on the way in, so that readers, searches and drains see the same. Pure.
Forms and codes: heroku-facts C. States: HAProxy's documentation, "Session state at disconnection".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = b' ts="--" own="-" n="'
_PLAIN_PATH = b' path="/'
_PLAIN_QUOTES = 14
_PATH_BYTES_MAX = 6000
_CONNECTING = ("H19", "H21")
_NO_SERVER = "<NOSRV>"

_LINE = re.compile(
    rb'(<\d{1,3}>1 [^\[]*\[oriel channel="[^"]*" server="([^"]*)" ts="([^"]*)" own="([^"]*)"'
    rb' n="\d+"\] )at=info (method=[^ ]*) path="(.*)" (host=[^ ]* request_id=[^ ]* fwd="[^"]*")'
    rb" dyno=[^ ]* connect=-?(\d*)ms service=-?(\d*)ms status=(-?\d{1,5}) (bytes=\d+ .*)",
    re.DOTALL,
)
_UNSAFE = re.compile(rb'[^!-~]|["\\]')


@dataclass(frozen=True, slots=True)
class Code:
    """A code of the router's: what its line says, and the status that it has there."""

    code: str
    description: str
    status: int = 503
    level: str = "error"
    sock: str = ""
    cause: str = ""


CODES = {
    each.code: each
    for each in (
        Code("H10", "App crashed"),
        Code("H11", "Backlog too deep"),
        Code("H12", "Request timeout"),
        Code("H13", "Connection closed without response"),
        Code("H14", "No web processes running"),
        Code("H15", "Idle connection"),
        Code("H17", "Poorly formatted HTTP response"),
        Code("H18", "Server Request Interrupted", sock="backend"),
        Code("H19", "Backend connection timeout"),
        Code("H20", "App boot timeout"),
        Code("H21", "Backend connection refused"),
        Code("H22", "Connection limit reached"),
        Code("H25", "HTTP restriction: oversized header", 502),
        Code("H26", "Request Error", 400),
        Code("H27", "Client Request Interrupted", 499, "warning", "client"),
        Code("H28", "Client Connection Idle", 499, "warning", "client"),
        Code("H80", "Maintenance mode", level="info"),
        Code("H81", "Blank app", 502, "info"),
        Code("H99", "Platform error"),
    )
}

_BY_STATE = {
    # Who ended it (upper case) or waited in vain (lower case), and in which phase.
    "SC": "H21",
    "sC": "H19",
    "sQ": "H11",
    "sH": "H12",
    "SH": "H13",
    "PH": "H17",
    "PD": "H17",
    "SD": "H18",
    "DD": "H18",
    "DH": "H18",
    "sD": "H15",
}
_CAUSES = {"417": "unsupported expect header value", "": "bad header"}


def whole(line: bytes) -> bytes:
    """A line of HAProxy's as it is stored, with its newline; any other as it came."""
    if (
        _PLAIN in line
        and _PLAIN_PATH in line
        and line.count(b'"') == _PLAIN_QUOTES
        and line.isascii()
        and b"\\" not in line
    ):
        return line + b"\n"
    found = _LINE.fullmatch(line)
    if not found:
        return line + b"\n"
    head, server, state, own, method, path, who, connect, service, status, rest = found.groups()
    # Whoever sends to the socket need not be HAProxy: any byte is a character here.
    said = own.decode("latin1")
    code = _code(server.decode("latin1"), state.decode("latin1"), said, int(status))
    # `503:RETRIES:DYNO` where no dyno is left, with the one that it was if it can only be one.
    tried = said.split(":")
    name = server.partition(b":")[0]
    if server == _NO_SERVER.encode():
        name = tried[-1].encode("latin1") if code and code.code in _CONNECTING else b""
    took = b"connect= service="
    if code and code.code in _CONNECTING:
        took = b"connect=%bms service=" % service
    elif name:
        took = b"connect=%bms service=%bms" % (connect, service)
    return b'%b%b %b path="%b" %b dyno=%b %b status=%b %b\n' % (
        head,
        _said(code) if code else b"at=info",
        method,
        _safe(path),
        who,
        name,
        took,
        b"%d" % code.status if code else status,
        rest,
    )


def _code(server: str, state: str, own: str, status: int) -> Code | None:
    """What a request met; None: it went well."""
    if own in CODES:
        return CODES[own]
    ended = state[:1]
    if status == 101:
        # A websocket ends by either side's going; only silence is worth a code.
        return CODES["H15"] if ended in "cs" else None
    if ended == "C":
        return CODES["H27"]
    if ended == "c":
        return CODES["H28"]
    if own.startswith("4"):
        cause = "bad chunk" if server != _NO_SERVER else _CAUSES.get(own, _CAUSES[""])
        return Code("H26", "Request Error", int(own), cause=cause)
    if own.startswith("503:0:"):
        # All are quarantined: none was tried.
        return CODES["H99"]
    known = _BY_STATE.get(state[:2])
    if known:
        return CODES[known]
    # What HAProxy answers by itself and without a name is what was wished: a redirect, a challenge.
    return None if ended in ("-", "L") else CODES["H99"]


def _said(code: Code) -> bytes:
    sock = f"sock={code.sock} " if code.sock else ""
    cause = f' cause="{code.cause}"' if code.cause else ""
    return f'{sock}at={code.level} code={code.code} desc="{code.description}"{cause}'.encode()


def _safe(path: bytes) -> bytes:
    """A path that ends no field of the line."""
    if path == b"-":
        return b"*"
    return _UNSAFE.sub(lambda byte: b"%%%02X" % byte[0][0], path)[:_PATH_BYTES_MAX]
