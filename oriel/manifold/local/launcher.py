"""Owns dynos on this machine: a directory, a FIFO and a sandbox for each.

`dynos/INSTANCE/identity.json` is the intent and is there before anything else; `out` is the FIFO
that takes stdout and stderr, `status` bubblewrap's own account, `record.json` what was known while
it ran. Whatever instruction a kill comes at, `adopt` finds from these what there is. The FIFO is
held open here, by `oriel up` and by logplex, because its bytes vanish with its last descriptor;
the dyno gets the write end only. Must not know why an instance runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
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
    Usage,
)
from oriel.manifold.local import place as place_of
from oriel.manifold.local.memory import Memory
from oriel.manifold.local.ports import Ports
from oriel.sandbox import Confined, Confinement, Overlay, Sandboxes
from oriel.sandbox.confinement import LOST, Exit

PIPE_BYTES = 256 * 1024
"""What a dyno may say while nobody reads; an ordinary user may get less."""

HOST = "127.0.0.1"
"""Where dynos are reached that have no network of their own."""

DISK = ("/app", "/tmp")  # noqa: S108
"""What a dyno writes there lies in memory, and is its disk: no part of its memory."""

ADOPT_PARALLEL = 16
"""How many instances are looked at at once: others may take their time to hold a FIFO."""

FIRST_WORD_TRIES = 10
FIRST_WORD_PAUSE_S = 0.02

Ask = Callable[[str], Awaitable[None]]

_log = logging.getLogger("oriel.manifold.local")


def _nobody(instance: str, usage: Usage) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class _Here:
    """What this process holds of an instance."""

    fifo: int | None = None
    confined: Confined | None = None
    watch: asyncio.Task[None] | None = None


class LocalLauncher:
    """Runs instances under bubblewrap on this machine."""

    def __init__(
        self, data: Path, sandboxes: Sandboxes, hold: Ask, release: Ask, clock: Clock
    ) -> None:
        """`hold` asks the others to open an instance's FIFO too, `release` to let go of it."""
        self._dynos = data / "dynos"
        self._sandboxes = sandboxes
        self._hold = hold
        self._release = release
        self._clock = clock
        self._ports = Ports()
        self._memory = Memory(self._usage, clock)
        self._here: dict[str, _Here] = {}
        self._on_exit: OnExit = lambda instance, exit_: None

    def listen(self, on_exit: OnExit, on_memory: OnMemory = _nobody) -> None:
        """Whom to tell of ends, and of those over their memory quota."""
        self._on_exit = on_exit
        self._memory.listen(on_memory)

    def place(self, spec: LaunchSpec) -> Launched:
        """An address of its own, where there are networks; a port for a web dyno."""
        network = self._sandboxes.network
        host = network.lease(spec.instance) if network else HOST
        shared = network is None
        port = self._ports.give(spec.instance, shared=shared) if spec.type == "web" else None
        return Launched(host, port)

    async def start(self, spec: LaunchSpec, at: Launched) -> None:
        """Run `spec`; raises Unavailable with the reason when it cannot."""
        here = self._here.setdefault(spec.instance, _Here())
        place = self._dynos / spec.instance
        try:
            self._make(place, spec, at)
            here.fifo = _open(place / "out", os.O_RDWR)
            with contextlib.suppress(OSError):
                fcntl.fcntl(here.fifo, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            await self._hold(spec.instance)
            here.confined = await self._launch(place, spec, at)
        except OSError as error:
            raise Unavailable(f"{error.strerror or error}") from error
        self._watch(spec, here)
        try:
            _write(place / "record.json", here.confined.record)
        except OSError as error:
            # It runs, and its status file alone is enough to find it again.
            _log.warning("the record of %s cannot be kept: %s", spec.instance, error)

    def _make(self, place: Path, spec: LaunchSpec, at: Launched) -> None:
        place.mkdir(parents=True, mode=0o700)
        _write(place / "identity.json", {**spec.identity(), "host": at.host, "port": at.port})
        os.mkfifo(place / "out", 0o600)
        if os.geteuid() == 0:
            # An app that opens /dev/stdout anew may write to it, and not read its own log back:
            # by its group, since an owner could change the mode.
            os.chown(place / "out", 0, spec.uid)
            os.chmod(place / "out", 0o620)

    async def _launch(self, place: Path, spec: LaunchSpec, at: Launched) -> Confined:
        profile = command.read_profile(place_of.read_profile(spec.slug))
        size = sizes.of(spec.size)
        network = self._sandboxes.network
        confinement = Confinement(
            argv=command.argv(spec.command),
            env=command.environment(spec.env, profile, str(spec.name), at.port),
            uid=spec.uid,
            overlay=Overlay(spec.slug),
            hostname=f"{spec.type}-{spec.number}"[:63],
            address=at.host if network and network.subnet.holds(at.host) else None,
            memory_bytes=size.hard_bytes,
            cpu_weight=size.cpu_weight,
            processes=size.processes,
        )
        write = _open(place / "out", os.O_WRONLY)
        try:
            # The dyno shares this open file with nobody: O_NONBLOCK is its own to set.
            os.set_blocking(write, True)
            return await self._sandboxes.launch(
                confinement,
                stdin=None,
                stdout=write,
                stderr=None,
                status_path=place / "status",
                name=spec.instance,
            )
        finally:
            os.close(write)

    def _watch(self, spec: LaunchSpec, here: _Here) -> None:
        confined, instance, size = here.confined, spec.instance, sizes.of(spec.size)
        assert confined is not None  # noqa: S101

        async def wait() -> None:
            ended = await confined.wait()
            self._memory.forget(instance)
            self._on_exit(instance, ended)

        levels = (size.quota_bytes, size.hard_bytes)
        self._memory.watch(instance, size.quota_bytes, lambda: confined.alarm(levels))
        here.watch = asyncio.create_task(wait())

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
        if here and here.watch:
            here.watch.cancel()
        if here and here.confined:
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
        """Every instance that has a directory: those that run are watched from now on."""
        places = sorted(self._dynos.iterdir()) if self._dynos.is_dir() else []
        places = [place for place in places if place.is_dir()]
        turns = asyncio.Semaphore(ADOPT_PARALLEL)

        async def one(place: Path) -> Found | None:
            async with turns:
                return await self._look(place)

        found = [each for each in await asyncio.gather(*map(one, places)) if each]
        # Only now, and without an await: whoever adopts is told no end before it knows them.
        for each in found:
            if each.exit is None:
                self._watch(each.spec, self._here[each.spec.instance])
        self._sandboxes.sweep({each.spec.instance for each in found})
        return tuple(found)

    async def _look(self, place: Path) -> Found | None:
        try:
            try:
                spec, at = _identity(place)
            except (ValueError, FileNotFoundError) as error:
                await self._clear_nameless(place, error)
                return None
            return await self._adopt(place, spec, at)
        except OSError as error:
            # Perhaps it runs. Taken for lost, it would be started twice: better not to start.
            why = f"What runs in {place} cannot be found out: {error.strerror or error}."
            raise Unavailable(why, hint="oriel doctor") from error

    async def _clear_nameless(self, place: Path, error: Exception) -> None:
        """A kill came before the identity was whole, or when all else was removed; or the disk
        was damaged, and nobody knows any more whose it is. Nothing of it may go on.
        """
        if (place / "status").exists():
            _log.error("dyno directory %s has lost its identity: %s", place.name, error)
            record, status = _read(place / "record.json"), place / "status"
            adopted = await self._sandboxes.adopt(record, status, place.name)
            if isinstance(adopted, Confined):
                await adopted.kill()
        await asyncio.to_thread(place_of.remove, place)

    async def _adopt(self, place: Path, spec: LaunchSpec, at: Launched) -> Found:
        here = self._here.setdefault(spec.instance, _Here())
        with contextlib.suppress(FileNotFoundError):  # where it was being cleaned away
            here.fifo = _open(place / "out", os.O_RDWR)
            await self._hold(spec.instance)
        adopted = await self._find(place)
        if at.port is not None:
            self._ports.keep(at.port, spec.instance)
        if self._sandboxes.network is not None:
            self._sandboxes.network.keep(at.host, spec.instance)
        if isinstance(adopted, Confined):
            here.confined = adopted
            return Found(spec, at, None)
        return Found(spec, at, adopted or LOST)

    async def _find(self, place: Path) -> Confined | Exit | None:
        """The sandbox of an instance. One whose launch was asked for in the moment of a kill may
        be about to say its first word: it is listened for, or it would run unknown.
        """
        record, status = _read(place / "record.json"), place / "status"
        for _ in range(FIRST_WORD_TRIES):
            adopted = await self._sandboxes.adopt(record, status, place.name)
            if adopted is not None or not status.exists():
                return adopted
            await self._clock.sleep(FIRST_WORD_PAUSE_S)
        return None


def _open(path: Path, how: int) -> int:
    return os.open(path, how | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


def _identity(place: Path) -> tuple[LaunchSpec, Launched]:
    kept = json.loads((place / "identity.json").read_text())
    spec = LaunchSpec.from_identity(kept)
    if spec.instance != place.name:
        raise ValueError("its identity is another's")
    return spec, Launched(str(kept.get("host", HOST)), kept.get("port"))


def _write(path: Path, value: object) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(value))
    os.replace(draft, path)


def _read(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
