"""Owns one reader of a channel: from a query to batches of rendered lines.

Must not know sockets. A reader that is slow simply reads later, from disk; nothing is kept for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from oriel.logplex import frame, timeline
from oriel.logplex.batch import Batch
from oriel.logplex.channel import Channel
from oriel.logplex.cursor import FIRST, Cursor, Position
from oriel.logplex.feed import Feeds, Put
from oriel.logplex.gone import Skipped
from oriel.logplex.history import start_of_last, start_of_last_kept
from oriel.logplex.matcher import Matcher
from oriel.logplex.query import Query
from oriel.logplex.render import Form, form_of
from oriel.logplex.segment import Extent
from oriel.logplex.sieve import Sieve
from oriel.logplex.turns import Turns

__all__ = ["Batch", "Session"]


class Session:
    """One reading of one channel: `seek`, then `batches` or `follow`, then `close`."""

    def __init__(
        self, channel: Channel, query: Query, turns: Turns, feeds: Feeds | None = None
    ) -> None:
        """`turns` and `feeds` are shared by all readers."""
        self._channel = channel
        self._query = query
        self._turns = turns
        self._feeds = Feeds() if feeds is None else feeds
        self._end = channel.extent
        self._start = FIRST
        self._matcher: Matcher | None = None
        self._sieve: Sieve | None = None

    async def seek(self) -> None:
        """Find where to begin; raises Invalid when the query's position or pattern is none."""
        query = self._query
        if query.sifts:
            await self._make_sieve()
        if query.tail:
            self._end = self._feeds.reached(self._channel, self._key)
        elif query.until_us is not None:
            self._end = timeline.extent_until(self._channel, query.until_us)
        if query.after is not None:
            self._start = Position.parse(query.after)
            return
        async with self._turns:
            if query.since_us:
                self._start = timeline.first_since(self._channel, query.since_us, self._end)
            if query.lines is not None:
                self._start = await self._start_of_last(query.lines)

    @property
    def start(self) -> Batch:
        """An empty batch that says where the session begins, to come back to after a break."""
        return Batch(str(self._start), b"", 0, 0, self._start)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """The batches; without end when the query is a tail."""
        more = asyncio.Event()
        form = self._form()
        cursor = self._cursor(self._start)
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

    async def follow(self, put: Put, ready: Callable[[], Awaitable[None]]) -> None:
        """Put each batch of a tail, as it comes; ends when the channel is forgotten.

        When `put` says no, `ready` is awaited, and what comes then is read from disk.
        """
        position = self._start
        while not self._channel.forgotten:
            position = await self._follow_from(position, put, ready)
            await ready()

    async def close(self) -> None:
        """End what was begun for this session."""
        if self._matcher:
            await self._matcher.close()

    async def _follow_from(
        self, position: Position, put: Put, ready: Callable[[], Awaitable[None]]
    ) -> Position:
        """Read on by oneself until a feed is met, then be given; until that lets go."""
        cursor, form = self._cursor(position), self._form()

        async def read(cursor: Cursor, end: Extent) -> Batch | None:
            return await self._step(cursor, form, end)

        member = None
        try:
            while member is None and not self._channel.forgotten:
                async for batch in self._forward(cursor, form, self._end):
                    if not put(batch):
                        await ready()
                before, self._end = self._end, self._feeds.reached(self._channel, self._key)
                if cursor.at_end(self._end):
                    member = self._feeds.join(self._channel, self._key, cursor, read, put)
                    if member is None and before == self._end:
                        # Ahead of the feed, by a position from elsewhere: wait until it comes.
                        await asyncio.sleep(_FEED_WAIT_S)
                        self._end = self._channel.extent
        finally:
            if member is None or not member.feed.owns(cursor):
                cursor.close()
        if member is None:
            return cursor.position
        try:
            return await member.done
        finally:
            member.feed.leave(member)

    async def _make_sieve(self) -> None:
        query = self._query
        needle = b"" if query.regex else query.grep.encode("utf-8", "surrogateescape")
        if query.regex and query.grep:
            self._matcher = Matcher(query.grep)
            await self._matcher.start()
        self._sieve = Sieve(needle, self._matcher, query.release)

    async def _start_of_last(self, lines: int) -> Position:
        wants, pause = self._filter(), self._turns.pause
        if self._sieve is None:
            return await start_of_last(
                self._channel, self._end, lines, wants, pause, floor=self._start
            )
        return await start_of_last_kept(
            self._channel, self._start, self._end, lines, wants, self._sieve, pause
        )

    async def _forward(
        self, cursor: Cursor, form: Form, end: Extent
    ) -> AsyncGenerator[Batch, None]:
        """Everything up to `end`."""
        while not cursor.at_end(end):
            batch = await self._step(cursor, form, end)
            if batch:
                yield batch

    async def _step(self, cursor: Cursor, form: Form, end: Extent) -> Batch | None:
        async with self._turns:
            text, lines = form.render(await cursor.step(end))
        skipped, lost = cursor.take_skipped(), cursor.take_lost()
        if lost:
            text, lines = self._notice(cursor, form, lost) + text, lines + 1
        if not text and not skipped:
            return None
        return Batch(str(cursor.position), text, lines, skipped, cursor.position)

    def _notice(self, cursor: Cursor, form: Form, lost: Skipped) -> bytes:
        return form.notice(
            lost.last_us,
            "Error L11 (Tail buffer overflow) -> This tail session dropped "
            f"{'' if lost.exact else 'up to '}{lost.lines} messages "
            f"since {frame.stamp(lost.first_us)}.",
            cursor.position,
        )

    def _cursor(self, position: Position) -> Cursor:
        return Cursor(self._channel, position, self._filter(), self._turns.pause, self._sieve)

    def _form(self) -> Form:
        return form_of(self._query.format, self._channel.book.get, self._query.raw)

    @property
    def _key(self) -> tuple[object, ...]:
        """What makes two tails want the same."""
        query = self._query
        return (
            tuple(sorted(query.sources)),
            tuple(sorted(query.ps)),
            query.format,
            query.raw,
            query.grep,
            # A pattern's process is its session's own.
            id(self) if query.regex else 0,
            query.release,
        )

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
        query = self._query
        if (query.lines == 0 and query.after is None) or self._sieve or query.until_us is not None:
            return None
        text = b"".join(
            form.unfinished(source, line, time_us) for source, time_us, line in cursor.unfinished()
        )
        lines = text.count(b"\n")
        return Batch(str(cursor.position), text, lines, 0, cursor.position) if text else None


_FEED_WAIT_S = 0.01
