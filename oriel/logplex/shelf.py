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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from oriel import faults
from oriel.clock import Clock, new_id
from oriel.logplex.channel import Channel, check_name
from oriel.logplex.limits import Limits

_GONE = ".gone-"
LOCK_WAIT_S = 10.0
_LOCK_STEP_S = 0.02

_log = logging.getLogger("oriel.logplex")


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
        self._boot_id = boot_id
        self._lock_fd = -1
        self._open: dict[str, Channel] = {}
        self._used_s: dict[str, float] = {}
        self._in_use: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1, "logplex-sync")
        self._task: asyncio.Task[None] | None = None
        self._syncing = asyncio.Lock()

    async def start(self) -> None:
        """Take the lock, finish what a kill left of forgetting, and sync from now on."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = os.open(
            self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        await self._take_lock()
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

    def knows(self, name: str) -> bool:
        """Whether there is such a channel."""
        return name in self._open or (self.directory / name).is_dir()

    def channel(self, name: object) -> Channel:
        """The channel of that name, made if there is none. May raise OSError or Invalid."""
        key = check_name(name)
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = Channel(self.directory / key, self._limits, self._boot_id)
            if found.set_aside_bytes:
                _log.warning(
                    "channel %s: %d bytes at its end were not yet on disk when the machine "
                    "stopped; they are set aside in *.unsynced",
                    key,
                    found.set_aside_bytes,
                )
        self._used_s[key] = self._clock.monotonic_s()
        return found

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

    async def _tend(self) -> None:
        while True:
            await self._clock.sleep(self._limits.sync_interval_s)
            await self.sync()
            async with self._syncing:
                self._close_idle()

    def _close_idle(self) -> None:
        limit_s = self._clock.monotonic_s() - self._limits.idle_close_s
        for name, channel in list(self._open.items()):
            idle = name not in self._in_use and self._used_s.get(name, 0.0) < limit_s
            if idle and not channel.dirty and not channel.listeners:
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
