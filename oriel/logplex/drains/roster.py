"""Owns all drains of a logplex, and the operations on them.

Each is at work from the start of logplex to its end, whether or not anybody looks. Must not know
sockets or how a request comes in.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from oriel import faults
from oriel.clock import Clock, new_id
from oriel.egress import Dialer, Refused
from oriel.egress.dial import Unreachable
from oriel.logplex.channel import check_name
from oriel.logplex.cursor import Position
from oriel.logplex.drains import measure
from oriel.logplex.drains.address import masked, parse
from oriel.logplex.drains.drain import Drain
from oriel.logplex.drains.machine import Taken
from oriel.logplex.drains.outlet import Times
from oriel.logplex.drains.outlets import outlet_for
from oriel.logplex.drains.place import Places, Plan, State
from oriel.logplex.drains.reader import Batch
from oriel.logplex.drains.wording import Wording
from oriel.logplex.shelf import Shelf
from oriel.logplex.turns import Turns

DRAINS_MAX = 20
"""Drains of one channel."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_log = logging.getLogger("oriel.logplex.drains")

Request = dict[str, Any]


class Roster:
    """The drains, from `start` to `close`."""

    def __init__(
        self,
        places: Places,
        shelf: Shelf,
        turns: Turns,
        dialer: Dialer,
        clock: Clock,
        times: Times | None = None,
    ) -> None:
        """The shelf is started and closed by who made it; it must outlive this."""
        self._places = places
        self._shelf = shelf
        self._turns = turns
        self._dialer = dialer
        self._clock = clock
        self._times = times or Times()
        self._drains: dict[str, Drain] = {}
        self._change = asyncio.Lock()

    def start(self) -> None:
        """Go on with every drain there is."""
        for plan in self._places.plans():
            try:
                self._begin(plan)
            except (OSError, faults.Fault) as error:
                _log.warning("drain %s cannot go on: %s", plan.id, error)

    async def close(self) -> None:
        """Stop all of them."""
        await asyncio.gather(*[each.close() for each in self._drains.values()])
        self._drains.clear()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._drains)

    def operations(self) -> dict[str, Callable[[Request], Awaitable[Request]]]:
        """What can be asked through logplex's door."""
        return {
            "drains": self._list,
            "drain-add": self._add,
            "drain-remove": self._remove,
            "drain-test": self._test,
            "drain-replay": self._replay,
        }

    async def forget(self, channel: str) -> None:
        """Remove all drains of a channel that is removed."""
        async with self._change:
            for each in self._of(channel):
                await self._end(each)

    async def _list(self, request: Request) -> Request:
        name = request.get("channel")
        if name is None:
            return {"drains": [_brief(each) for each in self._drains.values()]}
        one = request.get("drain") is not None
        found = [self._find(request)] if one else self._of(check_name(name))
        return {"drains": [await self._told(each) for each in found]}

    async def _add(self, request: Request) -> Request:
        channel, url = check_name(request.get("channel")), request.get("url")
        if not isinstance(url, str):
            raise faults.Invalid("A drain has a URL.")
        target = parse(url)
        drain, token = _chosen(request.get("id")), f"d.{_chosen(request.get('token_id'))}"
        if drain in self._drains and self._drains[drain].plan.channel == channel:
            return {"drain": await self._told(self._drains[drain])}
        try:
            await self._dialer.addresses(target.host)
        except Refused:
            raise
        except Unreachable:
            # A name that will exist tomorrow; what it is then is judged at each connection.
            pass
        async with self._change:
            there = self._of(channel)
            if any(each.plan.url == url for each in there):
                raise faults.Conflict(f"There is a drain to {masked(url)} already.")
            if len(there) >= DRAINS_MAX:
                raise faults.Invalid(
                    f"An app has at most {DRAINS_MAX} drains.",
                    hint="Remove one first: oriel drains:remove TOKEN",
                )
            with self._shelf.used(channel) as found:
                end = found.extent
                state = State(str(Position(end.segment, end.records, 0)))
                plan = Plan(drain, token, channel, url, self._clock.wall_ns() // 1000)
                self._places.add(plan, state)
                made = self._begin(plan)
        return {"drain": await self._told(made)}

    async def _remove(self, request: Request) -> Request:
        async with self._change:
            found = self._find(request)
            told = await self._told(found)
            await self._end(found)
        return {"drain": told}

    async def _test(self, request: Request) -> Request:
        """Send one line past the drain's own queue, and say what came of it."""
        found = self._find(request)
        text = str(request.get("text") or "Test of this drain.")[:500]
        target, now_us = found.target, self._clock.wall_ns() // 1000
        wording = Wording(
            target.style,
            found.plan.token,
            found.source_of,
            framed=target.scheme != "syslog+udp",
        )
        frame = wording.own(text, 6, now_us)
        here = Position(0, 0, 0)
        batch = Batch(here, here, [frame], wording.newline, len(frame) + len(wording.newline))
        outlet = outlet_for(
            target, found.plan.token, self._dialer, self._clock, self._times, _nothing
        )
        began_s = self._clock.monotonic_s()
        try:
            outcome = await outlet.send(batch)
            closed = await outlet.close(self._times.bye_s)
        finally:
            await outlet.close()
        taken = isinstance(outcome, Taken)
        said = outcome.said
        if taken and not outlet.immediate:
            said = "sent and read" if closed.read else "sent; there was no sign that it was read"
        if taken:
            found.hurry()
        return {
            "taken": taken,
            "answer": said,
            "took_s": round(self._clock.monotonic_s() - began_s, 3),
            "drain": await self._told(found),
        }

    async def _replay(self, request: Request) -> Request:
        since = request.get("since_us")
        if type(since) is not int or since < 0:
            raise faults.Invalid("A replay begins at a time.")
        async with self._change:
            found = self._find(request)
            with self._shelf.used(found.plan.channel) as channel:
                place = measure.place_at(channel, since)
                lag = await measure.lag(channel, place, self._turns.pause)
            await found.rewind(place)
        return {"lines": lag.lines, "drain": await self._told(found, lag)}

    def _of(self, channel: str) -> list[Drain]:
        found = [each for each in self._drains.values() if each.plan.channel == channel]
        return sorted(found, key=lambda each: (each.plan.created_us, each.plan.id))

    def _find(self, request: Request) -> Drain:
        """A drain by its id, its token, its URL, or its URL as it is shown."""
        name = request.get("drain")
        there = self._of(check_name(request.get("channel")))
        for each in there:
            if name in (each.plan.id, each.plan.token, each.plan.url):
                return each
        alike = [each for each in there if name == masked(each.plan.url)]
        if len(alike) > 1:
            raise faults.Conflict(
                f"{len(alike)} drains look like that.", hint="Name one by its token."
            )
        if alike:
            return alike[0]
        raise faults.NotFound("Couldn't find that drain.", resource="log-drain")

    def _begin(self, plan: Plan) -> Drain:
        file = self._places.open(plan.id)
        try:
            channel = self._shelf.channel(plan.channel)
            end = channel.extent
            # A state that was damaged costs a gap, told by nobody: a repetition of days is worse.
            state = file.load() or State(str(Position(end.segment, end.records, 0)))
            made = Drain(
                plan,
                file,
                state,
                channel=channel,
                turns=self._turns,
                dialer=self._dialer,
                clock=self._clock,
                times=self._times,
            )
        except BaseException:
            file.close()
            raise
        self._shelf.keep(plan.channel)
        self._drains[plan.id] = made
        made.start()
        return made

    async def _end(self, drain: Drain) -> None:
        # First from the disk: a kill in between leaves none that comes back.
        self._places.remove(drain.plan.id)
        del self._drains[drain.plan.id]
        await drain.close()
        self._shelf.let_go(drain.plan.channel)

    async def _told(self, drain: Drain, lag: measure.Lag | None = None) -> dict[str, Any]:
        """How it is; `lag` where it was just measured."""
        state, health = drain.state, drain.state.health
        found = lag or measure.Lag()
        place, delivered = drain.progress
        if lag is None and not drain.channel.forgotten:
            found = await measure.lag(drain.channel, place, self._turns.pause)
        now_us = self._clock.wall_ns() // 1000
        return {
            **_brief(drain),
            "url": masked(drain.plan.url),
            "created_us": drain.plan.created_us,
            "state": health.state,
            "state_since_us": health.since_us or drain.plan.created_us,
            "answer": health.said,
            "answer_us": health.said_us,
            "lag_lines": found.lines,
            "lag_bytes": found.bytes,
            "lag_s": round(max(0, now_us - found.oldest_us) / 1e6, 3) if found.oldest_us else 0.0,
            "delivered": delivered,
            "lost": state.lost_total,
            "retries": health.retries,
        }


def _brief(drain: Drain) -> dict[str, Any]:
    plan = drain.plan
    return {"id": plan.id, "token": plan.token, "channel": plan.channel}


def _chosen(value: object) -> str:
    """An id that the caller chose, so that a request that is sent twice makes one drain."""
    if value is None:
        return new_id()
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise faults.Invalid("A drain's id is a UUID.")
    return value


def _nothing() -> None:
    """Nobody waits for this connection."""
