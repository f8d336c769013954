"""Owns what is done when a dyno's output cannot be taken: hold it for a while, then throw away.

Logplex takes output; while it cannot (it is down, its disk is full) a dyno whose FIFO is full
waits in its next write. After HOLD_S the oldest of what it said is read here and thrown away, so
that it goes on; bytes and lines are counted in the note beside the FIFO, from which logplex tells
them (L12) before it reads on. An app whose log has the policy `block` is held for ever. Must not
know apps or releases; a dyno is its directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import select
import stat
import struct
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.clock import Clock
from oriel.logplex import overflow
from oriel.logplex.client import Logplex
from oriel.logplex.overflow import Lost, Note
from oriel.logplex.policy import BLOCK, DROP

HOLD_S = 5.0
LOOK_S = 0.25
CHUNK_BYTES = 64 * 1024
ASK_TIMEOUT_S = 1.0
TURN_BYTES = 8 * 1024 * 1024
"""What is thrown away of one dyno in one look: one app's flood is its own."""
LINE_BYTES_MAX = 4096
"""Where no line ends for longer, logplex is left to skip the rest of it."""
SHOWN_S = 3600.0
"""How long `ps` tells of it afterwards."""

_INSTANCE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,127}")

_log = logging.getLogger("oriel.control.overflow")


@dataclass(slots=True)
class _Watched:
    """One dyno's FIFO."""

    fd: int
    full_since_s: float | None = None
    full_since_us: int = 0
    moved: int = -1
    """What logplex had of it in all when it was looked at last; -1: not known."""
    flood: str = ""
    """Its log's policy, as far as logplex has ever told."""
    note: Note | None = None
    """Locked while this process reads the FIFO."""
    lost: Lost | None = None
    ended_s: float = 0.0


