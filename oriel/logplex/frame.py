"""Owns RFC 5424 frames: writing the platform's, and reading anyone's. Pure; knows no files.

A stored frame is one line. It is parsed when it is read; on the way in only its channel is looked
at. What cannot be parsed is shown as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from oriel.logplex import foreign

SEVERITY_MASK = 7
FACILITY_PLATFORM = 16
"""local0, as Heroku's dyno manager and API have it."""

CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What may name a channel; it is a directory's name too."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_SD_PARAM = rb' [^\s=\]"]{1,32}="(?:[^"\\\]]|\\.)*"'
_SD = rb'\[[^\s=\]"]{1,32}(?:' + _SD_PARAM + rb")*\]"
_FRAME = re.compile(
    rb"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) (-|(?:" + _SD + rb")+)(?: (.*))?", re.DOTALL
)
_PARAM = re.compile(rb' ([^\s=\]"]{1,32})="((?:[^"\\\]]|\\.)*)"')
_ELEMENT = re.compile(rb'\[([^\s=\]"]{1,32})((?:' + _SD_PARAM + rb")*)\]")
_ESCAPED = re.compile(rb'\\(["\\\]])')
_TO_ESCAPE = re.compile(r'(["\\\]])')
_BREAKS = re.compile(r"\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")
_ID = re.compile(rb'<\d{1,3}>1 \S+ \S+ \S+ \S+ \S+ \[oriel id="(\d{1,19})"')
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOM = b"\xef\xbb\xbf"
_LAST_DYNO = b" dyno="
_ROUTER_WORDS = (b"at=", b"sock=")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame says. `data` is all parameters of its structured data, the first of a name."""

    priority: int
    time: str
    host: str
    app: str
    process: str
    message_id: str
    data: Mapping[str, str]
    text: bytes

    @property
    def severity(self) -> int:
        """0 (emergency) to 7 (debug)."""
        return self.priority & SEVERITY_MASK


def parse(line: bytes) -> Frame | None:
    """The frame in one line (its newline may be there), None when it is not one."""
    line = line[:-1] if line.endswith(b"\n") else line
    match = _FRAME.fullmatch(line)
    if not match or int(match[1]) > 191:
        return None
    text = match[8] or b""
    time, host, app, process, message_id = (
        each.decode("utf-8", "replace") for each in match.group(2, 3, 4, 5, 6)
    )
    return Frame(
        int(match[1]),
        time,
        host,
        app,
        process,
        message_id,
        _params(match[7]),
        text.removeprefix(_BOM),
    )


def read(line: bytes) -> Frame | None:
    """The same for one line that anybody may have sent: a BSD line is taken too."""
    line = line[:-1] if line.endswith(b"\n") else line
    found = parse(line)
    if found:
        return found
    other = foreign.parse(line)
    return other and Frame(
        other.priority, other.time, other.host, other.app, other.process, "-", {}, other.text
    )


def text_of(line: bytes) -> bytes:
    """Only the message of a frame, or of a BSD line; the whole line when it is neither."""
    match = _FRAME.fullmatch(line)
    if not match:
        other = foreign.parse(line)
        return other.text if other else line
    text = match[8] or b""
    return text.removeprefix(_BOM)


def short_dyno(text: bytes) -> bytes:
    """A router line that names its dyno as users do: `dyno=web.1:c4fe` becomes `dyno=web.1`.

    The last `dyno=` is the router's own: what comes before it may hold a client's words.
    """
    if not text.startswith(_ROUTER_WORDS):
        # Somebody else's frame: its words are not ours to change.
        return text
    start = text.rfind(_LAST_DYNO)
    if start < 0:
        return text
    start += len(_LAST_DYNO)
    stop = text.find(b" ", start)
    stop = len(text) if stop < 0 else stop
    colon = text.find(b":", start, stop)
    return text if colon < 0 else text[:colon] + text[stop:]


def shown(line: bytes, router: bool) -> bytes:
    """A frame as users see it; `router`: it may be one of the router's."""
    text = text_of(line)
    return short_dyno(text) if router else text


def channel_of(line: bytes) -> str | None:
    """The channel that a frame's first structured data element, `oriel`, names.

    Only the shape is looked at: this runs once for each request of every app.
    """
    parts = line.split(b" ", 6)
    if len(parts) < 7 or not parts[0].endswith(b">1") or not parts[6].startswith(b"[oriel "):
        return None
    element = parts[6][: parts[6].find(b"]") + 1]
    start = element.find(b' channel="')
    if start < 0:
        return None
    start += len(b' channel="')
    name = element[start : element.find(b'"', start)].decode("ascii", "replace")
    return name if CHANNEL.fullmatch(name) else None


def last_id(data: bytes) -> int:
    """The outbox id of the last whole platform frame in `data`; 0 when there is none."""
    stop = data.rfind(b"\n")
    while stop >= 0:
        start = data.rfind(b"\n", 0, stop) + 1
        match = _ID.match(data, start, stop)
        if match:
            return int(match[1])
        stop = start - 1
    return 0


def platform(
    number: int,
    time_us: int,
    source: str,
    ps: str,
    text: str,
    severity: int = 6,
    data: Mapping[str, str] | None = None,
) -> bytes:
    """The frame of a platform line, with its newline: one line whatever `text` has in it."""
    params = "".join(
        f' {name}="{escaped(str(value))}"'
        for name, value in (data or {}).items()
        if name != "id" and _NAME.fullmatch(name)
    )
    priority = FACILITY_PLATFORM * 8 + (severity & SEVERITY_MASK)
    frame = (
        f"<{priority}>1 {stamp(time_us)} host {_token(source, 48)} {_token(ps, 128)} - "
        f'[oriel id="{number}"{params}] {_BREAKS.sub(" ", text)}\n'
    )
    return frame.encode("utf-8", "replace")


def one_line(datagram: bytes) -> bytes:
    """A frame as it came, ended by its one newline; line breaks inside become spaces."""
    line = datagram.rstrip(b"\r\n\0")
    if b"\n" in line:
        line = line.replace(b"\n", b" ")
    return line + b"\n"


def stamp(time_us: int) -> str:
    """A time as lines show it: `2011-06-19T08:35:19.123456+00:00`."""
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds")


def escaped(value: str) -> str:
    """A structured data value, fit to stand between its quotes."""
    return _TO_ESCAPE.sub(r"\\\1", _BREAKS.sub(" ", value))


def _params(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in _ELEMENT.finditer(data):
        for name, value in _PARAM.findall(element[2]):
            plain = _ESCAPED.sub(rb"\1", value).decode("utf-8", "replace")
            found.setdefault(name.decode("utf-8", "replace"), plain)
    return found


def _token(text: str, size: int) -> str:
    """A header field: printable ASCII without spaces, `-` when nothing is left."""
    return "".join(each for each in text if "!" <= each <= "~")[:size] or "-"
