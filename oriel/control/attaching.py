"""Owns the time between a client's coming and the end: bytes both ways, each side at the other's
pace; a program that ends, a client that goes, a silence that is too long.

Nothing is kept here but the piece that is on its way. Must not know why the process runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Protocol

from oriel.clock import Clock
from oriel.manifold import Exit, Terminal, Window
from oriel.rendezvous import End, Input, Link, Resize

IDLE_S = 3600.0
"""How long both sides may be silent (heroku-facts D3)."""

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
    out, heard = asyncio.create_task(talk.bring_out()), asyncio.create_task(talk.bring_in())
    ended, idle = asyncio.create_task(process.wait()), asyncio.create_task(talk.silence(idle_s))
    tasks = (out, heard, ended, idle)
    try:
        await asyncio.wait({heard, ended, idle}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and await talk.all_is_out(out, heard):
            exit_ = ended.result()
            await link.finish(exit_.code, process.why())
            return exit_
        why = "its client has gone"
        if idle.done():
            why = f"nothing was said for {idle_s:.0f} s"
            telling = asyncio.create_task(link.finish(None, f"it was ended: {why}"))
        else:
            telling = asyncio.create_task(link.finish(None, ""))
        heard.cancel()
        out.cancel()
        await asyncio.gather(out, heard, return_exceptions=True)
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

    async def bring_in(self) -> None:
        """All that the client says, to the process, until it has gone."""
        terminal = self._process.terminal
        with contextlib.suppress(OSError):
            while (heard := await self._link.hear()) is not None:
                self._touch()
                if isinstance(heard, Input):
                    await terminal.write(heard.data)
                    await self._link.taken(len(heard.data))
                elif isinstance(heard, End):
                    await terminal.end_input()
                elif isinstance(heard, Resize):
                    terminal.resize(Window(heard.columns, heard.lines))
                else:
                    await self._process.send(heard.number)

    async def silence(self, idle_s: float) -> None:
        """Come back when nothing was said for so long."""
        while (left_s := self._last_s + idle_s - self._clock.monotonic_s()) > 0:
            await self._clock.sleep(left_s)

    async def all_is_out(self, out: asyncio.Task[None], heard: asyncio.Task[None]) -> bool:
        """Wait until the client has everything that an ended process said; False when it went."""
        while not out.done():
            waiting: set[asyncio.Task[None]] = {out}
            if not heard.done():
                waiting.add(heard)
            await asyncio.wait(waiting, timeout=STAYING_S, return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
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
