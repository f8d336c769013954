"""Owns all channels of a data directory: opening, syncing, closing idle ones, forgetting.

Must not know what comes in or who reads. Holds the directory's lock: a killed logplex may still
be inside a splice, and only its end releases the lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from oriel import faults
from oriel.clock import Clock, new_id
from oriel.logplex import damage, frame, jobs
from oriel.logplex.channel import Channel, check_name
from oriel.logplex.damage import Damage
from oriel.logplex.gone import Removed
from oriel.logplex.limits import Limits

_GONE = ".gone-"
_LAST_ID = ".last-id"
_ID = struct.Struct("<8sQ")
_ID_MAGIC = b"orielid\1"
LOCK_WAIT_S = 10.0
_LOCK_STEP_S = 0.02
_SPARE_PART = 16

_T = TypeVar("_T")

_log = logging.getLogger("oriel.logplex")


@dataclass(frozen=True, slots=True)
class Checked:
    """What looking at a whole channel found."""

    segments: int
    damage: tuple[Damage, ...]


class Shelf:
    """The channels, open or not."""

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        clock: Clock,
        boot_id: str,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        """`directory` is DATA/channels. The lock is waited for, as a killed logplex may be slow."""
        self._lock_wait_s = lock_wait_s
        self.directory = directory
        self._limits = limits
        self._clock = clock
        self.boot_id = boot_id
        self._lock_fd = -1
        self._open: dict[str, Channel] = {}
        self._used_s: dict[str, float] = {}
        self._in_use: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1, "logplex-sync")
        self._task: asyncio.Task[None] | None = None
        self._syncing = asyncio.Lock()
        self.last_id = 0
        """The highest outbox id that any channel was ever given."""

    async def start(self) -> None:
        """Take the lock, finish what a kill left of forgetting, and sync from now on."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = os.open(
            self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        await self._take_lock()
        self.last_id = _read_id(self.directory / _LAST_ID)
        for each in self.directory.glob(_GONE + "*"):
            self._thread.submit(shutil.rmtree, each, True)
        self._task = asyncio.create_task(self._tend())

    async def close(self) -> None:
        """Make everything durable and let go of it."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.sync()
        self._thread.shutdown(wait=True)
        for channel in self._open.values():
            channel.close()
        self._open.clear()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)

    def __len__(self) -> int:
        """How many channels are open."""
        return len(self._open)

    def names(self) -> set[str]:
        """Every channel there is. For a thread."""
        found = os.scandir(self.directory)
        with found:
            return {each.name for each in found if frame.CHANNEL.fullmatch(each.name)}

    def note_id(self, number: int) -> None:
        """A channel keeps lines up to this outbox id. May raise OSError."""
        if number > self.last_id:
            _write_id(self.directory / _LAST_ID, number)
            self.last_id = number

    def if_open(self, name: str) -> Channel | None:
        """The channel of that name, if it is open."""
        return self._open.get(name)

    @property
    def open_channels(self) -> list[Channel]:
        """Those that are open."""
        return list(self._open.values())

    def knows(self, name: str) -> bool:
        """Whether there is such a channel."""
        return name in self._open or (self.directory / name).is_dir()

    def channel(self, name: object) -> Channel:
        """The channel of that name, made if there is none. May raise OSError or Invalid."""
        key = check_name(name)
        found = self._open.get(key)
        if found is None:
            self._close_unused(self._limits.open_channels - 1)
            found = self._open[key] = Channel(self.directory / key, self._limits, self.boot_id)
            if found.set_aside_bytes:
                _log.warning(
                    "channel %s: %d bytes at its end were not yet on disk when the machine "
                    "stopped; they are set aside in *.unsynced",
                    key,
                    found.set_aside_bytes,
                )
        self._used_s[key] = self._clock.monotonic_s()
        return found

    async def room(self, name: object) -> None:
        """Wait until the channel can be opened: with too many open, until others are on disk."""
        is_open = isinstance(name, str) and name in self._open
        if not is_open and len(self._open) >= self._limits.open_channels:
            self._close_unused(self._limits.open_channels - 1)
            if len(self._open) >= self._limits.open_channels:
                await self.sync()

    @contextlib.contextmanager
    def used(self, name: object) -> Iterator[Channel]:
        """The channel, kept open while the block runs."""
        channel = self.channel(name)
        self.keep(channel.name)
        try:
            yield channel
        finally:
            self.let_go(channel.name)

    def keep(self, name: str) -> None:
        """Somebody goes on using an open channel."""
        self._in_use[name] = self._in_use.get(name, 0) + 1

    def let_go(self, name: str) -> None:
        """One user less."""
        left = self._in_use.get(name, 1) - 1
        if left > 0:
            self._in_use[name] = left
        else:
            self._in_use.pop(name, None)
            self._used_s[name] = self._clock.monotonic_s()

    async def forget(self, name: object) -> None:
        """Remove a channel and all that was said in it. One that is not there is no error."""
        key = check_name(name)
        async with self._syncing:
            channel = self._open.pop(key, None)
            self._used_s.pop(key, None)
            if channel:
                channel.forgotten = True
                channel.tell()
                channel.close()
            gone = self.directory / f"{_GONE}{new_id()}"
            try:
                os.rename(self.directory / key, gone)
            except FileNotFoundError:
                return
            self._thread.submit(shutil.rmtree, gone, True)

    async def sync(self) -> None:
        """Make all that is committed now durable, channel by channel, in the sync thread."""
        loop = asyncio.get_running_loop()
        async with self._syncing:
            for channel in list(self._open.values()):
                try:
                    job = channel.sync_job()
                    if job:
                        channel.synced(await loop.run_in_executor(self._thread, job.run))
                except OSError as error:
                    # A full disk: what is committed is in the page cache, and stays readable.
                    channel.sync_failed()
                    _log.warning("channel %s cannot be synced: %s", channel.name, error)

    async def finish(self, name: str) -> None:
        """Finish the segment that a channel writes. May raise OSError."""
        with self.used(name) as channel:
            channel.roll()
            await self.sync()

    async def remove(self, name: str, number: int, why: str) -> Removed | None:
        """Remove a finished segment of a channel; None when it is not one. May raise OSError."""
        with self.used(name) as channel:
            async with self._syncing:
                job = channel.removal(number, why)
                if job is None or channel.forgotten:
                    return None
                row = await self._in_thread(job.run)
                channel.removed(row)
                await self._in_thread(partial(jobs.remove_files, channel.directory, number))
                if channel.gone.fold():
                    await self._in_thread(channel.gone.save)
                return row

    async def check(self, name: object) -> Checked:
        """Look at every finished segment of a channel, and tell it of damage."""
        with self.used(name) as channel:
            there = channel.segments()
            channel.suspects |= {each for each in there if each < channel.active.number}
            segments = len(channel.suspects)
            await self._examine(channel)
            channel.say_notes(self._clock.wall_ns() // 1000)
            return Checked(segments, tuple(channel.damage.known.values()))

    async def _examine(self, channel: Channel) -> None:
        """Look at the segments that seem to be damaged, one by one."""
        for number in sorted(channel.suspects):
            async with self._syncing:
                if channel.forgotten:
                    return
                seal = channel.seal_of(number)
                job = partial(damage.examine, channel.directory, number, seal)
                try:
                    channel.found_damage(number, await self._in_thread(job))
                except OSError as error:
                    _log.warning("channel %s cannot be examined: %s", channel.name, error)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _tend(self) -> None:
        while True:
            await self._clock.sleep(self._limits.sync_interval_s)
            await self.sync()
            for channel in self.open_channels:
                if channel.suspects:
                    await self._examine(channel)
                if channel.notes and not channel.forgotten:
                    channel.say_notes(self._clock.wall_ns() // 1000)
            async with self._syncing:
                self._close_idle()

    def _close_idle(self) -> None:
        limit_s = self._clock.monotonic_s() - self._limits.idle_close_s
        for name in list(self._open):
            if self._used_s.get(name, 0.0) < limit_s:
                self._close_if_unused(name)

    def _close_unused(self, most: int) -> None:
        """Leave at most so many open, the last used of those that nobody uses now. A channel
        that is not on disk stays open: its sync is due within a second.
        """
        if len(self._open) <= most or self._syncing.locked():
            return
        for name in sorted(self._open, key=lambda name: self._used_s.get(name, 0.0)):
            self._close_if_unused(name)
            # Some more than must be, so that the next ones find room without a look at all.
            if len(self._open) <= most - most // _SPARE_PART:
                return

    def _close_if_unused(self, name: str) -> None:
        channel = self._open[name]
        is_quiet = name not in self._in_use and not channel.suspects and not channel.notes
        if is_quiet and not channel.dirty and not channel.listeners:
            del self._open[name]
            self._used_s.pop(name, None)
            channel.close()

    async def _take_lock(self) -> None:
        deadline_s = self._clock.monotonic_s() + self._lock_wait_s
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self._clock.monotonic_s() > deadline_s:
                    raise faults.Conflict(
                        f"Another logplex has the channels in {self.directory}.",
                        hint="Stop it first, or give this one another --data directory.",
                    ) from None
            await asyncio.sleep(_LOCK_STEP_S)


def _read_id(path: Path) -> int:
    try:
        data = path.read_bytes()
    except OSError:
        return 0
    body, check = data[: _ID.size], data[_ID.size :]
    if len(body) < _ID.size or check != crc32(body).to_bytes(4, "little"):
        return 0
    magic, number = _ID.unpack(body)
    return int(number) if magic == _ID_MAGIC else 0


def _write_id(path: Path, number: int) -> None:
    # Not synced: it is for an outbox that was restored from a backup, not for a loss of power.
    body = _ID.pack(_ID_MAGIC, number)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, body + crc32(body).to_bytes(4, "little"), 0)
    finally:
        os.close(fd)
