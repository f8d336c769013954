"""Owns one running sandbox: finding its processes for sure, waiting, ending them.

Three truths shape it. bubblewrap outside must never be signalled: the program would live on and
its exit code be lost. It reports and exits as soon as the main process has, while daemonised
children live on: so every exit is followed by SIGKILL to the namespace's pid 1, and is an exit
only when that is gone. And pids are used again: a pidfd is opened first, then the start time
compared. Nothing polls: a pidfd becomes readable when its process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from oriel.sandbox import lingering, linux, usage
from oriel.sandbox.cgroups import Group, Used
from oriel.sandbox.confinement import LOST, Exit, Limits
from oriel.sandbox.status import STATUS_BYTES_MAX, Status, parse

PROCESSES_MAX = 4096
"""How many processes of one sandbox a SIGTERM is walked to; SIGKILL needs no walk."""
TICKS = os.sysconf("SC_CLK_TCK")
_ROUNDS = 3
_LOOKS = 100
_LOOK_AGAIN_S = 0.02

_log = logging.getLogger("oriel.sandbox")


class Confined:
    """A sandbox that runs, whether started by us or found."""

    def __init__(self, status: Status, status_path: Path, outer: int | None, child: int | None):
        """Takes over the pidfds `outer` and `child`; at least one of them is there."""
        self._status = status
        self._status_path = status_path
        self._child = child
        self._group: Group | None = None
        self._killing: asyncio.Future[Exit] | None = None
        self._watched: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._spaces = lingering.spaces_of(status.child_pid) if child is not None else []
        self._network = open_network(status)
        if self._network is not None:
            self._watch(self._network, self._network_gone)
        elif status.network_pid is not None:
            self._loop.call_soon(self._network_gone)
        if outer is not None:
            self._watch(outer, self._outer_gone)
        else:
            self._outer_gone()

    @property
    def record(self) -> dict[str, Any]:
        """What `Sandboxes.adopt` needs to find this sandbox again; fit for JSON."""
        return self._status.as_record()

    @property
    def child_pid(self) -> int | None:
        """Pid 1 of the namespace, as the host counts."""
        return self._status.child_pid

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left."""
        return self._exit.done()

    def limited_by(self, group: Group) -> None:
        """It is in this control group: that tells what it uses, and of its end."""
        self._group = group

    def let_no_one_out(self, group: Group) -> None:
        """Put into the group what is not: a kill came between its start and its being limited."""
        first = self._status.child_pid
        for pid in (first, *self._inside()) if first is not None else ():
            with contextlib.suppress(OSError):
                group.enter(pid)

    def when_ended(self, then: Callable[[Exit], object]) -> None:
        """Call `then` once nothing of it is left; not if it is detached before."""
        self._exit.add_done_callback(lambda done: None if done.cancelled() else then(done.result()))

    def used(self, disk: tuple[str, ...] = ()) -> Used | None:
        """What it uses now, what it wrote to `disk` (places that lie in memory) left out; None
        when it has ended.
        """
        self._find_child()
        pid = self._status.child_pid
        if self._child is None or pid is None:
            return None
        counted = self._group.used() if self._group is not None else None
        if counted is None:
            return usage.sampled(self._inside())
        written = usage.on_disk(pid, disk)
        in_memory = max(0, counted.memory_bytes - written)
        return replace(counted, memory_bytes=in_memory, processes=max(0, counted.processes - 1))

    def is_busy(self) -> bool:
        """Whether something inside runs, wants to, or waits for a disk, in this moment."""
        self._find_child()
        pid = self._status.child_pid
        if self._child is None or pid is None:
            return False
        return usage.busy(usage.threads((pid, *self._inside())))

    def listening(self) -> list[tuple[str, int]]:
        """(address, port) wherever it accepts TCP connections."""
        self._find_child()
        pid = self._status.child_pid
        if self._child is None or pid is None:
            return []
        own = linux.network_namespace(pid) != linux.network_namespace(os.getpid())
        return usage.listening(pid, self._inside(), own_network=own)

    def alarm(self, levels: tuple[int, ...]) -> int | None:
        """A descriptor that becomes readable when it is beyond a level; None where none can."""
        return self._group.alarm(levels) if self._group is not None else None

    async def wait(self) -> Exit:
        """Come back when nothing of the sandbox is left."""
        return await asyncio.shield(self._exit)

    async def terminate(self) -> None:
        """SIGTERM to every process inside; its pid 1, which ignores it, excepted."""
        self.send_all(signal.SIGTERM)

    def open_child(self) -> int | None:
        """A descriptor of the namespace's pid 1 for the caller to close; None when it is gone."""
        self._find_child()
        return None if self._child is None or self._exit.done() else os.dup(self._child)

    def send_all(self, what: signal.Signals) -> None:
        """A signal to every process inside but its pid 1."""
        self._find_child()
        reached: set[int] = set()
        for _ in range(_ROUNDS):
            fresh = self._inside() - reached
            if not fresh:
                return
            for pid in fresh:
                self._send(pid, what)
            reached |= fresh

    async def kill(self) -> Exit:
        """SIGKILL the whole namespace and wait until it is gone."""
        for _ in range(_LOOKS):
            self._find_child()
            if self._child is not None or self._exit.done():
                break
            # Adopted in the moment between its start and bubblewrap's first word.
            await asyncio.sleep(_LOOK_AGAIN_S)
        self._kill_child()
        return await self.wait()

    def kill_soon(self) -> None:
        """SIGKILL the namespace now, waiting for nothing."""
        self._find_child()
        if self._child is None and not self._exit.done():
            # Not yet known: `kill` looks for it. Nobody may be left to await this.
            self._killing = asyncio.ensure_future(self.kill())
        self._kill_child()

    def detach(self) -> None:
        """Stop watching; the sandbox itself goes on."""
        for descriptor in list(self._watched):
            self._unwatch(descriptor)
        if self._child is not None:
            os.close(self._child)
            self._child = None
        if self._killing is not None:
            self._killing.cancel()
        self._let_go()
        if not self._exit.done():
            self._exit.cancel()

    def _find_child(self) -> None:
        """Learn the namespace's pid 1, where it was not yet known when this was made."""
        if self._child is not None or self._exit.done():
            return
        status = read_status(self._status_path, self._status.as_record())
        self._child = open_child(status)
        if self._child is not None and status.child_pid is not None:
            self._status = replace(status, child_start=linux.start_time(status.child_pid))

    def _watch(self, descriptor: int, then: Callable[[], None]) -> None:
        def ready() -> None:
            self._unwatch(descriptor)
            then()

        self._watched[descriptor] = then
        self._loop.add_reader(descriptor, ready)

    def _unwatch(self, descriptor: int) -> None:
        if self._watched.pop(descriptor, None) is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def _outer_gone(self) -> None:
        """The monitor has ended: with a code when the program did, without when it was killed."""
        self._find_child()
        code = read_status(self._status_path).exit_code
        self._status = replace(self._status, exit_code=code)
        if code is not None:
            self._kill_child()
        if self._child is None:
            self._settle()
            return
        self._watch(os.dup(self._child), self._settle)

    def _network_gone(self) -> None:
        """pasta has ended: with the sandbox, or alone. One that is cut off must not seem to run."""
        self._network = None
        over = self._exit.done() or read_status(self._status_path).exit_code is not None
        if not over:
            _log.error("pasta has ended, and with it the network of %s", self._status_path.parent)
            self.kill_soon()

    def _settle(self) -> None:
        if self._network is not None:
            self._unwatch(self._network)
            self._network = None
        if self._child is not None:
            os.close(self._child)
            self._child = None
        if not self._exit.done():
            code = self._status.exit_code
            found = LOST if code is None else Exit.of(code)
            killed = self._group is not None and self._group.out_of_memory()
            self._exit.set_result(replace(found, out_of_memory=killed))
        self._loop.call_later(lingering.LINGER_S, self._let_go)

    def _let_go(self) -> None:
        """The kernel takes its namespaces down now, in the time of a thread."""
        spaces, self._spaces = self._spaces, []
        if spaces:
            self._loop.run_in_executor(None, lingering.let_go, spaces)

    def _kill_child(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._child, signal.SIGKILL)

    def _inside(self) -> set[int]:
        """The pids of all processes inside: children of pid 1 and theirs."""
        first = self._status.child_pid
        found: set[int] = set()
        if first is None or self._child is None:
            return found
        waiting = [first]
        while waiting and len(found) < PROCESSES_MAX:
            fresh = [pid for pid in linux.children(waiting.pop()) if pid not in found]
            found.update(fresh)
            waiting += fresh
        return found

    def _send(self, pid: int, what: signal.Signals) -> None:
        """Signal a pid that was just seen inside, if it still is."""
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if linux.pid_namespace(pid) == self._status.pid_namespace:
                    signal.pidfd_send_signal(descriptor, what)
            finally:
                os.close(descriptor)


