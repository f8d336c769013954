"""Owns taking bytes apart into runs of lines: octet-counted or ended by newlines (RFC 6587). Pure.

Which of the two a frame is, its first byte says. A run is neighbouring lines of one sender, with
one key: `HOST APP PROCID` as they stand in the frame. Nothing is parsed beyond that. Must not know
tokens or sockets. Never raises, and never holds more than one frame that is not whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from oriel.logplex import foreign
from oriel.logplex.inlets.bounds import Bounds

NO_KEY = b"- - -"
"""The key of a line that names neither host nor program."""

_ROUTE = foreign.PRIORITY + rb"1 \S+ (\S+ \S+ \S+)(?= |$)"
_FRAME = re.compile(_ROUTE)
_COUNTED = re.compile(rb"([1-9]\d{0,6}) <(?:1[0-8]\d|19[01]|[1-9]?\d)>1 \S+ (\S+ \S+ \S+) ")
_LENGTH = re.compile(rb"([1-9]\d{0,9}) ")
_LENGTH_BEGUN = re.compile(rb"[1-9]\d{0,9}\Z")
_LINE = re.compile(rb"^<(?:1[0-8]\d|19[01]|[1-9]?\d)>1 \S+ (\S+ \S+ \S+) ", re.MULTILINE)
_ALIKE = rb"(?:<(?:1[0-8]\d|19[01]|[1-9]?\d)>1 \S+ %b .*+\n)*+"
"""Lines of one key. Possessive: what was matched is never tried again in another way."""
_KEY_BYTES_MAX = 512
"""A longer key is not looked for in this way: it would take long to compile."""
_BREAKS = b"\r\n\0"
_DIGITS = frozenset(b"123456789")
_NUL = b"\0"


@dataclass(slots=True)
class Run:
    """Some lines, each with its newline. `why` is set where they are malformed."""

    key: bytes
    lines: bytes
    count: int
    why: str = ""
    plain: bool = False
    """Lines without even a priority."""


def key_of(packet: bytes) -> tuple[bytes, bool]:
    """The key of one frame or line, and whether it has as much as a priority."""
    match = _FRAME.match(packet)
    if match:
        return match[2], True
    other = foreign.parse(packet)
    if other is None:
        return NO_KEY, False
    return b" ".join(_field(each) for each in (other.host, other.app, other.process)), True


def one_line(packet: bytes) -> bytes:
    """A frame as one line: what ended it is gone, line breaks inside become spaces."""
    line = packet.rstrip(_BREAKS)
    if b"\n" in line:
        line = line.replace(b"\n", b" ")
    return line + b"\n"


class Runs:
    """Runs in the making."""

    def __init__(self) -> None:
        self._done: list[Run] = []
        self._parts: list[bytes] = []

    def add(
        self, key: bytes, lines: bytes, count: int = 1, why: str = "", plain: bool = False
    ) -> None:
        """Some more lines; they join the last run if they are like it."""
        last = self._done[-1] if self._done else None
        if last and last.key == key and last.why == why and last.plain == plain:
            last.count += count
        else:
            self._close_run()
            self._done.append(Run(key, b"", count, why, plain))
        self._parts.append(lines)

    def taken(self) -> list[Run]:
        """All of them; none is left."""
        self._close_run()
        done, self._done = self._done, []
        return done

    def _close_run(self) -> None:
        if self._done:
            self._done[-1].lines = b"".join(self._parts)
            self._parts = []

    def add_packet(self, packet: bytes) -> None:
        """One whole frame, of whatever kind."""
        line = one_line(packet)
        if line != b"\n":
            key, prioritised = key_of(line[:-1])
            self.add(key, line, plain=not prioritised)

    def add_frames(self, key: bytes, frames: list[bytes]) -> None:
        """Neighbouring RFC 5424 frames of one key."""
        if not frames:
            return
        lines = b"\n".join(frames) + b"\n"
        if lines.count(b"\n") != len(frames):
            lines = b"".join(map(one_line, frames))
        self.add(key, lines, len(frames))


class Splitter:
    """One connection's bytes."""

    def __init__(self, bounds: Bounds, strict: bool = False) -> None:
        """With `strict` it is counted RFC 5424 frames or nothing: see `broken`."""
        self._bounds = bounds
        self._strict = strict
        self.broken = False
        """Strict, and something else came; what was given of it is not to be kept."""
        self._key = b""
        """Of the first line of what came last, and what finds only lines like it."""
        self._alike: re.Pattern[bytes] | None = None
        self._rest = bytearray()
        self._need = 0
        """How many bytes of `_rest` it takes to go on; 0 when a newline is waited for."""
        self._skipping = False
        self._lost_bytes = 0
        self._counted_lost = False
        self.cut_bytes = 0

    @property
    def stuck(self) -> bool:
        """Whether this stream of counted frames has lost its place for good."""
        return self._counted_lost and self._lost_bytes > self._bounds.resync_bytes

    def feed(self, data: bytes) -> list[Run]:
        """Take the next bytes; gives what became whole."""
        if self._skipping:
            data = self._skip(data)
        if not data:
            return []
        if self._rest:
            self._rest += data
            if self._still_waiting(data):
                return []
            data = bytes(self._rest)
            self._rest.clear()
            self._need = 0
        runs = Runs()
        at, size = 0, len(data)
        while at < size:
            first = data[at]
            before = at
            if self._strict and not (first in _DIGITS and self._counts(data, at)):
                self.broken = True
            if self.broken:
                return []
            if first in _BREAKS:
                at += 1
                continue
            if first in _DIGITS and self._counts(data, at):
                at = self._counted(data, at, runs)
            else:
                if data.find(_NUL, at) >= 0:
                    data = data[:at] + data[at:].replace(_NUL, b"\n")
                at = self._lines(data, at, runs)
            if at == before:
                self._rest += data[at:]
                break
        return runs.taken()

    def end(self) -> list[Run]:
        """The other side hung up: a line without its newline is one, a cut frame is malformed."""
        runs = Runs()
        rest, self._rest = bytes(self._rest), bytearray()
        if rest and self._strict:
            self.broken = True
        elif rest:
            if self._need:
                self._malformed(rest, "cut off", runs)
            else:
                runs.add_packet(rest[: self._bounds.frame_bytes])
        self._need = 0
        return runs.taken()

    def _still_waiting(self, data: bytes) -> bool:
        if self._need:
            return len(self._rest) < self._need
        return (
            len(self._rest) <= self._bounds.frame_bytes and b"\n" not in data and _NUL not in data
        )

    def _counts(self, data: bytes, at: int) -> bool:
        """Whether a count stands here, or may when more has come."""
        return bool(_LENGTH.match(data, at) or _LENGTH_BEGUN.match(data, at))

    def _counted(self, data: bytes, at: int, runs: Runs) -> int:
        """Counted frames from `at`; returns where it stopped, `at` when it needs more."""
        size, limit, match = len(data), self._bounds.frame_bytes, _COUNTED.match
        key = b""
        frames: list[bytes] = []
        while found := match(data, at):
            start, stop = found.end(1) + 1, found.end()
            end = start + int(found[1])
            if end > size or stop > end or end - start > limit:
                break
            if found[2] != key:
                runs.add_frames(key, frames)
                key, frames = found[2], []
            frames.append(data[start:end])
            at = end
        if frames:
            runs.add_frames(key, frames)
            return at
        return self._one_counted(data, at, runs)

    def _one_counted(self, data: bytes, at: int, runs: Runs) -> int:
        """What the quick way leaves over: frames that are not whole, or of another kind."""
        found = _LENGTH.match(data, at)
        if not found:
            self._need = len(data) - at + 1
            return at
        length = int(found[1])
        if length > self._bounds.frame_bytes:
            return self._lose(data, at, "length", runs)
        end = found.end() + length
        if end > len(data):
            self._need = end - at
            return at
        self._need = 0
        packet = data[found.end() : end]
        if self._strict and not _FRAME.match(packet):
            self.broken = True
        elif packet.startswith(b"<"):
            runs.add_packet(packet)
        else:
            self._malformed(packet, "no frame", runs)
        return end

    def _lines(self, data: bytes, at: int, runs: Runs) -> int:
        """Lines from `at`; returns where it stopped, `at` when the first is not whole."""
        self._need = 0
        stop = data.rfind(b"\n", at) + 1
        if stop <= at:
            if len(data) - at > self._bounds.frame_bytes:
                return self._lose(data, at, "too long", runs)
            return at
        chunk = data[at:stop]
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n")
        count = chunk.count(b"\n")
        if not self._no_line_too_long(chunk):
            return self._line_by_line(data, at, runs)
        if key := self._only_key(chunk):
            runs.add(key, chunk, count)
            return stop
        keys = _LINE.findall(chunk)
        if len(keys) == count:
            if keys.count(keys[0]) == count:
                runs.add(keys[0], chunk, count)
            else:
                for key, line in zip(keys, chunk.split(b"\n"), strict=False):
                    runs.add(key, line + b"\n")
            return stop
        return self._line_by_line(data, at, runs)

    def _only_key(self, chunk: bytes) -> bytes:
        """The key that all its lines have; nothing where they have several, or are no frames."""
        first = _LINE.match(chunk)
        if not first:
            return b""
        key, before = first[1], self._key
        self._key = key
        if key != before:
            # Once may be chance, and what is said once is not worth a pattern of its own.
            self._alike = None
            return b""
        if self._alike is None and len(key) <= _KEY_BYTES_MAX:
            self._alike = re.compile(_ALIKE % re.escape(key))
        found = self._alike.match(chunk) if self._alike else None
        return key if found and found.end() == len(chunk) else b""

    def _line_by_line(self, data: bytes, at: int, runs: Runs) -> int:
        while (stop := data.find(b"\n", at)) >= 0:
            if data[at] in _DIGITS and self._counts(data, at):
                break
            if stop - at > self._bounds.frame_bytes:
                return self._lose(data, at, "too long", runs)
            runs.add_packet(data[at:stop])
            at = stop + 1
            if at == len(data):
                break
        return at

    def _no_line_too_long(self, chunk: bytes) -> bool:
        half = self._bounds.frame_bytes // 2
        return all(
            chunk.find(b"\n", at, at + half) >= 0 for at in range(0, len(chunk) - half, half)
        )

    def _lose(self, data: bytes, at: int, why: str, runs: Runs) -> int:
        """No frame can be found here: keep a piece, and go on behind the next newline."""
        self._need = 0
        self.broken = self._strict
        end = data.find(b"\n", at)
        self._malformed(data[at : end if end >= 0 else len(data)], why, runs)
        self._counted_lost = why == "length"
        if end >= 0:
            return end + 1
        self._skipping = True
        self._lost_bytes = len(data) - at
        return len(data)

    def _skip(self, data: bytes) -> bytes:
        end = data.find(b"\n")
        gone = len(data) if end < 0 else end
        self.cut_bytes += gone
        self._lost_bytes += gone
        if end < 0:
            return b""
        self._skipping, self._counted_lost, self._lost_bytes = False, False, 0
        return data[end + 1 :]

    def _malformed(self, packet: bytes, why: str, runs: Runs) -> None:
        kept = packet[: self._bounds.malformed_bytes]
        self.cut_bytes += len(packet) - len(kept)
        runs.add(NO_KEY, one_line(kept), why=why)


def _field(value: str) -> bytes:
    return "".join(value.split()).encode("utf-8", "replace") or b"-"
