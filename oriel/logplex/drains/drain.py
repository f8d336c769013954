"""Owns one drain at work: lines from its channel, batch by batch, to its receiver.

Whatever ends it, what is on disk says where to go on: at least once, in order. Must not know how
frames look, or what a connection is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from math import inf

from oriel.clock import Clock, jittered
from oriel.egress import Dialer
from oriel.logplex.channel import Channel
from oriel.logplex.cursor import Position
from oriel.logplex.drains import machine, notices, progress
from oriel.logplex.drains.address import Target, parse
from oriel.logplex.drains.machine import Outcome, Taken
from oriel.logplex.drains.outlet import Closed, Outlet, Times
from oriel.logplex.drains.outlets import outlet_for
from oriel.logplex.drains.place import PlaceFile, Plan, State
from oriel.logplex.drains.reader import Batch, Reader
from oriel.logplex.drains.window import FRESH_S, Sent, Window
from oriel.logplex.drains.wording import Wording
from oriel.logplex.sources import Source
from oriel.logplex.turns import Turns

BATCH_BYTES = 102_400
"""Heroku's target for one request."""
STREAM_BYTES = 256 * 1024
"""The same where there are no requests."""
LINGER_S = {True: 0.05, False: 0.005}
"""What is waited for more lines, after the first: over HTTP and over syslog."""
KEEP_S = 0.2
"""How often a syslog drain's place is written down."""
SETTLE_S = 1.0
"""How often at most one looks whether time has made something sure, while nothing is said."""
HELD_FAILURES = 4
"""After so many failures in a row a batch is let go of; it is read again when it is tried."""

_log = logging.getLogger("oriel.logplex.drains")


