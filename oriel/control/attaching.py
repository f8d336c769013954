"""Owns the time between a client's coming and the end: bytes both ways, each side at the other's
pace; a program that ends, a client that goes, a silence that is too long.

What is kept here is bounded: one piece of output, a little input. Must not know why the process
runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import Protocol

from oriel.clock import Clock
from oriel.manifold import Exit, Terminal, Window
from oriel.rendezvous import End, Input, Link, Resize

IDLE_S = 3600.0
"""How long both sides may be silent (heroku-facts D3)."""

INPUT_BYTES_MAX = 256 * 1024
"""How much input may wait for a process; more than a client that speaks frames may send."""

PIECE_BYTES = 16 * 1024

STAYING_S = 0.5
"""How long output of a process that has ended is waited for where another may still hold it."""

FAREWELL_S = 2.0
"""How long a client gets to hear that the platform is being stopped."""


class Process(Protocol):
    """What is attached to: a one-off dyno, or a process inside one."""

    @property
    def terminal(self) -> Terminal:
        """Its streams."""
        ...

    async def wait(self) -> Exit:
        """Come back when it has ended."""
        ...

    async def send(self, what: signal.Signals) -> None:
        """A signal to it."""
        ...

    async def hang_up(self, why: str) -> None:
        """Its client has gone: make it end, and come back when it has."""
        ...

    def why(self) -> str:
        """Why it ended, where its exit code does not say so; empty where that says all."""
        ...


async def attend(link: Link, process: Process, clock: Clock, idle_s: float = IDLE_S) -> Exit | None:
    """Bring both together until the end; the exit, or None when the client did not see it."""
    talk = _Talk(link, process, clock)
    out, fed = asyncio.create_task(talk.bring_out()), asyncio.create_task(talk.feed())
    gone = asyncio.create_task(talk.until_gone())
    ended, idle = asyncio.create_task(process.wait()), asyncio.create_task(talk.silence(idle_s))
    tasks = (out, fed, gone, ended, idle)
    try:
        await asyncio.wait({gone, ended, idle}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and await talk.all_is_out(out, gone):
            exit_ = ended.result()
            await link.finish(exit_.code, process.why())
            return exit_
        why = "its client has gone"
        if idle.done():
            why = f"nothing was said for {idle_s:.0f} s"
            telling = asyncio.create_task(link.finish(None, f"it was ended: {why}"))
        else:
            telling = asyncio.create_task(link.finish(None, ""))
        gone.cancel()
        fed.cancel()
        out.cancel()
        await asyncio.gather(gone, fed, out, return_exceptions=True)
        throwing = asyncio.create_task(talk.throw_away())
        try:
            await process.hang_up(why)
        finally:
            throwing.cancel()
            await asyncio.wait({telling}, timeout=FAREWELL_S)
            telling.cancel()
        return None
    except asyncio.CancelledError:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await link.finish(None, "the platform was stopped while it ran")
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process.terminal.close()


class _Talk:
    """One client and one process."""

    def __init__(self, link: Link, process: Process, clock: Clock) -> None:
        self._link = link
        self._process = process
        self._clock = clock
        self._input = bytearray()
        self._no_more_input = False
        self._input_changed = asyncio.Event()
        self._sending = False
        self._last_s = clock.monotonic_s()

    async def bring_out(self) -> None:
        """All that the process says, to the client; ends early when that has gone."""
        with contextlib.suppress(OSError):
            while (said := await self._process.terminal.read()) is not None:
                self._sending = True
                self._touch()
                await self._link.send(*said)
                self._sending = False
                self._touch()

    async def until_gone(self) -> None:
        """Hear the client until it has gone. Seen even while its process does not read, and
        nothing more of what it says is heard.
        """
        hearing, gone = (
            asyncio.ensure_future(self._hear()),
            asyncio.ensure_future(self._link.gone()),
        )
        try:
            await asyncio.wait({hearing, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hearing.cancel()
            gone.cancel()
            await asyncio.gather(hearing, gone, return_exceptions=True)

    async def _hear(self) -> None:
        """All that the client says: input is put where `feed` finds it, the rest is done at once,
        since a signal must get through though the process does not read.
        """
        with contextlib.suppress(OSError):
            while (heard := await self._link.hear()) is not None:
                self._touch()
                if isinstance(heard, Input):
                    self._input += heard.data
                elif isinstance(heard, End):
                    self._no_more_input = True
                elif isinstance(heard, Resize):
                    self._process.terminal.resize(Window(heard.columns, heard.lines))
                else:
                    await self._process.send(heard.number)
                await self._until_input(lambda: len(self._input) < INPUT_BYTES_MAX)

    async def feed(self) -> None:
        """Give the process its input, as it reads it."""
        terminal = self._process.terminal
        with contextlib.suppress(OSError):
            while True:
                await self._until_input(lambda: bool(self._input) or self._no_more_input)
                if not self._input:
                    await terminal.end_input()
                    return
                piece = bytes(self._input[:PIECE_BYTES])
                await terminal.write(piece)
                del self._input[: len(piece)]
                self._input_changed.set()
                await self._link.taken(len(piece))

    async def _until_input(self, holds: Callable[[], bool]) -> None:
        self._input_changed.set()
        while not holds():
            self._input_changed.clear()
            await self._input_changed.wait()

    async def silence(self, idle_s: float) -> None:
        """Come back when nothing was said for so long."""
        while (left_s := self._last_s + idle_s - self._clock.monotonic_s()) > 0:
            await self._clock.sleep(left_s)

    async def all_is_out(self, out: asyncio.Task[None], gone: asyncio.Task[None]) -> bool:
        """Wait until the client has everything that an ended process said; False when it went."""
        while not out.done():
            waiting: set[asyncio.Task[None]] = {out}
            if not gone.done():
                waiting.add(gone)
            await asyncio.wait(waiting, timeout=STAYING_S, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return False
            quiet = self._clock.monotonic_s() - self._last_s >= STAYING_S
            if not out.done() and quiet and not self._sending:
                break  # A process in the background has its output still.
        return True

    async def throw_away(self) -> None:
        """Nobody reads any more: the process must not be held by that on its way to the end."""
        while await self._process.terminal.read() is not None:
            pass

    def _touch(self) -> None:
        self._last_s = self._clock.monotonic_s()
