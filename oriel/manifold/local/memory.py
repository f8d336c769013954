"""Owns noticing that a dyno is over its memory quota, and telling of it as long as it is.

The kernel tells where it can (an alarm of the control group); then nothing is done until it does.
Where it cannot, all dynos are looked at in turn by one task. Must not know what is to follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from oriel.clock import Clock
from oriel.manifold.launcher import MEMORY_TICK_S, OnMemory, Usage

SAMPLE_S = 5.0
"""How often those are looked at of which no alarm tells."""

SOON_S = SAMPLE_S / 64
"""When one is looked at again whose alarm rang; then after twice that time, and so on until it is
SAMPLE_S: the kernel counts in lots, and rings a little early.
"""

ARMING_MAX = 4
"""For how many at once an alarm is set."""

Look = Callable[[str], Usage | None]
Arm = Callable[[], int | None]


@dataclass(slots=True)
class _Watched:
    """One dyno that runs."""

    levels: tuple[int, ...]
    alarm: int | None = None
    told_at: float | None = None
    """When it was last told to be over, by the monotonic clock; None while it is not."""
    told_level: int = 0
    """How many of the levels it was beyond then."""
    rung: bool = False
    """The alarm rang: it may be over at any time from now on."""


class Memory:
    """The dynos whose memory is watched."""

    def __init__(self, look: Look, clock: Clock) -> None:
        """`look` reads what a dyno takes now."""
        self._look = look
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._on_memory: OnMemory = lambda instance, usage: None
        self._rounds: asyncio.Task[None] | None = None
        self._arming: set[asyncio.Task[None]] = set()
        # Of its own: after a start of control there may be hundreds, and others use threads too.
        self._threads = ThreadPoolExecutor(ARMING_MAX, thread_name_prefix="oriel-memory")

    def listen(self, on_memory: OnMemory) -> None:
        """Whom to tell."""
        self._on_memory = on_memory

    def watch(
        self, instance: str, levels: tuple[int, ...], arm: Arm, *, fresh: bool = False
    ) -> None:
        """Begin with one: it is told of when it is or grows beyond a level (in bytes; the lowest is
        its quota), and each tick while it is. `arm` gives a descriptor, taken over, that becomes
        readable then, or None where nobody can tell. It may take its time, in a thread: the kernel
        lets one wait for some hundredths of a second. A `fresh` one has just begun, and need not be
        looked at until it has grown.
        """
        self.forget(instance)
        self._watched[instance] = watched = _Watched(levels)
        if not fresh:
            self._check(instance)
        self._go_round()
        arming = asyncio.create_task(self._arm(instance, watched, arm))
        self._arming.add(arming)
        arming.add_done_callback(self._arming.discard)

    async def _arm(self, instance: str, watched: _Watched, arm: Arm) -> None:
        alarm = await asyncio.get_running_loop().run_in_executor(self._threads, arm)
        if alarm is None:
            return
        if self._watched.get(instance) is not watched:
            os.close(alarm)
            return
        watched.alarm = alarm
        asyncio.get_running_loop().add_reader(alarm, self._rang, instance, alarm)

    def forget(self, instance: str) -> None:
        """It has ended."""
        gone = self._watched.pop(instance, None)
        if gone is not None and gone.alarm is not None:
            asyncio.get_running_loop().remove_reader(gone.alarm)
            os.close(gone.alarm)
        if not self._watched and self._rounds is not None:
            self._rounds.cancel()
            self._rounds = None

    def _rang(self, instance: str, alarm: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(alarm, 8)
        watched = self._watched.get(instance)
        if watched is not None:
            watched.rung = True
            self._check(instance)
            if self._rounds is not None:
                self._rounds.cancel()
                self._rounds = None
            self._go_round(SOON_S)

    def _check(self, instance: str) -> None:
        watched = self._watched[instance]
        usage = self._look(instance)
        if usage is None:
            return
        level = sum(usage.memory_bytes > each for each in watched.levels)
        if level == 0:
            watched.told_at, watched.told_level = None, 0
            return
        now = self._clock.monotonic_s()
        is_due = watched.told_at is None or now - watched.told_at >= MEMORY_TICK_S
        if is_due or level > watched.told_level:
            watched.told_at, watched.told_level = now, level
            watched.rung = True
            self._on_memory(instance, usage)

    def _go_round(self, pause_s: float = SAMPLE_S) -> None:
        """Look in turn, if there is one that must be looked at."""
        if self._rounds is None and any(map(_needs_looks, self._watched.values())):
            self._rounds = asyncio.create_task(self._look_round(pause_s))

    async def _look_round(self, pause_s: float) -> None:
        passed_s = 0.0
        while any(map(_needs_looks, self._watched.values())):
            await self._clock.sleep(pause_s)
            passed_s += pause_s
            pause_s = min(SAMPLE_S, passed_s)
            for instance, watched in list(self._watched.items()):
                if _needs_looks(watched) and instance in self._watched:
                    self._check(instance)
        self._rounds = None


def _needs_looks(watched: _Watched) -> bool:
    return watched.alarm is None or watched.rung
