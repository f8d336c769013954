"""Owns one reader of a channel: from a query to batches of rendered lines.

Must not know sockets. A reader that is slow simply reads later, from disk; nothing is kept for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from oriel.logplex.channel import Channel
from oriel.logplex.cursor import Cursor, Position
from oriel.logplex.history import start_of_last
from oriel.logplex.query import Query
from oriel.logplex.render import Form, form_of
from oriel.logplex.segment import Extent
from oriel.logplex.turns import Turns


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rendered lines, and the position after them."""

    position: str
    text: bytes
    lines: int
    skipped: int


class Session:
    """One reading of one channel: `seek`, then `batches`."""

    def __init__(self, channel: Channel, query: Query, turns: Turns) -> None:
        """`turns` is shared by all readers."""
        self._channel = channel
        self._query = query
        self._turns = turns
        self._end = channel.extent
        self._start = Position(0, 0, 0)

    async def seek(self) -> None:
        """Find where to begin; raises Invalid when the query's position is none."""
        if self._query.after is not None:
            self._start = Position.parse(self._query.after)
        elif self._query.lines is not None:
            async with self._turns:
                self._start = await start_of_last(
                    self._channel, self._end, self._query.lines, self._filter(), self._turns.pause
                )

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """The batches; without end when the query is a tail."""
        more = asyncio.Event()
        form = form_of(self._query.format, self._channel.book.get)
        cursor = Cursor(self._channel, self._start, self._filter(), self._turns.pause)
        self._channel.listeners.add(more.set)
        try:
            while not self._channel.forgotten:
                async for batch in self._forward(cursor, form, self._end):
                    yield batch
                if not self._query.tail:
                    break
                more.clear()
                self._end = self._channel.extent
                if cursor.at_end(self._end):
                    await more.wait()
                    self._end = self._channel.extent
            last = None if self._query.tail else self._unfinished(cursor, form)
            if last:
                yield last
        finally:
            self._channel.listeners.discard(more.set)
            cursor.close()

    async def _forward(
        self, cursor: Cursor, form: Form, end: Extent
    ) -> AsyncGenerator[Batch, None]:
        """Everything up to `end`."""
        while not cursor.at_end(end):
            async with self._turns:
                text, lines = form.render(await cursor.step(end))
            skipped = cursor.take_skipped()
            if text or skipped:
                yield Batch(str(cursor.position), text, lines, skipped)

    def _filter(self) -> Callable[[int], bool] | None:
        if not self._query.filters:
            return None
        get = self._channel.book.get

        def wants(source: int) -> bool:
            row = get(source)
            return self._query.wants(row.source, row.ps)

        return wants

    def _unfinished(self, cursor: Cursor, form: Form) -> Batch | None:
        """What was begun and not ended: shown, but the position stays before it."""
        if self._query.lines == 0 and self._query.after is None:
            return None
        text = b"".join(
            form.unfinished(source, line, time_us) for source, time_us, line in cursor.unfinished()
        )
        lines = text.count(b"\n")
        return Batch(str(cursor.position), text, lines, 0) if text else None
