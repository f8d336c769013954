"""Owns the spawner's life and the launches through it: the room's one shell.

Must not know what is confined or why. Everything is bounded: launches under way, their time, the
size of a request. What was started never depends on this process or the spawner living on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oriel.clock import new_id
from oriel.faults import Invalid, Unavailable
from oriel.sandbox import capabilities, linux, seccomp, system
from oriel.sandbox.admission import foresee, let_in
from oriel.sandbox.capabilities import Capabilities
from oriel.sandbox.cgroups import Cgroups
from oriel.sandbox.confined import Confined, open_child, open_outer, read_status
from oriel.sandbox.confinement import LOST, Confinement, Exit, Limits, Visit
from oriel.sandbox.delegation import open_cgroups
from oriel.sandbox.entered import Entered, visit
from oriel.sandbox.forks import ForkServer, account_in, as_record
from oriel.sandbox.network import Network, open_network
from oriel.sandbox.render import Ground, render
from oriel.sandbox.status import Status
from oriel.sandbox.subnet import CLOSED, Openings
from oriel.sandbox.taps import Taps, open_taps

_CLOSE_TIMEOUT_S = 5.0
_NOBODY_FORKS = "No process could be started: the fork server ends at once."

_log = logging.getLogger("oriel.sandbox")


class Sandboxes:
    """Starts sandboxes, and finds those that an earlier process started."""

    def __init__(
        self,
        data: Path | None = None,
        *,
        limits: Limits | None = None,
        allowed: Capabilities | None = None,
        openings: Openings = CLOSED,
        isolated: bool = True,
    ):
        """`data` is the data directory, by which networks and control groups are known again;
        without one there are none. `allowed` is what the machine can do, when that has been
        looked up already. `openings`: who may come to them, and where they may go. `isolated`:
        False is `--isolation none`.
        """
        self._data = data
        self._openings = openings
        self._isolated = isolated
        self._limits = limits or Limits()
        self._allowed = allowed
        self._system: system.System | None = None
        self._network: Network | None = None
        self._taps: Taps | None = None
        self._cgroups: Cgroups | None = None
        self._server: ForkServer | None = None
        self._turns = asyncio.Semaphore(self._limits.concurrency)
        self._launching: set[asyncio.Future[Confined]] = set()
        self._running: weakref.WeakSet[Confined] = weakref.WeakSet()
        self._boot_id = linux.boot_id()
        machine = seccomp.MACHINES.get(os.uname().machine) if isolated else None
        self._filter = seccomp.program(machine).hex() if machine else ""

    @property
    def capabilities(self) -> Capabilities:
        """What this machine allows; known after `start`."""
        if self._allowed is None:
            raise Unavailable("The sandboxes have not been started.")
        return self._allowed

    @property
    def network(self) -> Network | None:
        """Where sandboxes have addresses that this machine reaches; None where it reaches them at
        ports of its loopback.
        """
        return self._network

    @property
    def taps(self) -> Taps | None:
        """The networks that an ordinary user's sandboxes have: then something of ours listens at a
        sandbox's port on this machine's loopback, before the sandbox does.
        """
        return self._taps

    @property
    def cgroups(self) -> Cgroups | None:
        """Where their limits are; None where only samples are taken."""
        return self._cgroups

    async def start(self) -> None:
        """Look at the machine and start the spawner."""
        if self._allowed is None:
            self._allowed = await asyncio.to_thread(capabilities.look)
        self._system = system.look()
        if self._data is not None and self._isolated:
            await self._settle_in(self._data)
        self._server = ForkServer(self._limits.launch_timeout_s)

    async def _settle_in(self, data: Path) -> None:
        """Networks and limits, where the machine has them; raises Unavailable when they fail."""
        self._cgroups = await asyncio.to_thread(open_cgroups, data)
        able = self.capabilities
        if not able.network:
            return
        if able.pasta:
            self._taps = await asyncio.to_thread(open_taps, able.pasta, able.nft, self._openings)
            return
        # It was tried out, so it can be: rather none of ours than one without its walls.
        self._network = await asyncio.to_thread(open_network, data, self._openings)
        await self._network.walls.watch()

    async def close(self) -> None:
        """End the spawner, and none of what it started."""
        if self._launching:
            await asyncio.wait(self._launching, timeout=_CLOSE_TIMEOUT_S)
        for confined in list(self._running):
            confined.detach()
        await asyncio.to_thread(self._end_spawner)
        if self._network is not None:
            self._network.walls.close()
            await asyncio.to_thread(self._network.close)
        if self._cgroups is not None:
            self._cgroups.close()

    def forget(self, name: str) -> None:
        """What was kept for a sandbox of that name that has ended: its address, its group."""
        if self._network is not None:
            self._network.give_back(name)
        if self._cgroups is not None:
            self._cgroups.group(name).remove()

    def sweep(self, names: set[str]) -> None:
        """Remove the control groups of sandboxes that have ended and are not of these names."""
        if self._cgroups is not None:
            self._cgroups.sweep(names)

    async def launch(
        self,
        what: Confinement,
        *,
        stdin: int | None,
        stdout: int,
        stderr: int | None,
        status_path: Path,
        name: str | None = None,
    ) -> Confined:
        """Start `what`; it is running, or Unavailable says why not.

        With a `name`, address and control group are kept under it until `forget`; without, until
        its end. The descriptors stay the caller's. `stdin` None is /dev/null, `stderr` None is
        `stdout`. The status file is made anew: it must be in a directory that belongs to this
        launch. When the caller is cancelled, what was already begun is killed.
        """
        own = name or new_id().replace("-", "")
        what = self._addressed(what, own)
        request = self._request(what, status_path)
        inlet = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if stdin is None else os.dup(stdin)
        streams = (inlet, os.dup(stdout), os.dup(stdout if stderr is None else stderr))
        launching = asyncio.ensure_future(self._launch(request, streams, status_path, what, own))
        self._launching.add(launching)
        launching.add_done_callback(self._launching.discard)
        if name is None:
            launching.add_done_callback(lambda done: self._forget_at_end(done, own))
        try:
            return await asyncio.shield(launching)
        except asyncio.CancelledError:
            launching.add_done_callback(_abandon)
            raise

    def _addressed(self, what: Confinement, name: str) -> Confinement:
        """With an address, where it is to have a network of its own, and there can be one."""
        if self._network is None or what.network != "own" or what.address is not None:
            return what
        return replace(what, address=self._network.lease(name))

    def _forget_at_end(self, launching: asyncio.Future[Confined], name: str) -> None:
        if launching.cancelled() or launching.exception() is not None:
            self.forget(name)
        else:
            launching.result().when_ended(lambda _: self.forget(name))

    async def _launch(
        self,
        request: bytes,
        streams: tuple[int, int, int],
        status_path: Path,
        what: Confinement,
        name: str,
    ) -> Confined:
        gate, opener = os.pipe2(os.O_CLOEXEC)
        foresee(self._cgroups if len(self._launching) == 1 else None)
        try:
            told = await self._ask(request, (*streams, gate), status_path)
            if not told:
                raise Unavailable(_NOBODY_FORKS)
            confined = self._launched(told, status_path)
            await let_in(confined, what, name, self._cgroups, self._network)
            with contextlib.suppress(BrokenPipeError):
                os.write(opener, b"g")
            return confined
        finally:
            for descriptor in (*streams, gate, opener):
                os.close(descriptor)

    async def enter(
        self, where: Confined, what: Visit, *, stdin: int, stdout: int, stderr: int
    ) -> Entered:
        """Start `what` inside a sandbox that runs, under all that this one is; Unavailable says
        why not.

        The descriptors stay the caller's. It ends with the sandbox at the latest.
        """
        root = self.capabilities.root
        request = visit(what, where.child_pid, self._filter, root=root)
        if len(request) > self._limits.request_bytes:
            raise Invalid("The command and its environment are too large to start.")
        target = where.open_child()
        if target is None:
            raise Unavailable("Nothing could be started in the dyno: it has ended.")
        door, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        door.setblocking(False)
        try:
            descriptors = [far.fileno(), target, stdin, stdout, stderr]
            async with self._turns:
                is_begun = self._server and self._server.enter(request, descriptors)
                if not (is_begun or (await self._second_spawner()).enter(request, descriptors)):
                    raise Unavailable(_NOBODY_FORKS)
        except BaseException:
            door.close()
            raise
        finally:
            os.close(target)
            far.close()
        entered = Entered(door)
        await entered.begin(self._limits.launch_timeout_s)
        return entered

    async def adopt(
        self, record: Mapping[str, Any], status_path: Path, name: str | None = None
    ) -> Confined | Exit | None:
        """Find what an earlier process started: still there, ended, or (None) never begun.

        The status file alone is enough; `record` adds what was known while it ran, `name` how it
        was limited.
        """
        group = self._cgroups.group(name) if self._cgroups and name else None
        status = read_status(status_path, dict(record))
        if status.outer_pid is None or status.boot_id is None:
            return None
        outer = child = None
        if status.boot_id == self._boot_id:
            outer, child = open_outer(status), open_child(status)
        if outer is None and child is None:
            # The code is written before the monitor ends: look again now that it is gone.
            code = read_status(status_path).exit_code
            found = LOST if code is None else Exit.of(code)
            return replace(found, out_of_memory=group.out_of_memory()) if group else found
        confined = self._watch(status, status_path, outer, child)
        if group is not None and group.is_there:
            confined.limited_by(group)
            confined.let_no_one_out(group)
        return confined

    def _watch(
        self, status: Status, status_path: Path, outer: int | None, child: int | None
    ) -> Confined:
        if child is not None and status.child_pid is not None and status.child_start is None:
            status = replace(status, child_start=linux.start_time(status.child_pid))
        confined = Confined(status, status_path, outer, child)
        self._running.add(confined)
        return confined

    def _request(self, what: Confinement, status_path: Path) -> bytes:
        allowed = self.capabilities
        if not allowed.bubblewrap or self._system is None:
            raise Unavailable("; ".join(allowed.why) or "bubblewrap is not installed.")
        if allowed.root and what.uid <= 0:
            raise Invalid("A sandbox never runs as root: it needs a uid of its own.")
        plan = render(
            what,
            self._system,
            allowed.staging,
            overlays=allowed.overlay,
            copy_to=str(status_path.parent / "copy"),
            ground=self._ground(what),
        )
        request = json.dumps({**plan.as_json(), "bubblewrap": allowed.bubblewrap}).encode()
        if len(request) > self._limits.request_bytes:
            raise Invalid("The command and its environment are too large to start.")
        return request

    def _ground(self, what: Confinement) -> Ground:
        network = self._network if what.address is not None else None
        wires, named = None, None
        if network and what.address:
            wires, named = network.wires(what.address), network.names
        elif self._taps and what.network == "own":
            wires, named = self._taps.wires(what.port, what.reach), self._taps.names
        return Ground(
            wires=wires,
            resolv=named.text if named else None,
            seccomp=self._filter,
            isolated=self._isolated,
            top=() if self._isolated else tuple(sorted(os.listdir("/"))),
        )

    async def _ask(self, request: bytes, streams: tuple[int, ...], status_path: Path) -> str:
        async with self._turns:
            server = self._server
            told = await server.ask(request, streams, status_path) if server else ""
            if not told:
                # Nothing was started: the spawner had died. A second one will do, or nothing.
                told = await (await self._second_spawner()).ask(request, streams, status_path)
            return told

    def _launched(self, told: str, status_path: Path) -> Confined:
        """The running sandbox that a report tells of, or the fault."""
        # bubblewrap tells us before it writes the status file, which may not say it yet.
        status = read_status(status_path, as_record(account_in(told)))
        return self._watch(status, status_path, open_outer(status), open_child(status))

    async def _second_spawner(self) -> ForkServer:
        await asyncio.to_thread(self._end_spawner)
        self._server = server = ForkServer(self._limits.launch_timeout_s)
        return server

    def _end_spawner(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


def _abandon(launching: asyncio.Future[Confined]) -> None:
    """End what was launched for somebody who no longer waits for it."""
    if not launching.cancelled() and launching.exception() is None:
        launching.result().kill_soon()
