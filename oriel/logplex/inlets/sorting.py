"""Owns bringing runs of lines into channels: whose they are, by which token, and writing them.

Must not know connections. What a disk does not take goes back to who brought it. A sender names
its processes itself; how many names it may use is bounded, and no name can look like a header.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from oriel.clock import Clock
from oriel.logplex import frame
from oriel.logplex.channel import Channel
from oriel.logplex.inlets.bounds import Bounds, Counts
from oriel.logplex.inlets.framing import Run
from oriel.logplex.pace import Pace
from oriel.logplex.shelf import Shelf
from oriel.logplex.sources import Source
from oriel.logplex.tokens import Token, Tokens

MALFORMED = "malformed"
"""The process under which bytes are shown that are no frame."""
OTHER = "other"
"""The process of those that came after a channel had as many names as it may have."""

_UNFIT = re.compile(r"[^A-Za-z0-9_.:@/+-]")
_NAME_LENGTH = 128
_PACED_STEP = 64
_PRIORITY_MALFORMED = 13
"""user.notice, as RFC 3164 has it for a line without priority."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run goes."""

    channel: str
    source: str
    ps: str


@dataclass(slots=True)
class Sender:
    """Whoever is at the other end: what is known of it.

    With `bound` everything is that token's, whatever the frames say. `by_process` says that the
    frames' `PROCID` is the process, as in `application/logplex-1`.
    """

    bound: Token | None = None
    by_process: bool = False
    only: Token | None = None
    """The one token that all its frames had so far."""
    several: bool = False


class NotTaken(OSError):
    """The disk took nothing of `runs`; those before them are kept."""

    def __init__(self, runs: Sequence[Run], cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.runs = list(runs)


class Sorter:
    """The one that all ways in share."""

    def __init__(
        self, shelf: Shelf, tokens: Tokens, bounds: Bounds, clock: Clock, pace: Pace
    ) -> None:
        self._shelf = shelf
        self._pace = pace
        self._paced: dict[str, Channel] = {}
        self._tokens = tokens
        self._bounds = bounds
        self._clock = clock
        self._routes: dict[tuple[bytes, str, bool], tuple[Token, Place] | None] = {}
        self._generation = tokens.generation
        self._named: WeakKeyDictionary[Channel, dict[tuple[str, str], Source]] = WeakKeyDictionary()

    def store(self, runs: Sequence[Run], sender: Sender, counts: Counts) -> float:
        """Keep runs in their order; raises NotTaken.

        Gives for how many seconds who can wait should bring nothing more: the channel is ahead of
        its byte rate, or of the disk.
        """
        at = 0
        wait_s = 0.0
        while at < len(runs):
            place = self._place(runs[at], sender, counts)
            if place is None:
                at += 1
                continue
            batch = [(place, runs[at])]
            after = at + 1
            while after < len(runs):
                place = self._place(runs[after], sender, counts)
                if place is not None:
                    if place.channel != batch[0][0].channel:
                        break
                    batch.append((place, runs[after]))
                after += 1
            try:
                wait_s = max(wait_s, self._write(batch))
            except OSError as error:
                raise NotTaken([run for _, run in batch] + list(runs[after:]), error) from error
            for _, run in batch:
                counts.frames += run.count
                counts.malformed += run.count if run.why else 0
            at = after
        return wait_s

    def _write(self, batch: list[tuple[Place, Run]]) -> float:
        now_us = self._clock.wall_ns() // 1000
        channel = self._shelf.channel(batch[0][0].channel)
        channel.append_runs(
            [
                (self._source(channel, place), _marked(run, now_us) if run.why else run.lines)
                for place, run in batch
            ],
            now_us,
        )
        if self._paced.get(channel.name) is not channel:
            self._forget_closed()
            self._paced[channel.name] = channel
        return self._pace.wait_s(channel, self._clock.monotonic_s())

    def _forget_closed(self) -> None:
        """Let go of channels that are closed since; their pace is all that still knows them."""
        if len(self._paced) % _PACED_STEP:
            return
        for name, channel in list(self._paced.items()):
            if self._shelf.if_open(name) is not channel:
                self._pace.forget(self._paced.pop(name))

    def _place(self, run: Run, sender: Sender, counts: Counts) -> Place | None:
        """Where a run goes; None, counted, when nobody knows."""
        if run.why or (run.plain and not sender.bound):
            token = sender.bound or (None if sender.several else sender.only)
            if token is None or self._tokens.get(token.id) is None:
                counts.malformed += run.count if run.why else 0
                counts.unknown_token += run.count
                return None
            run.why = run.why or "no priority"
            return Place(token.channel, token.name, MALFORMED)
        found = self._route(run.key, sender)
        if found is None:
            counts.unknown_token += run.count
            return None
        token, place = found
        if sender.only is not token and not sender.bound:
            sender.several = sender.several or sender.only is not None
            sender.only = token
        return place

    def _route(self, key: bytes, sender: Sender) -> tuple[Token, Place] | None:
        if self._generation != self._tokens.generation:
            self._generation = self._tokens.generation
            self._routes.clear()
        index = (key, sender.bound.id if sender.bound else "", sender.by_process)
        if index in self._routes:
            return self._routes[index]
        while len(self._routes) >= self._bounds.routes:
            self._routes.pop(next(iter(self._routes)))
        found = self._routes[index] = self._found(key, sender)
        return found

    def _found(self, key: bytes, sender: Sender) -> tuple[Token, Place] | None:
        host, app, process = (each.decode("utf-8", "replace") for each in key.split(b" "))
        if sender.bound:
            token = self._tokens.get(sender.bound.id)
            ps = process if sender.by_process or self._tokens.get(app) else app
        elif token := self._tokens.get(app):
            ps = process
        else:
            token, ps = self._tokens.get(host), app
        return (token, Place(token.channel, token.name, _fit(ps))) if token else None

    def _source(self, channel: Channel, place: Place) -> Source:
        known = self._named.get(channel)
        if known is None:
            # Of the processes that are no dyno's, which names there are already.
            known = self._named[channel] = {
                (each.source, each.ps): each
                for each in channel.book.rows.values()
                if not each.instance and not each.release
            }
        name = (place.source, place.ps)
        found = known.get(name)
        if found is None:
            if len(known) >= self._bounds.processes and place.ps not in (MALFORMED, OTHER):
                return self._source(channel, Place(place.channel, place.source, OTHER))
            found = known[name] = channel.source(*name)
        return found


def _fit(name: str) -> str:
    """The name of a process as it may stand in a header; a frame's `-` is none."""
    return "" if name == "-" else _UNFIT.sub("_", name)[:_NAME_LENGTH]


def _marked(run: Run, now_us: int) -> bytes:
    """Malformed lines as frames of ours: who reads them sees the bytes, and why."""
    why = frame.escaped(run.why)
    header = f'<{_PRIORITY_MALFORMED}>1 {frame.stamp(now_us)} - - - - [oriel malformed="{why}"] '
    lines = run.lines[:-1].split(b"\n")
    return b"".join(header.encode() + line + b"\n" for line in lines)
