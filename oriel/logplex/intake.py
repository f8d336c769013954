"""Owns the dynos' FIFOs: one epoll of them, and a turn of splices whenever one has something.

Must not know readers or sockets. Never looks at a byte. A turn takes one chunk a source; after a
turn that moved bytes comes a short pause, which merges small writes into one record.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import re
import select
import stat
from dataclasses import dataclass
from pathlib import Path

from oriel import faults
from oriel.clock import Clock
from oriel.logplex.channel import Channel, check_name
from oriel.logplex.limits import Limits
from oriel.logplex.lookback import carry_at_end
from oriel.logplex.shelf import Shelf
from oriel.logplex.sources import Source

_INSTANCE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,127}")
_IDENTITY_BYTES_MAX = 64 * 1024
_DRAIN_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Of whom a FIFO is, as `identity.json` says."""

    channel: str
    name: str
    release: int


@dataclass(slots=True)
class Inlet:
    """An open FIFO. `held` are bytes read where splice cannot, which the disk did not take."""

    instance: str
    fd: int
    channel: Channel
    source: Source
    held: bytes = b""
    reads: bool = False
    moved: int = 0


@dataclass(slots=True)
class _Block:
    """A channel whose disk takes nothing for now."""

    wait_s: float
    inlets: set[str]


