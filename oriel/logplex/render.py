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
_OWN_PARAMS = ("id", "channel")
_SECOND_US = 1_000_000
_LAST_DYNO = b" dyno="


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


def _unix(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n") if b"\r\n" in text else text


def short_dyno(text: bytes) -> bytes:
    """A router line that names its dyno as users do: `dyno=web.1:c4fe` becomes `dyno=web.1`.

    The last `dyno=` is the router's own: what comes before it may hold a client's words.
    """
    start = text.rfind(_LAST_DYNO)
    if start < 0:
        return text
    start += len(_LAST_DYNO)
    stop = text.find(b" ", start)
    stop = len(text) if stop < 0 else stop
    colon = text.find(b":", start, stop)
    return text if colon < 0 else text[:colon] + text[stop:]


def _pieces(text: bytes) -> list[bytes]:
    if len(text) <= LINE_BYTES:
        return [text]
    return [text[at : at + LINE_BYTES] for at in range(0, len(text), LINE_BYTES)]


class TextForm:
    """Lines as `2011-06-19T08:35:19.123456+00:00 heroku[web.1]: text`."""

    def __init__(self, source_of: Callable[[int], Source]) -> None:
        """`source_of` gives the row of a source's number."""
        self._source_of = source_of
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
        return self._headed(time_us, source, harmless(text + b"\n"))

    def _run(self, run: Run) -> bytes:
        text = run.text
        if not text.isascii() or text.translate(None, _SAFE):
            return b"".join(map(self._block, run.blocks()))
        labels = {source: self._label(source) for source in set(run.sources)}
        rows = zip(run.times, map(labels.__getitem__, run.sources), run.lines, strict=False)
        second = run.times[0] // _SECOND_US
        if run.times[-1] // _SECOND_US == second:
            stamp, base = self._stamp_of(second), second * _SECOND_US
            lines = [
                b"%b%06d+00:00 %b%b\n" % (stamp, time_us - base, label, line)
                for time_us, label, line in rows
            ]
        else:
            lines = [
                b"%b%06d+00:00 %b%b\n"
                % (self._stamp_of(time_us // _SECOND_US), time_us % _SECOND_US, label, line)
                for time_us, label, line in rows
            ]
        return b"".join(lines)

    def _block(self, block: Block) -> bytes:
        text = block.text
        if block.kind in entry.WHOLE:
            text = b"".join(
                piece + b"\n"
                for line in text[:-1].split(b"\n")
                for piece in _pieces(_shown(line, block.kind))
            )
        return self._headed(block.time_us, block.source, harmless(text))

    def _headed(self, time_us: int, source: int, text: bytes) -> bytes:
        now, micros = divmod(time_us, _SECOND_US)
        header = b"%b%06d+00:00 %b" % (self._stamp_of(now), micros, self._label(source))
        if text.find(b"\n") == len(text) - 1:
            return header + text
        return header + text[:-1].replace(b"\n", b"\n" + header) + b"\n"

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

    def render(self, parts: Iterable[Part]) -> tuple[bytes, int]:
        """The lines of some parts, each with its newline, and how many they are."""
        blocks = (
            block
            for part in parts
            for block in (part.blocks() if isinstance(part, Run) else [part])
        )
        lines = [self._line(*each) for block in blocks for each in _lines(block)]
        return b"".join(lines), len(lines)

    def unfinished(self, source: int, text: bytes, time_us: int) -> bytes:
        """The last line of a source, whose end has not come; it has no position yet."""
        row = self._source_of(source)
        return _dumped(self._common(time_us, row, text, row.release, None))

    def _line(self, block: Block, line: bytes, position: Position) -> bytes:
        row = self._source_of(block.source)
        parsed = frame.parse(line) if block.kind in entry.WHOLE else None
        if parsed is None:
            return _dumped(self._common(block.time_us, row, line, block.release, position))
        text = short_dyno(parsed.text) if block.kind == entry.FRAMES else parsed.text
        value = self._common(block.time_us, row, text, block.release, position)
        value["severity"] = parsed.severity
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


def form_of(name: str, source_of: Callable[[int], Source]) -> Form:
    """The form of that name: `text` or `json`."""
    return JsonForm(source_of) if name == "json" else TextForm(source_of)


def _shown(line: bytes, kind: int) -> bytes:
    text = frame.text_of(line)
    return short_dyno(text) if kind == entry.FRAMES else text


def _lines(block: Block) -> Iterable[tuple[Block, bytes, Position]]:
    """A block's lines, each with the position after it."""
    lines = block.text[:-1].split(b"\n")
    at = block.end - sum(len(line) + 1 for line in lines)
    if len(lines) == 1:
        # It may be a piece of a long line, whose newline is ours.
        yield block, lines[0], Position(block.segment, block.record, block.end)
        return
    for line in lines:
        at += len(line) + 1
        yield block, line, Position(block.segment, block.record, at)


def _dumped(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if _C1.search(text):
        text = json.dumps(value, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"
