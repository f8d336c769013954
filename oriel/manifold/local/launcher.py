"""Owns dynos on this machine: a directory, a FIFO and a sandbox for each.

`dynos/INSTANCE/identity.json` is the intent and is there before anything else; `out` is the FIFO
that takes stdout and stderr, `status` bubblewrap's own account, `record.json` what was known while
it ran. Whatever instruction a kill comes at, `adopt` finds from these what there is. The FIFO is
held open here, by `oriel up` and by logplex, because its bytes vanish with its last descriptor;
the dyno gets the write end only. One that is kept `ready` has all of it, and does not run yet.
Must not know why an instance runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from oriel.clock import Clock
from oriel.faults import Unavailable
from oriel.manifold import command, sizes
from oriel.manifold.launcher import (
    Found,
    Launched,
    LaunchSpec,
    Listening,
    OnExit,
    OnMemory,
    Terminal,
    Usage,
    Visit,
    Window,
)
from oriel.manifold.local import launching, ready, remains, terminals
from oriel.manifold.local import place as place_of
from oriel.manifold.local.memory import Memory
from oriel.manifold.local.ports import Ports
from oriel.sandbox import Confined, Sandboxes
from oriel.sandbox import Visit as SandboxVisit
from oriel.sandbox.confinement import LOST, Exit

PIPE_BYTES = 256 * 1024
"""What a dyno may say while nobody reads; an ordinary user may get less."""

HOST = "127.0.0.1"
"""Where dynos are reached that have no network of their own."""

DISK = ("/app", "/tmp")  # noqa: S108
"""What a dyno writes there lies in memory, and is its disk: no part of its memory."""

ADOPT_PARALLEL = 16
"""How many instances are looked at at once: others may take their time to hold a FIFO."""

BOOTS_A_CPU = 4

Ask = Callable[[str], Awaitable[None]]

_log = logging.getLogger("oriel.manifold.local")


def _nobody(instance: str, usage: Usage) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class _Here:
    """What this process holds of an instance."""

    fifo: int | None = None
    confined: Confined | None = None
    spec: LaunchSpec | None = None
    """Of one that is kept ready, until it is begun."""


class LocalLauncher:
    """Runs instances under bubblewrap on this machine."""

    def __init__(
        self,
        data: Path,
        sandboxes: Sandboxes,
        hold: Ask,
        release: Ask,
        clock: Clock,
        *,
        spares_max: int | None = None,
    ) -> None:
        """`hold` asks the others to open an instance's FIFO too, `release` to let go of it.
        `spares_max` None: as many as this machine has room for.
        """
        self.boots_max = BOOTS_A_CPU * len(os.sched_getaffinity(0))
        self.spares_max = ready.most(sandboxes) if spares_max is None else spares_max
        self._dynos = data / "dynos"
        self._sandboxes = sandboxes
        self._hold = hold
        self._release = release
        self._clock = clock
        self._ports = Ports()
        self._memory = Memory(self._usage, clock)
        self._here: dict[str, _Here] = {}
        self._on_exit: OnExit = lambda instance, exit_: None
        self._clearing: asyncio.Task[None] | None = None

    def listen(self, on_exit: OnExit, on_memory: OnMemory = _nobody) -> None:
        """Whom to tell of ends, and of those over their memory quota."""
        self._on_exit = on_exit
        self._memory.listen(on_memory)

    def place(self, spec: LaunchSpec) -> Launched:
        """An address of its own, where there are networks; a port for a web dyno."""
        network = self._sandboxes.network
        host = network.lease(spec.instance) if network else HOST
        serves = spec.type == "web" and not spec.once
        port = self._ports.give(spec.instance, shared=network is None) if serves else None
        fronted = port is not None and self._sandboxes.taps is not None
        return Launched(host, port, fronted)

    async def start(self, spec: LaunchSpec, at: Launched) -> None:
        """Run `spec`; raises Unavailable with the reason when it cannot."""
        await self._start(spec, at, None)

    async def attach(self, spec: LaunchSpec, at: Launched, window: Window | None) -> Terminal:
        """The same, with its streams in our hand."""
        with terminals.both_ends(window, self._owner(spec)) as (near, far):
            await self._start(spec, at, far)
            return near

    async def enter(self, spec: LaunchSpec, at: Launched, window: Window | None) -> Visit:
        """Run the command of `spec` inside the instance that it names."""
        here = self._here.get(spec.instance)
        if here is None or here.confined is None:
            raise Unavailable(f"{spec.name} does not run.")
        what = SandboxVisit(
            argv=command.argv(spec.command),
            env=launching.environment(spec, at),
            uid=spec.uid,
            processes=sizes.of(spec.size).processes,
            terminal=window is not None,
        )
        with terminals.both_ends(window, self._owner(spec)) as (near, far):
            entered = await self._sandboxes.enter(
                here.confined, what, stdin=far.stdin, stdout=far.stdout, stderr=far.stderr
            )
            return terminals.LocalVisit(near, entered)

    async def send(self, instance: str, what: signal.Signals) -> None:
        """A signal to all of its processes."""
        here = self._here.get(instance)
        if here and here.confined:
            here.confined.send_all(what)

    def _owner(self, spec: LaunchSpec) -> int | None:
        return spec.uid if os.geteuid() == 0 else None

    async def _start(
        self, spec: LaunchSpec, at: Launched, streams: terminals.FarEnd | None
    ) -> None:
        here = await self._make(spec, at, streams)
        self._watch(spec, here)
        self._watch_memory(spec, here)

    async def prepare(self, spec: LaunchSpec, at: Launched) -> bool:
        """Make all of it but its program; whether that can be."""
        if not ready.allows(launching.environment(spec, at)):
            return False
        here = await self._make(spec, at, None, waits=True)
        here.spec = spec
        self._watch(spec, here)
        return True

    def begin(self, instance: str) -> bool:
        """Let one that was prepared run."""
        here = self._here.get(instance)
        if here is None or here.spec is None or here.confined is None or here.confined.has_ended:
            return False
        try:
            ready.begin(self._dynos / instance)
        except OSError as error:
            _log.warning("%s cannot be begun: %s", instance, error)
            return False
        spec, here.spec = here.spec, None
        self._watch_memory(spec, here)
        return True

    async def _make(
        self,
        spec: LaunchSpec,
        at: Launched,
        streams: terminals.FarEnd | None,
        *,
        waits: bool = False,
    ) -> _Here:
        here = self._here.setdefault(spec.instance, _Here())
        place = self._dynos / spec.instance
        try:
            place_of.make(place, spec, at, *((ready.WAITS,) if waits else ()))
            here.fifo = place_of.open_fifo(place / "out", os.O_RDWR)
            with contextlib.suppress(OSError):
                fcntl.fcntl(here.fifo, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            await self._hold(spec.instance)
            here.confined = await launching.launch(
                self._sandboxes, place, spec, at, streams, waits=waits
            )
        except OSError as error:
            raise Unavailable(f"{error.strerror or error}") from error
        try:
            place_of.write(place / "record.json", here.confined.record)
        except OSError as error:
            # It runs, and its status file alone is enough to find it again.
            _log.warning("the record of %s cannot be kept: %s", spec.instance, error)
        return here

    def _watch(self, spec: LaunchSpec, here: _Here) -> None:
        confined, instance = here.confined, spec.instance
        assert confined is not None  # noqa: S101

        def ended(exit_: Exit) -> None:
            if self._here.get(instance) is here:
                self._memory.forget(instance)
                self._on_exit(instance, exit_)

        confined.when_ended(ended)

    def _watch_memory(self, spec: LaunchSpec, here: _Here, *, fresh: bool = True) -> None:
        confined, size = here.confined, sizes.of(spec.size)
        assert confined is not None  # noqa: S101
        levels = (size.quota_bytes, size.hard_bytes)
        self._memory.watch(spec.instance, levels, lambda: confined.alarm(levels), fresh=fresh)

    async def terminate(self, instance: str) -> None:
        """SIGTERM to all of its processes."""
        here = self._here.get(instance)
        if here and here.confined:
            await here.confined.terminate()

    async def kill(self, instance: str) -> None:
        """SIGKILL to its whole pid namespace."""
        here = self._here.get(instance)
        if here and here.confined:
            here.confined.kill_soon()

    async def look(self, instance: str) -> Usage | None:
        """What it takes now, by its control group, or by the processes that are seen in it."""
        return self._usage(instance)

    def _usage(self, instance: str) -> Usage | None:
        here = self._here.get(instance)
        used = here.confined.used(DISK) if here and here.confined else None
        if used is None:
            return None
        memory = used.memory_bytes + used.swap_bytes
        return Usage(memory, used.swap_bytes, used.cpu_s, used.processes)

    async def is_busy(self, instance: str) -> bool:
        """Whether something in it runs, wants to, or waits for a disk."""
        here = self._here.get(instance)
        return bool(here and here.confined and here.confined.is_busy())

    async def listening(self, instance: str) -> tuple[Listening, ...]:
        """Where its processes accept connections: of its own network all, of a shared one its."""
        here = self._here.get(instance)
        if not (here and here.confined):
            return ()
        found = here.confined.listening()
        return tuple(Listening(host, port) for host, port in found)

    async def clean(self, instance: str) -> None:
        """Let go of the FIFO everywhere, and remove the instance's directory."""
        here = self._here.pop(instance, None)
        self._memory.forget(instance)
        if here and here.confined:
            if here.spec is not None:
                await here.confined.kill()  # It has not ended yet: nobody told it to.
            here.confined.kill_soon()
        place = self._dynos / instance
        with contextlib.suppress(FileNotFoundError):
            (place / "out").unlink()
        if here and here.fifo is not None:
            os.close(here.fifo)
        await self._release(instance)
        await asyncio.to_thread(place_of.remove, place)
        self._ports.take_back(instance)
        self._sandboxes.forget(instance)

    async def adopt(self) -> tuple[Found, ...]:
        """Every instance that has a directory: those that run are watched from now on. Those that
        were kept ready and never begun are cleaned away, beside.
        """
        there = self._dynos.iterdir() if self._dynos.is_dir() else ()
        places = sorted(place for place in there if place.is_dir())
        waiting = {place for place in places if ready.waits(place)}
        for place in waiting:
            # It may be on its way still: nobody else gets its address until it is cleared away.
            with contextlib.suppress(OSError, ValueError):
                self._keep(place.name, place_of.identity(place, HOST)[1])
        turns = asyncio.Semaphore(ADOPT_PARALLEL)

        async def one(place: Path) -> Found | None:
            async with turns:
                return await self._look(place)

        chosen = [place for place in places if place not in waiting]
        found = [each for each in await asyncio.gather(*map(one, chosen)) if each]
        # Only now, and without an await: whoever adopts is told no end before it knows them.
        for each in found:
            if each.exit is None:
                here = self._here[each.spec.instance]
                self._watch(each.spec, here)
                self._watch_memory(each.spec, here, fresh=False)
        self._sandboxes.sweep({*(each.spec.instance for each in found), *(p.name for p in waiting)})
        if waiting:
            work = remains.clear(self._sandboxes, self._clock, sorted(waiting), self.clean)
            self._clearing = asyncio.create_task(work)
        return tuple(found)

    async def _look(self, place: Path) -> Found | None:
        try:
            try:
                spec, at = place_of.identity(place, HOST)
            except (ValueError, FileNotFoundError) as error:
                await remains.clear_nameless(self._sandboxes, self._clock, place, error)
                return None
            return await self._adopt(place, spec, at)
        except OSError as error:
            # Perhaps it runs. Taken for lost, it would be started twice: better not to start.
            why = f"What runs in {place} cannot be found out: {error.strerror or error}."
            raise Unavailable(why, hint="oriel doctor") from error

    async def _adopt(self, place: Path, spec: LaunchSpec, at: Launched) -> Found:
        here = self._here.setdefault(spec.instance, _Here())
        with contextlib.suppress(FileNotFoundError):  # where it was being cleaned away
            here.fifo = place_of.open_fifo(place / "out", os.O_RDWR)
            await self._hold(spec.instance)
        was_ready = ready.finish(place)
        adopted = await remains.find(self._sandboxes, self._clock, place)
        self._keep(spec.instance, at)
        if isinstance(adopted, Confined):
            here.confined = adopted
            return Found(spec, at, None, was_ready)
        return Found(spec, at, adopted or LOST, was_ready)

    def _keep(self, instance: str, at: Launched) -> None:
        if at.port is not None:
            self._ports.keep(at.port, instance)
        if self._sandboxes.network is not None:
            self._sandboxes.network.keep(at.host, instance)