def read_status(path: Path, record: dict[str, Any] | None = None) -> Status:
    """The status file at `path`; an empty one where there is none."""
    try:
        with path.open("rb") as file:
            return parse(file.read(STATUS_BYTES_MAX), record)
    except FileNotFoundError:
        return parse(b"", record)


def open_outer(status: Status) -> int | None:
    """A pidfd of bubblewrap outside, if it is alive and the one that `status` names."""
    return _open(status.outer_pid, lambda pid: linux.start_time(pid) == status.outer_start)


def open_network(status: Status) -> int | None:
    """A pidfd of its pasta, if it is alive and the one that `status` names."""
    return _open(status.network_pid, lambda pid: linux.start_time(pid) == status.network_start)


def open_child(status: Status) -> int | None:
    """A pidfd of the namespace's pid 1, if it is alive and the one that `status` names."""

    def same(pid: int) -> bool:
        start = linux.start_time(pid)
        if status.child_start is not None and start != status.child_start:
            return False
        if status.child_start is None and not _is_of_its_launch(status, start):
            return False
        namespace = linux.pid_namespace(pid)
        return namespace is None or namespace == status.pid_namespace

    return _open(status.child_pid, same)


def _is_of_its_launch(status: Status, start: int | None) -> bool:
    """Whether a process that began then can be the one of which no start time was kept, because a
    kill came first. The namespace's number is its own only while it lives, as the pid is: both may
    be another sandbox's by now. But that one was begun later than a launch may take.
    """
    if start is None or status.outer_start is None or status.pid_namespace is None:
        return False
    return 0 <= start - status.outer_start <= Limits().launch_timeout_s * TICKS


def _open(pid: int | None, same: Callable[[int], bool]) -> int | None:
    """First the pidfd, then the comparison: the other way round the pid may change hands."""
    if not pid:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    if same(pid) and not _ended(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _ended(descriptor: int) -> bool:
    """Whether the process is over, though perhaps not yet reaped: a zombie is not life."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