class Overflow:
    """Looks at every dyno's FIFO, now and then."""

    def __init__(
        self, dynos: Path, logplex: Logplex, clock: Clock, *, hold_s: float = HOLD_S
    ) -> None:
        """`dynos` is DATA/dynos. `logplex` is a client of its own: nobody else waits on it."""
        self._dynos = dynos
        self._logplex = logplex
        self._clock = clock
        self._hold_s = hold_s
        self._watched: dict[str, _Watched] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.create_task(self._tend())

    async def close(self) -> None:
        """Let go of every FIFO; what was counted stays in the notes."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for name in list(self._watched):
            self._forget(name)
        await self._logplex.close()

    def reason(self, instance: str) -> str:
        """What `ps` says of a dyno whose output was lost; empty where none was, lately."""
        watched = self._watched.get(instance)
        if watched is None:
            return ""
        if watched.flood == BLOCK and watched.full_since_s is not None:
            return "waits: its output cannot be taken (logs:policy block)"
        if watched.lost is None or not watched.lost.bytes:
            return ""
        if not watched.note and self._clock.monotonic_s() - watched.ended_s > SHOWN_S:
            return ""
        is_now = "its output is being thrown away" if watched.note else "output was thrown away"
        return f"{is_now} (L12): {watched.lost.messages} messages, {watched.lost.bytes} bytes"

    async def look(self) -> None:
        """Look once at every FIFO, and throw away what has to be."""
        self._find()
        if not any(each.note or self._is_full(each) for each in self._watched.values()):
            for each in self._watched.values():
                each.full_since_s = None
            if all(each.flood for each in self._watched.values()):
                return
        told = await self._ask()
        for name, watched in list(self._watched.items()):
            try:
                await self._look_at(name, watched, told)
            except OSError as error:
                _log.warning("the output of %s cannot be looked at: %s", name, error)

    async def _tend(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                _log.exception("the dynos' output could not be looked at")
            await self._clock.sleep(LOOK_S)

    async def _ask(self) -> dict[str, dict[str, Any]] | None:
        """What logplex says of its FIFOs; None when it does not answer."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                told = await self._logplex.inlets()
        except (faults.Fault, OSError, TimeoutError, ValueError):
            return None
        for name, each in told.items():
            watched = self._watched.get(name)
            if watched:
                watched.flood = str(each.get("flood", DROP))
        return told

    async def _look_at(
        self, name: str, watched: _Watched, told: dict[str, dict[str, Any]] | None
    ) -> None:
        mine = (told or {}).get(name)
        taken = mine is not None and not mine.get("blocked")
        if watched.note:
            if taken or watched.flood == BLOCK:
                self._stop(name, watched)
            else:
                self._throw_away(watched)
            return
        moved = int(mine["moved"]) if mine else watched.moved
        is_held = self._is_full(watched) and not (taken and moved != watched.moved)
        watched.moved = moved
        now_s = self._clock.monotonic_s()
        if not is_held:
            watched.full_since_s = None
            return
        if watched.full_since_s is None:
            watched.full_since_s = now_s
            watched.full_since_us = self._clock.wall_ns() // 1000
        # Where the policy is not known, logplex has never answered: it is waited for.
        if taken or watched.flood != DROP or now_s - watched.full_since_s < self._hold_s:
            return
        watched.note = Note.lock(self._dynos / name / overflow.NAME, make=True)
        if watched.note is None:
            return
        watched.lost = watched.note.read() or Lost(watched.full_since_us)
        watched.note.write(watched.lost)
        # Logplex may have come back before it could see the note: then it reads already.
        again = (await self._ask() or {}).get(name)
        if again is not None and not again.get("blocked"):
            self._stop(name, watched)
            return
        _log.warning("the output of %s is thrown away: logplex cannot take it", name)
        self._throw_away(watched)

    def _throw_away(self, watched: _Watched) -> None:
        """Read until the FIFO is half empty: what was said last is kept as long as it can be."""
        half = _capacity(watched.fd) // 2
        for _ in range(TURN_BYTES // CHUNK_BYTES):
            if _waiting(watched.fd) <= half or not self._read(watched, CHUNK_BYTES):
                return

    def _stop(self, name: str, watched: _Watched) -> None:
        """Let logplex read again, from the beginning of a line where that can be."""
        for _ in range(LINE_BYTES_MAX):
            if not (watched.lost and watched.lost.in_line and self._read(watched, 1)):
                break
        if watched.note:
            watched.note.let_go()
        if watched.lost and not watched.lost.bytes:
            watched.lost = None
            (self._dynos / name / overflow.NAME).unlink(missing_ok=True)
        watched.note = None
        watched.full_since_s = None
        watched.ended_s = self._clock.monotonic_s()

    def _read(self, watched: _Watched, size: int) -> bool:
        if watched.note is None or watched.lost is None:
            return False
        try:
            data = os.read(watched.fd, size)
        except BlockingIOError:
            return False
        watched.lost = watched.lost.plus(data)
        watched.note.write(watched.lost)
        return bool(data)

    def _is_full(self, watched: _Watched) -> bool:
        poller = select.poll()
        poller.register(watched.fd, select.POLLOUT)
        return not poller.poll(0)

    def _find(self) -> None:
        """Open the FIFOs of new dynos, let go of those that are gone."""
        try:
            names = set(filter(_INSTANCE.fullmatch, os.listdir(self._dynos)))
        except FileNotFoundError:
            names = set()
        for name in [each for each in self._watched if each not in names]:
            self._forget(name)
        for name in names - self._watched.keys():
            # A directory without a FIFO is one that is just being made or cleared away.
            with contextlib.suppress(OSError):
                self._watch(name)

    def _watch(self, name: str) -> None:
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._dynos / name / "out", flags)
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            self._watched[name] = _Watched(fd)
        else:
            os.close(fd)

    def _forget(self, name: str) -> None:
        watched = self._watched.pop(name)
        if watched.note:
            watched.note.let_go()
        os.close(watched.fd)


def _capacity(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


def _waiting(fd: int) -> int:
    found = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    return int(struct.unpack("=i", found)[0])
