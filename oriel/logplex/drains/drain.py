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

from oriel.clock import Clock, jittered
from oriel.egress import Dialer
from oriel.logplex.channel import Channel
from oriel.logplex.cursor import Position
from oriel.logplex.drains import machine, notices
from oriel.logplex.drains.address import Target, parse
from oriel.logplex.drains.machine import Failed, Outcome, Taken
from oriel.logplex.drains.outlet import Outlet, Times
from oriel.logplex.drains.outlets import outlet_for
from oriel.logplex.drains.place import PlaceFile, Plan, State
from oriel.logplex.drains.reader import Batch, Reader
from oriel.logplex.drains.window import UNSURE_S, Sent, Window
from oriel.logplex.drains.wording import Wording
from oriel.logplex.sources import Source
from oriel.logplex.turns import Turns

BATCH_BYTES = 102_400
"""Heroku's target for one request."""
LINGER_S = {True: 0.05, False: 0.005}
"""What is waited for more lines, after the first: over HTTP and over syslog."""
KEEP_S = 0.2
"""How often a syslog drain's place is written down."""
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
            style_of(self.target),
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
        """How far it has sent, and how many lines: a syslog receiver's are a guess for seconds."""
        here = Position.parse(self.state.position)
        return self._window.end or here, self.state.delivered + self._window.lines

    def start(self) -> None:
        """Begin, or go on."""
        self.channel.listeners.add(self._wake.set)
        self.channel.watchers.add(self._watched)
        self._task = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Stop; what was not taken is sent after the next start."""
        self.channel.listeners.discard(self._wake.set)
        self.channel.watchers.discard(self._watched)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if (await self._outlet.close()).sure:
            self._settle(self._window.all())
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
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._outlet.close()
        self.state.position, self.state.until = str(position), ""
        self.state.counted = self.state.told = self.state.gap_end = 0
        self._come_apart()
        self._keep()
        self._task = asyncio.create_task(self._serve())
        self._hurry.set()

    async def _serve(self) -> None:
        while not self.channel.forgotten:
            try:
                await self._work()
            except Exception:
                # A mistake of ours, or a disk that fails: the drain goes on from what is kept.
                _log.exception("drain %s broke; it goes on in a while", self.plan.id)
                self._reopen()
                self._batch = None
                await self._clock.sleep(jittered(machine.RETRY_MAX_S))

    async def _work(self) -> None:
        wait_s = self._left_of_pause()
        while not self.channel.forgotten:
            if wait_s:
                await _passed(self._hurry, wait_s)
                self._hurry.clear()
            if self._outlet.broken:
                wait_s = self._broke((await self._outlet.close()).failed)
                continue
            batch = self._batch or await self._gathered()
            if batch is None:
                await self._idle()
                wait_s = 0.0
                continue
            self._batch = batch
            if self._outlet.old:
                await self._hang_up()
                continue
            wait_s = self._came(batch, await self._outlet.send(batch))

    async def _gathered(self) -> Batch | None:
        """The next batch; None when there is nothing to say."""
        state = self.state
        reader = self._reader or self._reopen()
        until = Position.parse(state.until) if state.until else None
        if until is None and not reader.behind:
            return None
        batch = await reader.next(BATCH_BYTES, until)
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
            batch.frames.insert(0, loss)
            batch.size += len(loss)
            batch.told = state.told
        if self._outlet.immediate and until is None:
            # Before it is sent: should the answer be lost with us, it is said again just so.
            state.until = str(batch.end)
            self._keep()
        return batch

    def _came(self, batch: Batch, outcome: Outcome) -> float:
        """Take in what became of a batch; returns how long to wait."""
        wait_s = self._stepped(outcome)
        if not isinstance(outcome, Taken):
            if not self._outlet.immediate:
                self._come_apart()
            elif self.state.health.failures >= HELD_FAILURES:
                # Its end is kept: it will be read again as it was.
                self._batch = None
                self._reopen()
            self._keep()
            return wait_s
        self._batch = None
        if self._outlet.immediate:
            self._done(batch.end, batch.lines, batch.told)
            self._keep()
        else:
            self._window.add(batch, self._clock.monotonic_s())
            self._settle_some()
        return wait_s

    def _stepped(self, outcome: Outcome) -> float:
        self.state.health, then = machine.step(self.state.health, outcome, self._now_us(), jittered)
        text = notices.of(then.tell, self.plan.token, self.target.shown, self.state.health)
        if text:
            self._say(text)
        return then.wait_s

    def _broke(self, outcome: Failed) -> float:
        """The connection ended by itself. That is no failure where nothing was open."""
        if not self._window and self._batch is None:
            self._window.clear()
            return 0.0
        self._come_apart()
        return self._stepped(outcome)

    def _come_apart(self) -> None:
        """A syslog connection ended: what is not surely there is said again."""
        self._batch = None
        self._window.clear()
        self._reopen()

    async def _hang_up(self) -> None:
        """End a connection on purpose, and learn whether all of it was read."""
        if (await self._outlet.close()).sure:
            self._settle(self._window.all())
            self._window.clear()
        elif self._window:
            self._come_apart()
        self._keep()

    def _settle_some(self) -> None:
        """What of the window is surely the receiver's by now."""
        now_s = self._clock.monotonic_s()
        self._settle(self._window.sure(self._outlet.sure(), now_s))
        if self._unkept and now_s - self._kept_s >= KEEP_S:
            self._keep()

    def _settle(self, sure: Sequence[Sent]) -> None:
        for each in sure:
            self._done(each.end, each.lines, each.told)
            self.state.health = replace(self.state.health, failures=0)

    def _done(self, end: Position, lines: int, told: int) -> None:
        state = self.state
        if end.segment >= state.gap_end:
            state.counted = state.gap_end = 0
        state.position, state.until = str(end), ""
        state.delivered += lines
        state.lost, state.told = state.lost - told, 0
        self._unkept = True

    async def _idle(self) -> None:
        """Wait for more lines, or for the receiver's end; hang up after a while."""
        idle_s = self._times.http_idle_s if self.target.is_http else self._times.idle_s
        deadline_s = self._clock.monotonic_s() + jittered(idle_s, 0.1)
        hung_up = False
        while not self._wake.is_set():
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0 and not hung_up:
                await self._hang_up()
                hung_up = True
                continue
            if self._window or self._unkept:
                left_s = UNSURE_S / 4
            await _passed(self._wake, None if hung_up else left_s)
            self._settle_some()
        self._wake.clear()
        if not self._outlet.broken:
            await self._clock.sleep(LINGER_S[self.target.is_http])

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
        state = self.state
        for gap in gaps:
            # From the kept position on, what was counted before is met again.
            fresh = gap.lines - (state.counted if gap.from_kept else 0)
            state.gap_end = max(state.gap_end, gap.end)
            if fresh <= 0:
                continue
            if not state.lost:
                state.lost_since_us, state.lost_at_us = gap.since_us, self._now_us()
            state.lost += fresh
            state.lost_total += fresh
            state.counted += fresh
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


def style_of(target: Target) -> str:
    """How lines are said to such a receiver."""
    if not target.is_http:
        return "syslog"
    return target.format or "http"