class Drain:
    """One drain, from `start` to `close`."""

    def __init__(
        self,
        plan: Plan,
        file: PlaceFile,
        state: State,
        *,
        channel: Channel,
        turns: Turns,
        dialer: Dialer,
        clock: Clock,
        times: Times,
    ) -> None:
        """Takes over `file`."""
        self.plan = plan
        self.state = state
        self.target: Target = parse(plan.url)
        self._file = file
        self.channel = channel
        self._turns = turns
        self._clock = clock
        self._times = times
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._outlet: Outlet = outlet_for(
            self.target, plan.token, dialer, clock, times, self._wake.set
        )
        self._wording = Wording(
            self.target.style,
            plan.token,
            channel.book.get,
            framed=self.target.scheme != "syslog+udp",
        )
        self._reader: Reader | None = None
        self._batch: Batch | None = None
        self._window = Window()
        self._kept = state.position
        self._kept_s = 0.0
        self._unkept = False
        self._task: asyncio.Task[None] | None = None

    def source_of(self, number: int) -> Source:
        """Who speaks under a number in its channel."""
        return self.channel.book.get(number)

    @property
    def progress(self) -> tuple[Position, int]:
        """How far it has sent, and how many lines: a syslog receiver's are a guess for a while."""
        newest = self._window.newest
        end = newest.end if newest else Position.parse(self.state.position)
        return end, self.state.delivered + self._window.lines

    def start(self) -> None:
        """Begin, or go on."""
        self.channel.listeners.add(self._wake.set)
        self.channel.watchers.add(self._watched)
        self._task = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Stop; what was not taken is sent after the next start."""
        self.channel.listeners.discard(self._wake.set)
        self.channel.watchers.discard(self._watched)
        await self._stop()
        closed = await self._outlet.close(self._times.bye_s)
        self._settle(self._window.read(closed.read))
        self._keep()
        if self._reader:
            self._reader.close()
        self._file.close()

    def hurry(self) -> None:
        """Try now, whatever was being waited for."""
        if self.state.health.state != machine.UP:
            self._hurry.set()

    async def rewind(self, position: Position) -> None:
        """Say everything from a position on, again."""
        await self._stop()
        await self._outlet.close()
        progress.rewound(self.state, position)
        self._come_apart()
        self._keep()
        self._task = asyncio.create_task(self._serve())
        self._hurry.set()

    async def _stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        while not self.channel.forgotten:
            try:
                await self._work()
            except Exception:
                # A mistake of ours, or a disk that fails: the drain goes on from what is kept.
                _log.exception("drain %s broke; it goes on in a while", self.plan.id)
                await self._outlet.close()
                self._come_apart()
                await self._clock.sleep(jittered(machine.RETRY_MAX_S))

    async def _work(self) -> None:
        wait_s = self._left_of_pause()
        while not self.channel.forgotten:
            if wait_s:
                await _passed(self._hurry, wait_s)
                wait_s = 0.0
            self._hurry.clear()
            if self._outlet.broken:
                wait_s = self._broke(await self._outlet.close())
            elif self._outlet.old or self._is_due():
                wait_s = await self._part()
            elif batch := self._batch or await self._gathered():
                wait_s = await self._send(batch)
            else:
                wait_s = await self._idle()

    async def _gathered(self) -> Batch | None:
        """The next batch; None when there is nothing to say."""
        state = self.state
        reader = self._reader or self._reopen()
        until = Position.parse(state.until) if state.until else None
        if until is None and not reader.behind:
            return None
        cut = self._outlet.immediate
        batch = await reader.next(BATCH_BYTES if cut else STREAM_BYTES, until, cut=cut)
        self._count_gaps(reader)
        if not batch.frames:
            if until:
                state.until, state.told = "", 0
                return await self._gathered()
            return None
        if until is None:
            state.told = state.lost - self._window.told
        if state.told:
            loss = self._wording.loss(state.told, state.lost_since_us, state.lost_at_us)
            batch.lead(loss, state.told)
        if self._outlet.immediate and until is None:
            # Before it is sent: should the answer be lost with us, it is said again just so.
            state.until = str(batch.end)
            self._keep()
        return batch

    async def _send(self, batch: Batch) -> float:
        """Send a batch, and take in what became of it; returns how long to wait."""
        self._batch = batch
        if not self._outlet.immediate:
            # Before it is sent: its end may be read, and shown to be, when we are cut short.
            self._window.add(batch, self._clock.monotonic_s())
        outcome = await self._outlet.send(batch)
        wait_s = self._stepped(outcome)
        if isinstance(outcome, Taken):
            self._batch = None
            if self._outlet.immediate:
                progress.taken(self.state, batch.end, batch.lines, batch.told)
                self._keep()
            else:
                self._settle_some()
            return wait_s
        if not self._outlet.immediate:
            self._come_apart()
        elif self.state.health.failures >= HELD_FAILURES:
            # Its end is kept: it will be read again as it was.
            self._batch = None
            self._reopen()
        self._keep()
        return wait_s

    def _stepped(self, outcome: Outcome) -> float:
        self.state.health, then = machine.step(self.state.health, outcome, self._now_us(), jittered)
        text = notices.of(then.tell, self.plan.token, self.target.shown, self.state.health)
        if text:
            self._say(text)
        return then.wait_s

    def _broke(self, closed: Closed) -> float:
        """The connection ended by itself. That is no failure where nothing was open."""
        before_s = self._clock.monotonic_s() - FRESH_S
        self._settle(self._window.read(closed.read, before_s))
        if not self._window:
            self._window.clear()
            return 0.0
        self._come_apart()
        return self._stepped(closed.failed)

    def _come_apart(self) -> None:
        """A syslog connection ended: what is not surely there is said again."""
        self._batch = None
        self._window.clear()
        self._reopen()

    async def _part(self) -> float:
        """End a connection on purpose, and learn whether all of it was read."""
        closed = await self._outlet.close(self._times.read_s)
        self._settle(self._window.read(closed.read))
        if not self._window:
            self._window.clear()
            self._keep()
            return 0.0
        self._come_apart()
        return self._stepped(closed.failed)

    def _is_due(self) -> bool:
        """Whether it is time that the receiver shows what it has read."""
        return self._clock.monotonic_s() >= self._window.due_s and not self._outlet.believed

    def _settle_some(self) -> None:
        """What of the window counts as taken by now."""
        now_s, outlet = self._clock.monotonic_s(), self._outlet
        if self._window:
            upto, believed = outlet.acknowledged(), outlet.believed
            self._settle(self._window.acknowledged(upto, now_s, believed=believed))
        if self._unkept and now_s - self._kept_s >= KEEP_S:
            self._keep()

    def _settle(self, sent: Sequence[Sent]) -> None:
        for each in sent:
            progress.taken(self.state, each.end, each.lines, each.told)
            self._unkept = True
        if sent:
            self.state.health = replace(self.state.health, failures=0)

    async def _idle(self) -> float:
        """Wait for more lines, or for the receiver's end; hang up after a while."""
        idle_s = self._times.http_idle_s if self.target.is_http else self._times.idle_s
        hang_up_s = self._clock.monotonic_s() + jittered(idle_s, 0.1)
        outlet = self._outlet
        while not self._wake.is_set():
            self._settle_some()
            now_s = self._clock.monotonic_s()
            if now_s >= hang_up_s or self._is_due():
                wait_s = await self._part()
                if wait_s:
                    return wait_s
                hang_up_s = inf
                continue
            due_s = self._window.due_s
            next_s = min(hang_up_s, max(due_s, now_s + SETTLE_S) if outlet.believed else due_s)
            if self._unkept:
                next_s = now_s + KEEP_S
            await _passed(self._wake, next_s - now_s if next_s < inf else None)
        self._wake.clear()
        if not self._outlet.broken:
            await self._clock.sleep(LINGER_S[self.target.is_http])
        return 0.0

    def _left_of_pause(self) -> float:
        """After a start: a paused drain is not asked at once, unless its hour has passed."""
        health = self.state.health
        if health.state != machine.PAUSED:
            return 0.0
        passed_s = max(0, self._now_us() - health.said_us) / 1e6
        return max(0.0, jittered(machine.PAUSED_S) - passed_s)

    def _reopen(self) -> Reader:
        if self._reader:
            self._reader.close()
        here = Position.parse(self.state.position)
        self._reader = Reader(self.channel, here, self._wording, self._turns)
        return self._reader

    def _count_gaps(self, reader: Reader) -> None:
        """Retention was faster: count it once, and tell it in the channel and, next, the drain."""
        gaps, reader.gaps = reader.gaps, []
        for gap in gaps:
            fresh = progress.missed(self.state, gap, self._now_us())
            if fresh:
                self._keep()
                self._say(notices.loss(self.plan.token, fresh, gap.since_us))

    def _say(self, text: str, severity: int = 4) -> None:
        with contextlib.suppress(OSError):
            self.channel.say(text, self._now_us(), severity)

    def _watched(self) -> list[tuple[int, int, int]]:
        """The places behind which retention must be able to count."""
        places = {Position.parse(self.state.position), Position.parse(self._kept)}
        if self._reader:
            places.add(self._reader.position)
        return [(each.segment, each.record, each.byte) for each in places]

    def _keep(self) -> None:
        self._kept_s, self._unkept = self._clock.monotonic_s(), False
        try:
            self._file.save(self.state)
            self._kept = self.state.position
        except OSError as error:
            # A full disk: the file has its size already, so that this is a disk that fails.
            _log.warning("drain %s: its place cannot be kept: %s", self.plan.id, error)

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000


async def _passed(event: asyncio.Event, wait_s: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await event.wait()
