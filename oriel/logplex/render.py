"""Owns how lines are shown: as text with Heroku's header, or as JSON. Knows no files.

Whatever an app wrote, a terminal stays as it was and a line has
one header: control characters are shown as `^X`, invalid UTF-8 as replacement characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from oriel.logplex import entry, frame
from oriel.logplex.cursor import Block, Part, Position, Run
from oriel.logplex.joiner import LINE_BYTES
from oriel.logplex.sources import Source

_TAB_AND_NEWLINE = b"\t\n"
_SAFE = bytes(each for each in range(256) if each >= 32 and each != 127) + _TAB_AND_NEWLINE
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_C1 = re.compile("[\x7f-\x9f]")
_C1_BYTES = re.compile(rb"\xc2[\x80-\x9f]")
_STREAMS = (entry.STREAM, entry.CLOSE)
_quoted = json.encoder.encode_basestring
_OWN_PARAMS = ("id", "channel", "own", "n")
_SECOND_US = 1_000_000


def _caret(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 32:
        return "^" + chr(code + 64)
    return "^?" if code == 127 else f"<{code:02X}>"


def harmless(text: bytes) -> bytes:
    """Text whose lines do nothing to a terminal; tabs and newlines are kept."""
    if text.isascii():
        if not text.translate(None, _SAFE):
            return text
        return _CONTROLS.sub(_caret, _unix(text).decode("ascii")).encode("ascii")
    plain = _unix(text).decode("utf-8", "replace")
    return _CONTROLS.sub(_caret, plain).encode()


def _harmless_already(text: bytes) -> bool:
    """Whether text can be shown as it is, asked quickly."""
    if text.translate(None, _SAFE):
        return False
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not _C1_BYTES.search(text)


def _unchanged(text: bytes) -> bytes:
    return text


def _unix(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n") if b"\r\n" in text else text


def _pieces(text: bytes) -> list[bytes]:
    if len(text) <= LINE_BYTES:
        return [text]
    return [text[at : at + LINE_BYTES] for at in range(0, len(text), LINE_BYTES)]


class TextForm:
    """Lines as `2011-06-19T08:35:19.123456+00:00 heroku[web.1]: text`."""

    def __init__(self, source_of: Callable[[int], Source], raw: bool = False) -> None:
        """`source_of` gives the row of a source's number. `raw` leaves control characters."""
        self._source_of = source_of
        self._raw = raw
        self._tamed = _unchanged if raw else harmless
        self._labels: dict[int, bytes] = {}
        self._second = -1
        self._stamp = b""

    def render(self, parts: Iterable[Part]) -> tuple[bytes, int]:
        """The lines of some parts, each with its newline, and how many they are."""
        texts: list[bytes] = []
        lines = 0
        for part in parts:
            if isinstance(part, Run):
                texts.append(self._run(part))
                lines += len(part.times)
            else:
                text = self._block(part)
                texts.append(text)
                lines += text.count(b"\n")
        return b"".join(texts), lines

    def unfinished(self, source: int, text: bytes, time_us: int) -> bytes:
        """The last line of a source, whose end has not come."""
        return self._headed(time_us, source, self._tamed(text + b"\n"))

    def _run(self, run: Run) -> bytes:
        if not (self._raw or _harmless_already(run.text)):
            return b"".join(map(self._block, run.blocks()))
        labels = {source: self._label(source) for source in set(run.sources)}
        count = len(run.times)
        second = run.times[0] // _SECOND_US
        if run.times[-1] // _SECOND_US == second:
            stamp, base = self._stamp_of(second), second * _SECOND_US
            # One format for all of them: it is half as much again as fast as one for each.
            values: list[object] = [stamp] * (4 * count)
            values[1::4] = [time_us - base for time_us in run.times]
            values[2::4] = map(labels.__getitem__, run.sources)
            values[3::4] = run.lines[:count]
            return (b"%b%06d+00:00 %b%b\n" * count) % tuple(values)
        rows = zip(run.times, map(labels.__getitem__, run.sources), run.lines, strict=False)
        return b"".join(
            b"%b%06d+00:00 %b%b\n"
            % (self._stamp_of(time_us // _SECOND_US), time_us % _SECOND_US, label, line)
            for time_us, label, line in rows
        )

    def _block(self, block: Block) -> bytes:
        text = block.text
        if block.kind in entry.WHOLE:
            text = b"".join(
                piece + b"\n"
                for line in text[:-1].split(b"\n")
                for piece in _pieces(frame.shown(line, block.kind == entry.FRAMES))
            )
        return self._headed(block.time_us, block.source, self._tamed(text))

    def _headed(self, time_us: int, source: int, text: bytes) -> bytes:
        now, micros = divmod(time_us, _SECOND_US)
        header = b"%b%06d+00:00 %b" % (self._stamp_of(now), micros, self._label(source))
        if text.find(b"\n") == len(text) - 1:
            return header + text
        return header + text[:-1].replace(b"\n", b"\n" + header) + b"\n"

    def notice(self, time_us: int, text: str, position: Position) -> bytes:
        """A line of logplex's own, for this reader alone."""
        del position
        now, micros = divmod(time_us, _SECOND_US)
        header = b"%b%06d+00:00 heroku[logplex]: " % (self._stamp_of(now), micros)
        return header + text.encode() + b"\n"

    def _label(self, source: int) -> bytes:
        label = self._labels.get(source)
        if label is None:
            row = self._source_of(source)
            label = self._labels[source] = harmless(f"{row.label}: ".encode())
        return label

    def _stamp_of(self, second: int) -> bytes:
        if second != self._second:
            self._second = second
            self._stamp = frame.stamp(second * _SECOND_US)[:20].encode()
        return self._stamp


class JsonForm:
    """Lines as one JSON object each, every one with its position."""

    def __init__(self, source_of: Callable[[int], Source]) -> None:
        """`source_of` gives the row of a source's number."""
        self._source_of = source_of
        self._frames: dict[tuple[int, int], tuple[str, str, str]] = {}
        self._time_us = -1
        self._time = ""

    def render(self, parts: Iterable[Part]) -> tuple[bytes, int]:
        """The lines of some parts, each with its newline, and how many they are."""
        blocks = (
            block
            for part in parts
            for block in (part.blocks() if isinstance(part, Run) else [part])
        )
        lines = [
            self._quick(block, *each) if block.kind in _STREAMS else self._line(block, *each)
            for block in blocks
            for each in block.lines()
        ]
        return b"".join(lines), len(lines)

    def unfinished(self, source: int, text: bytes, time_us: int) -> bytes:
        """The last line of a source, whose end has not come; it has no position yet."""
        row = self._source_of(source)
        return _dumped(self._common(time_us, row, text, row.release, None))

    def _quick(self, block: Block, line: bytes, position: Position) -> bytes:
        """The same as `_line` for what a dyno wrote."""
        key = (block.source, block.release)
        frames = self._frames.get(key)
        if frames is None:
            row = self._source_of(block.source)
            before = f',"source":{_quoted(row.source)},"ps":{_quoted(row.ps)},"text":'
            after = f',"instance":{_quoted(row.instance)}}}\n' if row.instance else "}\n"
            frames = self._frames[key] = (before, f',"release":{block.release},"position":"', after)
        text = _quoted(line.decode("utf-8", "replace").removesuffix("\r"))
        if _C1.search(text) or _C1.search(frames[0]):
            return self._line(block, line, position)
        if block.time_us != self._time_us:
            self._time_us = block.time_us
            self._time = frame.stamp(block.time_us)
        before, middle, after = frames
        return (f'{{"time":"{self._time}"{before}{text}{middle}{position}"{after}').encode(
            "utf-8", "replace"
        )

    def notice(self, time_us: int, text: str, position: Position) -> bytes:
        """A line of logplex's own, for this reader alone."""
        row = Source(0, "heroku", "logplex")
        return _dumped(self._common(time_us, row, text.encode(), 0, position))

    def _line(self, block: Block, line: bytes, position: Position) -> bytes:
        row = self._source_of(block.source)
        parsed = frame.read(line) if block.kind in entry.WHOLE else None
        if parsed is None:
            return _dumped(self._common(block.time_us, row, line, block.release, position))
        text = frame.short_dyno(parsed.text) if block.kind == entry.FRAMES else parsed.text
        value = self._common(block.time_us, row, text, block.release, position)
        value["severity"] = parsed.severity
        if block.kind == entry.FRAMES:
            # What the sender said of it, beside our own time.
            value["facility"] = parsed.priority >> 3
            if parsed.time not in ("", "-"):
                value["sent"] = parsed.time
        data = {key: each for key, each in parsed.data.items() if key not in _OWN_PARAMS}
        if data:
            value["data"] = data
        return _dumped(value)

    def _common(
        self, time_us: int, row: Source, text: bytes, release: int, position: Position | None
    ) -> dict[str, Any]:
        value: dict[str, Any] = {
            "time": frame.stamp(time_us),
            "source": row.source,
            "ps": row.ps,
            "text": text.decode("utf-8", "replace").removesuffix("\r"),
            "release": release,
            "position": str(position) if position else None,
        }
        if row.instance:
            value["instance"] = row.instance
        return value


Form = TextForm | JsonForm


def form_of(name: str, source_of: Callable[[int], Source], raw: bool = False) -> Form:
    """The form of that name: `text` or `json`."""
    return JsonForm(source_of) if name == "json" else TextForm(source_of, raw)


def _dumped(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if _C1.search(text):
        text = json.dumps(value, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"
