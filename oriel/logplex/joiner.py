"""Owns putting records together into lines. Pure; knows neither files nor positions.

A line is whole when its newline arrives, in whichever record of its source; one that reaches
`LINE_BYTES` is cut there, as Heroku does. Where the records are split changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LINE_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Carry:
    """The unfinished line of a source: its bytes, and whether pieces of it were cut before."""

    text: bytes = b""
    cut: bool = False

    @classmethod
    def of_line(cls, length: int, tail: bytes) -> Carry:
        """The carry of a line with `length` bytes so far, of which `tail` are the last."""
        rest = length % LINE_BYTES
        return cls(tail[len(tail) - rest :] if rest else b"", length >= LINE_BYTES)

    @property
    def unfinished(self) -> bool:
        """Whether a newline is still to come."""
        return self.cut or bool(self.text)


NOTHING = Carry()


@dataclass(slots=True)
class Joiner:
    """The unfinished lines, by source."""

    carries: dict[int, Carry] = field(default_factory=dict)

    def feed(self, source: int, chunk: bytes) -> list[tuple[bytes, int]]:
        """Take a source's next bytes; gives what became whole.

        Each part is one piece of a cut line, or any number of lines; it ends with a newline, and
        comes with the place in `chunk` where it ended.
        """
        carry = self.carries.get(source, NOTHING)
        text = carry.text + chunk if carry.text else chunk
        shift = len(carry.text)
        parts: list[tuple[bytes, int]] = []
        start, cut = _skip_end(text, 0, carry.cut and not carry.text)
        cut = cut or (carry.cut and bool(carry.text))
        at = start
        while len(text) - at >= LINE_BYTES:
            newline = text.rfind(b"\n", at, at + LINE_BYTES)
            if newline >= 0:
                at = newline + 1
                cut = False
                continue
            if at > start:
                parts.append((text[start:at], at - shift))
            parts.append((text[at : at + LINE_BYTES] + b"\n", at + LINE_BYTES - shift))
            at, cut = _skip_end(text, at + LINE_BYTES, True)
            start = at
        newline = text.rfind(b"\n", at)
        if newline >= 0:
            at = newline + 1
            cut = False
        if at > start:
            parts.append((text[start:at], at - shift))
        rest = text[at:]
        self.carries[source] = Carry(rest, cut) if rest or cut else NOTHING
        return parts


def _skip_end(text: bytes, at: int, cut: bool) -> tuple[int, bool]:
    """Step over the newline of a line whose pieces are all out: it would be an empty one."""
    if cut and text[at : at + 1] == b"\n":
        return at + 1, False
    return at, cut