class Intake:
    """All FIFOs."""

    def __init__(self, dynos: Path, shelf: Shelf, limits: Limits, clock: Clock) -> None:
        """`dynos` is DATA/dynos."""
        self._dynos = dynos
        self._shelf = shelf
        self._limits = limits
        self._clock = clock
        self._epoll = select.epoll()
        self._by_fd: dict[int, Inlet] = {}
        self._inlets: dict[str, Inlet] = {}
        self._blocks: dict[str, _Block] = {}
        self._quiet_turns = 0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Look at the FIFOs from now on."""
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    def close(self) -> None:
        """Let go of every FIFO; who else holds it keeps what is in it."""
        self._loop.remove_reader(self._epoll.fileno())
        if self._timer:
            self._timer.cancel()
        for inlet in list(self._inlets.values()):
            self._drop(inlet)
        self._epoll.close()

    def __len__(self) -> int:
        """How many FIFOs are open."""
        return len(self._inlets)

    @property
    def blocked(self) -> list[str]:
        """The channels whose disk takes nothing for now."""
        return sorted(self._blocks)

    def open_all(self) -> dict[str, str]:
        """Open the FIFO of every dyno there is; gives what could not be opened, and why."""
        failed: dict[str, str] = {}
        try:
            names = sorted(os.listdir(self._dynos))
        except FileNotFoundError:
            return failed
        for name in names:
            try:
                self.open(name)
            except (faults.Fault, OSError) as error:
                failed[name] = str(error)
        return failed

    def open(self, instance: object) -> Inlet:
        """Read a dyno's FIFO from now on. Twice is once."""
        key = _checked(instance)
        if key in self._inlets:
            return self._inlets[key]
        identity = self._identity(key)
        fd = self._open_fifo(key)
        try:
            channel = self._shelf.channel(identity.channel)
            source = channel.source("app", identity.name, key, identity.release)
            inlet = Inlet(key, fd, channel, source)
            self._epoll.register(fd, select.EPOLLIN)
        except OSError as error:
            os.close(fd)
            raise _unavailable(error) from error
        except faults.Fault:
            os.close(fd)
            raise
        self._inlets[key] = inlet
        self._by_fd[fd] = inlet
        self._shelf.keep(channel.name)
        return inlet

    async def drain(self, instance: object) -> int:
        """Read a FIFO until it is empty, end its last line, and close it.

        For a dyno that has ended. Returns how many bytes this process had from it in all; 0 when
        the FIFO is gone, as it was drained before.
        """
        key = _checked(instance)
        try:
            inlet = self.open(key)
        except faults.NotFound:
            return 0
        try:
            await self._empty(inlet)
            carry = await carry_at_end(inlet.channel, inlet.source.id, _yield)
            if self._inlets.get(key) is inlet:
                if carry.unfinished:
                    inlet.channel.close_line(inlet.source, self._now_us())
                self._drop(inlet)
        except OSError as error:
            raise _unavailable(error) from error
        return inlet.moved

    def forget(self, channel: str) -> None:
        """Let go of the FIFOs that lead into a channel that will be removed."""
        for inlet in [each for each in self._inlets.values() if each.channel.name == channel]:
            self._drop(inlet)

    def _turn(self) -> None:
        """One chunk from each FIFO that has something; then a pause, or back to waiting."""
        moved = largest = 0
        for fd, _ in self._epoll.poll(0, self._limits.turn_sources):
            inlet = self._by_fd.get(fd)
            if inlet is None:
                continue
            try:
                took = self._take(inlet)
            except OSError as error:
                self._block(inlet, error)
                continue
            moved += took
            largest = max(largest, took)
        self._plan(moved, largest)

    def _plan(self, moved: int, largest: int) -> None:
        pausing = self._timer is not None
        if not moved:
            self._timer = None
            self._quiet_turns = 0
            if pausing:
                self._loop.add_reader(self._epoll.fileno(), self._turn)
            return
        if not pausing:
            self._loop.remove_reader(self._epoll.fileno())
        if largest * 2 >= self._limits.pipe_bytes:
            # A writer is about to be held up by a full FIFO.
            self._quiet_turns = 0
            self._timer = self._loop.call_soon(self._turn)
            return
        self._quiet_turns += 1
        pause_s = self._limits.pause_s if self._quiet_turns < 8 else self._limits.pause_max_s
        self._timer = self._loop.call_later(pause_s, self._turn)

    def _take(self, inlet: Inlet) -> int:
        """Move one chunk; 0 when the FIFO is empty. Raises OSError when the disk takes nothing."""
        if inlet.reads:
            return self._read_and_write(inlet)
        try:
            moved = inlet.channel.splice(inlet.source, inlet.fd, self._now_us())
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            # A file system that cannot take a splice.
            inlet.reads = True
            return self._read_and_write(inlet)
        inlet.moved += moved
        return moved

    def _read_and_write(self, inlet: Inlet) -> int:
        if not inlet.held:
            try:
                inlet.held = os.read(inlet.fd, self._limits.chunk_bytes)
            except BlockingIOError:
                return 0
        # To the end, or to an error after which it is tried again: the FIFO may stay silent.
        total = 0
        while inlet.held:
            taken = inlet.channel.write(inlet.source, inlet.held, self._now_us())
            inlet.held = inlet.held[taken:]
            inlet.moved += taken
            total += taken
        return total

    def _block(self, inlet: Inlet, error: OSError) -> None:
        """Leave a channel alone for a while: its bytes wait in the FIFOs, others go on."""
        name = inlet.channel.name
        block = self._blocks.get(name)
        if block is None:
            block = self._blocks[name] = _Block(self._limits.retry_first_s, set())
            self._loop.call_later(block.wait_s, self._retry, name)
        block.inlets.add(inlet.instance)
        with contextlib.suppress(OSError):
            self._epoll.unregister(inlet.fd)

    def _retry(self, name: str) -> None:
        block = self._blocks.get(name)
        if block is None or self._epoll.closed:
            return
        waiting = [self._inlets[each] for each in sorted(block.inlets) if each in self._inlets]
        for inlet in waiting:
            try:
                self._take(inlet)
            except OSError:
                block.wait_s = min(block.wait_s * 2, self._limits.retry_max_s)
                self._loop.call_later(block.wait_s, self._retry, name)
                return
            block.inlets.discard(inlet.instance)
            self._epoll.register(inlet.fd, select.EPOLLIN)
        del self._blocks[name]

    async def _empty(self, inlet: Inlet) -> None:
        stop = inlet.moved + _DRAIN_BYTES_MAX
        # While others had their turn, another drain of the same instance may have ended.
        while self._inlets.get(inlet.instance) is inlet and self._take(inlet):
            if inlet.moved >= stop:
                # It did not end after all: what it says now is not ours to wait for.
                return
            await _yield()

    def _drop(self, inlet: Inlet) -> None:
        with contextlib.suppress(OSError):
            self._epoll.unregister(inlet.fd)
        del self._by_fd[inlet.fd]
        del self._inlets[inlet.instance]
        os.close(inlet.fd)
        self._shelf.let_go(inlet.channel.name)

    def _identity(self, instance: str) -> Identity:
        path = self._dynos / instance / "identity.json"
        try:
            with path.open("rb") as file:
                value = json.loads(file.read(_IDENTITY_BYTES_MAX))
            return Identity(
                check_name(value["channel"]), str(value["name"])[:200], int(value["release"])
            )
        except FileNotFoundError:
            raise faults.NotFound(f"There is no dyno {instance}.", resource="dyno") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise faults.Invalid(
                f"{path.name} of dyno {instance} cannot be read: {error!r}"
            ) from error

    def _open_fifo(self, instance: str) -> int:
        path = self._dynos / instance / "out"
        try:
            # O_RDWR: it never ends, and holds what a dyno wrote before it died.
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise faults.NotFound(f"Dyno {instance} has no output.", resource="dyno") from None
        except OSError as error:
            raise _unavailable(error) from error
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise faults.Invalid(f"The output of dyno {instance} is not a FIFO.")
        if os.geteuid() == 0:
            # An ordinary user has few pages for pipes, and new pipes shrink when they are used up.
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, self._limits.pipe_bytes)
        return fd

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000


async def _yield() -> None:
    await asyncio.sleep(0)


def _checked(instance: object) -> str:
    if not isinstance(instance, str) or not _INSTANCE.fullmatch(instance):
        raise faults.Invalid("An instance is named by letters, digits, -, _ and dots.")
    return instance


def _unavailable(error: OSError) -> faults.Unavailable:
    return faults.Unavailable(
        f"Logplex cannot write: {error.strerror or error}.",
        hint="Make room on the disk; it goes on by itself.",
    )
