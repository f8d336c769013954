"""Owns finding how a source's line began: a walk back along its records. Must not render."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from oriel.logplex.channel import Channel
from oriel.logplex.joiner import LINE_BYTES, NOTHING, Carry
from oriel.logplex.view import View

_PART_BYTES = 64 * 1024
_PAUSE_BYTES = 1024 * 1024

Pause = Callable[[], Awaitable[None]]
"""Lets others have a turn."""


async def carry_before(
    channel: Channel, view: View, source: int, previous: int | None, pause: Pause
) -> Carry:
    """The unfinished line of `source` after its record `previous` in `view`'s segment.

    With None, after its last record in the segments before. Costs what the line is long.
    """
    line = _Line()
    if previous is not None and await line.walk(view, previous, pause):
        return line.carry
    for number in reversed([each for each in channel.segments() if each < view.number]):
        last = channel.last_of(number).get(source)
        if last is None:
            continue
        try:
            older = View(channel, number)
        except FileNotFoundError:
            break
        try:
            if await line.walk(older, last, pause):
                break
        finally:
            older.close()
    return line.carry


async def carry_at_end(channel: Channel, source: int, pause: Pause) -> Carry:
    """The unfinished line of a source as it stands now."""
    view = View(channel, channel.active.number)
    try:
        last = channel.active.last.get(source)
        return await carry_before(channel, view, source, last, pause)
    finally:
        view.close()


class _Line:
    """The end of a line, as it is found backwards: its length so far and its last bytes."""

    def __init__(self) -> None:
        self._length = 0
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._unpaused = 0

    @property
    def carry(self) -> Carry:
        if not self._length:
            return NOTHING
        return Carry.of_line(self._length, b"".join(reversed(self._tail)))

    async def walk(self, view: View, record: int, pause: Pause) -> bool:
        """Go back along the records of one segment; whether the line's beginning was found."""
        while True:
            found = view.record(record)
            if found is None:
                return True
            own, stop = found
            if await self._back_over(view, own.offset, stop, pause):
                return True
            if not own.back:
                return False
            record -= own.back

    async def _back_over(self, view: View, start: int, stop: int, pause: Pause) -> bool:
        # Most records end with a newline: one byte tells.
        size = 1
        while stop > start:
            part = view.read(max(start, stop - size), stop)
            if not part:
                return True
            size = min(_PART_BYTES, size * 256)
            newline = part.rfind(b"\n")
            rest = part[newline + 1 :]
            self._length += len(rest)
            if self._tail_bytes < LINE_BYTES:
                self._tail.append(rest)
                self._tail_bytes += len(rest)
            if newline >= 0:
                return True
            stop -= len(part)
            self._unpaused += len(part)
            if self._unpaused >= _PAUSE_BYTES:
                self._unpaused = 0
                await pause()
        return False
