"""Owns tails that want the same lines: what is new is read and rendered once for all of them.

Must not know sockets. A member that takes no more is let go at the position that it has reached;
it reads on by itself and may come back. Positions are exact, so neither loses or repeats a line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from oriel.logplex.batch import Batch
from oriel.logplex.channel import Channel
from oriel.logplex.cursor import Cursor, Position
from oriel.logplex.segment import Extent

_KEPT = 32
_KEPT_BYTES = 1024 * 1024
_BUSY_S = 0.001
_REST_MAX_S = 0.01

Put = Callable[[Batch], bool]
"""Takes a batch; False when it should not be given another for now."""
Read = Callable[[Cursor, Extent], Awaitable[Batch | None]]
"""One step of a cursor, rendered."""


@dataclass(eq=False, slots=True)
class Member:
    """One reader of a feed. `done` has the position at which it was let go."""

    feed: Feed
    put: Put
    done: asyncio.Future[Position]


class Feeds:
    """The feeds there are, by channel and by what their members want."""

    def __init__(self) -> None:
        """None yet."""
        self._feeds: dict[tuple[Channel, Hashable], Feed] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._feeds)

    def reached(self, channel: Channel, key: Hashable) -> Extent:
        """How far one must have read to join; the channel's end where there is no feed yet."""
        feed = self._feeds.get((channel, key))
        return feed.reached if feed else channel.extent

    def join(
        self, channel: Channel, key: Hashable, cursor: Cursor, read: Read, put: Put
    ) -> Member | None:
        """Be given what comes after the cursor's position; None when the feed is elsewhere.

        The first one gives its cursor, and `read`, to the feed; of others it is not needed.
        """
        feed = self._feeds.get((channel, key))
        if feed is None:
            feed = self._feeds[channel, key] = Feed(channel, cursor, read, self._ended)
        elif not feed.has(cursor.position):
            return None
        return feed.add(cursor.position, put)

    def _ended(self, feed: Feed) -> None:
        for key in [key for key, each in self._feeds.items() if each is feed]:
            del self._feeds[key]


class Feed:
    """What is new in one channel, for members that want the same of it."""

    def __init__(
        self, channel: Channel, cursor: Cursor, read: Read, ended: Callable[[Feed], None]
    ) -> None:
        """Takes the cursor over. It ends with its last member."""
        self._channel = channel
        self._cursor = cursor
        self._read = read
        self._members: set[Member] = set()
        self._kept: deque[tuple[Position, Batch]] = deque(maxlen=_KEPT)
        self._more = asyncio.Event()
        self.reached = channel.extent
        self._ended = ended
        self._task = asyncio.get_running_loop().create_task(self._run())

    def has(self, position: Position) -> bool:
        """Whether all that comes after a position can still be given."""
        return position == self._cursor.position or any(
            position == before for before, _ in self._kept
        )

    def add(self, position: Position, put: Put) -> Member:
        """A member that has read up to `position`."""
        member = Member(self, put, asyncio.get_running_loop().create_future())
        self._members.add(member)
        behind = False
        for before, batch in list(self._kept):
            behind = behind or before == position
            if behind and member in self._members:
                self._give(member, batch)
        return member

    def owns(self, cursor: Cursor) -> bool:
        """Whether a cursor is the feed's own now."""
        return cursor is self._cursor

    def leave(self, member: Member) -> None:
        """A member that has gone."""
        self._members.discard(member)
        if not self._members:
            self._stop()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._channel.listeners.add(self._more.set)
        try:
            while not self._channel.forgotten:
                self._more.clear()
                end = self._channel.extent
                given_s = 0.0
                while not self._cursor.at_end(end):
                    before = self._cursor.position
                    batch = await self._read(self._cursor, end)
                    started_s = loop.time()
                    if batch:
                        self._keep(before, batch)
                        for member in list(self._members):
                            self._give(member, batch)
                    elif self._kept and before != self._cursor.position:
                        # Nothing for us in between: a kept position must lead to the next batch.
                        self._kept.clear()
                    given_s += loop.time() - started_s
                self.reached = end
                if given_s > _BUSY_S:
                    # Many members: what comes meanwhile goes to each of them in one piece.
                    await asyncio.sleep(min(given_s / 2, _REST_MAX_S))
                await self._more.wait()
            self._end(None)
        except Exception as error:
            self._end(error)
        finally:
            self._channel.listeners.discard(self._more.set)
            self._cursor.close()
            self._ended(self)

    def _stop(self) -> None:
        self._task.cancel()
        # Here too: a task that is cancelled before its first step runs nothing of itself.
        self._cursor.close()
        self._ended(self)

    def _keep(self, before: Position, batch: Batch) -> None:
        self._kept.append((before, batch))
        if sum(len(each.text) for _, each in self._kept) > _KEPT_BYTES:
            self._kept.popleft()

    def _give(self, member: Member, batch: Batch) -> None:
        if not member.put(batch):
            self._members.discard(member)
            if not member.done.done():
                member.done.set_result(batch.at)
            if not self._members:
                self._stop()

    def _end(self, error: Exception | None) -> None:
        for member in list(self._members):
            self._members.discard(member)
            if member.done.done():
                continue
            if error:
                member.done.set_exception(error)
            else:
                member.done.set_result(self._cursor.position)
