"""Owns the dynos' FIFOs: one epoll of them, and a turn of splices whenever one has something.

Must not know readers or sockets. Never looks at a byte. A turn takes one chunk a source; after a
turn that moved bytes comes a short pause, which merges small writes into one record. A FIFO that
control reads, because it could not be read here for too long, is left alone (`overflow`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
from dataclasses import dataclass
from pathlib import Path

from oriel import faults
from oriel.clock import Clock
from oriel.logplex.fifo import (
    Inlet,
    checked,
    identity_of,
    is_hung_up,
    open_fifo,
    reader_of,
    unavailable,
)
from oriel.logplex.limits import Limits
from oriel.logplex.lookback import carry_at_end
from oriel.logplex.pace import Pace
from oriel.logplex.shelf import Shelf
from oriel.logplex.spills import Spills, probe

_DRAIN_BYTES_MAX = 256 * 1024 * 1024


@dataclass(slots=True)
class _Block:
    """A channel whose disk takes nothing for now."""

    wait_s: float
    why: str
    inlets: dict[int, Inlet]


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
        self._pace = Pace(limits)
        self._spills = Spills(
            dynos,
            limits,
            clock,
            is_here=lambda inlet: self._by_fd.get(inlet.fd) is inlet,
            go_on=self._look_again,
        )
        self._blocks: dict[str, _Block] = {}
        self._quiet_turns = 0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Look at the FIFOs from now on. Only after others can ask: control may have taken some."""
        for inlet in self._inlets.values():
            self._heed(inlet)
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    def close(self) -> None:
        """Let go of every FIFO; who else holds it keeps what is in it."""
        self._loop.remove_reader(self._epoll.fileno())
        if self._timer:
            self._timer.cancel()
        self._spills.close()
        for inlet in list(self._by_fd.values()):
            self._drop(inlet)
        self._epoll.close()
        self._pace.close()

    def __len__(self) -> int:
        """How many FIFOs are open."""
        return len(self._inlets)

    @property
    def blocked(self) -> dict[str, str]:
        """The channels whose disk takes nothing for now, and why."""
        return {name: block.why for name, block in sorted(self._blocks.items())}

    def inlets(self) -> dict[str, dict[str, object]]:
        """By instance: how much was moved, whether its disk takes nothing, its flood policy."""
        return {
            name: inlet.shown(blocked=inlet.channel.name in self._blocks)
            for name, inlet in self._inlets.items()
        }

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
        key = checked(instance)
        if key in self._inlets:
            return self._inlets[key]
        identity = identity_of(self._dynos, key)
        fd = open_fifo(self._dynos, key, self._limits.pipe_bytes)
        try:
            channel = self._shelf.channel(identity.channel)
            source = channel.source("app", identity.name, key, identity.release)
            inlet = Inlet(key, fd, channel, source)
            self._epoll.register(fd, select.EPOLLIN)
        except OSError as error:
            os.close(fd)
            raise unavailable(error) from error
        except faults.Fault:
            os.close(fd)
            raise
        self._inlets[key] = inlet
        self._by_fd[fd] = inlet
        self._shelf.keep(channel.name)
        self._heed(inlet)
        return inlet

    async def drain(self, instance: object) -> int:
        """Read a FIFO until it is empty, end its last line, and close it.

        For a dyno that has ended. Returns how many bytes this process had from it in all; 0 when
        the FIFO is gone, as it was drained before.
        """
        key = checked(instance)
        try:
            inlet = self.open(key)
        except faults.NotFound:
            return 0
        try:
            self._heed(inlet)
            await self._spills.back(inlet)
            await self._empty(inlet)
            carry = await carry_at_end(inlet.channel, inlet.source.id, _yield)
            if self._inlets.get(key) is inlet:
                if carry.unfinished:
                    inlet.channel.close_line(inlet.source, self._now_us())
                self._leave(inlet)
        except OSError as error:
            raise unavailable(error) from error
        return inlet.moved

    def forget(self, channel: str) -> None:
        """Let go of the FIFOs that lead into a channel that will be removed."""
        for inlet in [each for each in self._by_fd.values() if each.channel.name == channel]:
            self._drop(inlet)

    def _turn(self) -> None:
        """One chunk from each FIFO that has something; then a pause, or back to waiting."""
        moved = largest = 0
        now_s = self._loop.time()
        for fd, events in self._epoll.poll(0, self._limits.turn_sources):
            inlet = self._by_fd.get(fd)
            if inlet is None:
                continue
            wait_s = self._pace.wait_s(inlet.channel, now_s)
            if wait_s > 0:
                self._hold(inlet, wait_s)
                continue
            try:
                took = self._take(inlet)
            except OSError as error:
                self._block(inlet, error)
                continue
            if not took and inlet.late and events & select.EPOLLHUP:
                self._drop(inlet)
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
        if inlet.skips and not self._skip_rest(inlet):
            return 0
        if inlet.reads or inlet.held:
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

    def _skip_rest(self, inlet: Inlet) -> bool:
        """Throw away what is left of a line that began in what was thrown away."""
        try:
            data = os.read(inlet.fd, self._limits.chunk_bytes)
        except BlockingIOError:
            return False
        _, newline, inlet.held = data.partition(b"\n")
        inlet.skips = not newline
        return bool(inlet.held)

    def _hold(self, inlet: Inlet, wait_s: float) -> None:
        """Look at a FIFO again only after a while: its channel is ahead of its rate."""
        with contextlib.suppress(OSError):
            self._epoll.unregister(inlet.fd)
        self._loop.call_later(wait_s, self._look_again, inlet)

    def _look_again(self, inlet: Inlet) -> None:
        block = self._blocks.get(inlet.channel.name)
        is_ours = self._by_fd.get(inlet.fd) is inlet and not self._epoll.closed
        if is_ours and not inlet.away and not (block and inlet.fd in block.inlets):
            with contextlib.suppress(FileExistsError):
                self._epoll.register(inlet.fd, select.EPOLLIN)

    def _block(self, inlet: Inlet, error: OSError) -> None:
        """Leave a channel alone for a while: its bytes wait in the FIFOs, others go on."""
        name = inlet.channel.name
        block = self._blocks.get(name)
        if block is None:
            why = error.strerror or str(error)
            block = self._blocks[name] = _Block(self._limits.retry_first_s, why, {})
            self._loop.call_later(block.wait_s, self._retry, name)
        block.inlets[inlet.fd] = inlet
        with contextlib.suppress(OSError):
            self._epoll.unregister(inlet.fd)

    def _retry(self, name: str) -> None:
        block = self._blocks.get(name)
        if block is None or self._epoll.closed:
            return
        for fd, inlet in sorted(block.inlets.items()):
            if self._by_fd.get(fd) is not inlet:
                del block.inlets[fd]
                continue
            try:
                if self._spills.has_note(inlet):
                    probe(inlet.channel)
                else:
                    self._take(inlet)
            except OSError:
                block.wait_s = min(block.wait_s * 2, self._limits.retry_max_s)
                self._loop.call_later(block.wait_s, self._retry, name)
                return
            del block.inlets[fd]
            if not self._heed(inlet):
                self._look_again(inlet)
        del self._blocks[name]

    def _heed(self, inlet: Inlet) -> bool:
        """Leave a FIFO alone that control reads; whether it is so."""
        is_away = self._spills.heed(inlet)
        if is_away:
            with contextlib.suppress(OSError):
                self._epoll.unregister(inlet.fd)
        return is_away

    async def _empty(self, inlet: Inlet) -> None:
        stop = inlet.moved + _DRAIN_BYTES_MAX
        # While others had their turn, another drain of the same instance may have ended.
        while self._inlets.get(inlet.instance) is inlet and self._take(inlet):
            if inlet.moved >= stop:
                # It did not end after all: what it says now is not ours to wait for.
                return
            await _yield()

    def _leave(self, inlet: Inlet) -> None:
        """Let go of a FIFO that was drained; what a grandchild of its dyno says is still read."""
        many = sum(each.late for each in self._by_fd.values()) >= self._limits.late_max
        fd = -1 if many else reader_of(inlet.fd)
        self._drop(inlet)
        if fd < 0 or is_hung_up(fd):
            return
        self._by_fd[fd] = Inlet(inlet.instance, fd, inlet.channel, inlet.source, late=True)
        self._shelf.keep(inlet.channel.name)
        self._epoll.register(fd, select.EPOLLIN)

    def _drop(self, inlet: Inlet) -> None:
        with contextlib.suppress(OSError):
            self._epoll.unregister(inlet.fd)
        del self._by_fd[inlet.fd]
        if not inlet.late:
            del self._inlets[inlet.instance]
        os.close(inlet.fd)
        self._pace.forget(inlet.channel)
        self._shelf.let_go(inlet.channel.name)

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000


async def _yield() -> None:
    await asyncio.sleep(0)
