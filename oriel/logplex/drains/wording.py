"""Owns how lines are said to a receiver, to the byte as Heroku has them (heroku-facts B3, B4).

Over HTTP a frame names the host `host` and has no structured data, not even a dash, which is what
every receiver of Heroku's drains reads; `format=rfc5424` has the dash. Over syslog the host is the
drain's token. Text is passed on as it is. Pure; knows no files.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oriel.logplex import entry, frame
from oriel.logplex.cursor import Block, Part, Position, Run
from oriel.logplex.render import JsonForm
from oriel.logplex.sources import Source

PRI_STREAM = 190
"""What a dyno writes: local7.info."""
PRI_LOSS = 172
"""L10: local5.warning."""
_PRI_OWN = 128
OWN = -1
"""The number under which a drain's own words come: no source of the channel has it."""
_STAMP_BYTES = 32
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Words:
    """The frames of some lines, and where in the channel each of them ends."""

    frames: Sequence[bytes]
    """Without the newlines that end them."""
    end_of: Callable[[int], Position]


class _Leads(dict[int, bytes]):
    """A frame's length, as it stands in front of it: made once for each length there is."""

    def __missing__(self, size: int) -> bytes:
        made = self[size] = b"%d " % size
        return made


_LEADS = _Leads()


class Wording:
    """One drain's way of saying lines."""

    def __init__(
        self, style: str, token: str, source_of: Callable[[int], Source], *, framed: bool = True
    ) -> None:
        """`style`: `http`, `rfc5424`, `json` or `syslog`; `framed`: each with its length first."""
        self._source_of = source_of
        self._json = JsonForm(_with_own(source_of)) if style == "json" else None
        self._host = token.encode("ascii") if style == "syslog" else b"host"
        self._dashes = b" - " if style == "http" else b" - - "
        self._framed = framed and style != "json"
        self.newline = b"\n" if framed else b""
        """What ends each frame."""
        self._heads: dict[int, bytes] = {}
        self._second = -1
        self._stamp = b""

    def words(self, part: Part) -> Words:
        """The frames of what a cursor gave."""
        if self._json:
            return self._said_as_json(self._json, part)
        return self._run(part) if isinstance(part, Run) else self._block(part)

    def loss(self, lines: int, since_us: int, now_us: int) -> bytes:
        """The frame that tells a receiver what it will never get (L10)."""
        return self._said(PRI_LOSS, loss_text(lines, since_us), now_us)

    def own(self, text: str, severity: int, now_us: int) -> bytes:
        """A frame with a word of logplex's own."""
        return self._said(_PRI_OWN + severity, text.encode("utf-8", "replace"), now_us)

    def _said(self, priority: int, text: bytes, now_us: int) -> bytes:
        time = frame.stamp(now_us).encode()
        if self._json:
            line = b"<%d>1 %b host heroku logplex - - %b\n" % (priority, time, text)
            return self._json.render([Block(now_us, OWN, 0, entry.FRAMES, line, 0, 0, 0)])[0][:-1]
        return self._frame(priority, time, self._head_of("heroku", "logplex"), text)

    def _run(self, run: Run) -> Words:
        heads = {source: self._head(source) for source in set(run.sources)}
        frames: list[bytes] = []
        count = len(run.times)
        while len(frames) < count:
            start = len(frames)
            end_us = (run.times[start] // _SECOND_US + 1) * _SECOND_US
            stop = bisect_left(run.times, end_us, start)
            times, sources = run.times[start:stop], run.sources[start:stop]
            said = map(heads.__getitem__, sources)
            frames += self._in_one_second(times, [*said], run.lines[start:stop])
        segment, records, lines = run.segment, run.records, run.lines
        return Words(frames, lambda at: Position(segment, records[at], len(lines[at]) + 1))

    def _in_one_second(
        self, times: Sequence[int], heads: Sequence[bytes], lines: Sequence[bytes]
    ) -> Sequence[bytes]:
        """Frames of lines with times of their own: all but the fraction is made once."""
        base = times[0] // _SECOND_US * _SECOND_US
        micros = [time_us - base for time_us in times]
        if min(micros) < 0 or max(micros) >= _SECOND_US:
            # Damage: times do not run backwards.
            rows = zip(times, heads, lines, strict=True)
            return [self._frame(PRI_STREAM, self._time(at), head, line) for at, head, line in rows]
        before = b"<%d>1 %b" % (PRI_STREAM, self._stamp_of(base // _SECOND_US))
        rests = [*map(b"%06d+00:00%b%b".__mod__, zip(micros, heads, lines, strict=True))]
        return self._framed_all(before, rests)

    def _framed_all(self, before: bytes, rests: Sequence[bytes]) -> list[bytes]:
        """Frames that begin alike, without a step of ours for each."""
        if not self._framed:
            return [*map(before.__add__, rests)]
        fixed = len(before) + len(self.newline)
        leads = map(_LEADS.__getitem__, map(fixed.__add__, map(len, rests)))
        return [*map(before.join, zip(leads, rests, strict=True))]

    def _block(self, block: Block) -> Words:
        lines = block.text[:-1].split(b"\n")
        head, time = self._head(block.source), self._time(block.time_us)
        if block.kind in entry.WHOLE:
            frames = [self._whole(block, time, head, line) for line in lines]
        else:
            frames = self._framed_all(b"<%d>1 %b%b" % (PRI_STREAM, time, head), lines)
        return Words(frames, _ends(block, lines))

    def _whole(self, block: Block, time: bytes, head: bytes, line: bytes) -> bytes:
        """A frame that was stored as it came: its priority and its words, under our header."""
        parsed = frame.parse(line)
        if parsed is None:
            return self._frame(PRI_STREAM, time, head, line)
        text = frame.short_dyno(parsed.text) if block.kind == entry.FRAMES else parsed.text
        return self._frame(parsed.priority, time, head, text)

    def _said_as_json(self, form: JsonForm, part: Part) -> Words:
        blocks = part.blocks() if isinstance(part, Run) else [part]
        frames: list[bytes] = []
        ends: list[Position] = []
        for block in blocks:
            lines = block.text[:-1].split(b"\n")
            said = form.render([block])[0].split(b"\n")[:-1]
            end_of = _ends(block, lines)
            frames += said
            ends += map(end_of, range(len(said)))
        return Words(frames, ends.__getitem__)

    def _frame(self, priority: int, time: bytes, head: bytes, text: bytes) -> bytes:
        packet = b"<%d>1 %b%b%b" % (priority, time, head, text)
        return b"%d %b" % (len(packet) + len(self.newline), packet) if self._framed else packet

    def _head(self, number: int) -> bytes:
        head = self._heads.get(number)
        if head is None:
            row = self._source_of(number)
            head = self._heads[number] = self._head_of(row.source, row.ps)
        return head

    def _head_of(self, source: str, ps: str) -> bytes:
        return b" %b %b %b%b" % (self._host, _token(source, 48), _token(ps, 128), self._dashes)

    def _time(self, time_us: int) -> bytes:
        second, micros = divmod(time_us, _SECOND_US)
        return b"%b%06d+00:00" % (self._stamp_of(second), micros)

    def _stamp_of(self, second: int) -> bytes:
        if second != self._second:
            self._second = second
            self._stamp = frame.stamp(second * _SECOND_US)[:20].encode()
        return self._stamp


def loss_text(lines: int, since_us: int, whose: str = "") -> bytes:
    """Heroku's words for lines that are lost for good: to the drain, or in the channel."""
    since = frame.stamp(since_us)[:19] + "+00:00"
    what = f"{whose}dropped {lines} messages" if whose else f"{lines} messages dropped"
    return f"Error L10 (output buffer overflow): {what} since {since}.".encode()


def _with_own(source_of: Callable[[int], Source]) -> Callable[[int], Source]:
    own = Source(OWN, "heroku", "logplex")
    return lambda number: own if number == OWN else source_of(number)


def _ends(block: Block, lines: Sequence[bytes]) -> Callable[[int], Position]:
    last = len(lines) - 1

    def end_of(at: int) -> Position:
        if at == last:
            # It may be a piece of a long line, whose newline is ours.
            return Position(block.segment, block.record, block.end)
        behind = sum(map(len, lines[at + 1 :])) + last - at
        return Position(block.segment, block.record, block.end - behind)

    return end_of


def _token(text: str, size: int) -> bytes:
    return "".join(each for each in text if "!" <= each <= "~")[:size].encode() or b"-"
