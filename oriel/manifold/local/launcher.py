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
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from oriel.clock import Clock
from oriel.faults import Fault, Unavailable
from oriel.manifold import command
from oriel.manifold.launcher import Found, Launched, LaunchSpec, OnExit
from oriel.manifold.local.ports import Ports
from oriel.sandbox import Confined, Confinement, Overlay, Sandboxes
from oriel.sandbox.confinement import LOST

PIPE_BYTES = 256 * 1024
"""What a dyno may say while nobody reads; an ordinary user may get less."""

HOST = "127.0.0.1"
"""Where dynos are reached: they share the host's loopback for now."""

PROFILE_BYTES_MAX = 64 * 1024

Ask = Callable[[str], Awaitable[None]]

_log = logging.getLogger("oriel.manifold.local")


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
        self._here: dict[str, _Here] = {}
        self._on_exit: OnExit = lambda instance, exit_: None

    def listen(self, on_exit: OnExit) -> None:
        """Whom to tell of ends."""
        self._on_exit = on_exit

    def place(self, spec: LaunchSpec) -> Launched:
        """A port for a web dyno; others have none."""
        return Launched(HOST, self._ports.give(spec.instance) if spec.type == "web" else None)

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
        _write(place / "record.json", here.confined.record)
        self._watch(spec.instance, here)

    def _make(self, place: Path, spec: LaunchSpec, at: Launched) -> None:
        place.mkdir(parents=True, mode=0o700)
        _write(place / "identity.json", {**spec.identity(), "host": at.host, "port": at.port})
        os.mkfifo(place / "out", 0o600)
        if os.geteuid() == 0:
            # An app that opens /dev/stdout anew may write to it, and not read its own log back.
            os.chown(place / "out", spec.uid, spec.uid)
            os.chmod(place / "out", 0o200)

    async def _launch(self, place: Path, spec: LaunchSpec, at: Launched) -> Confined:
        profile = command.read_profile(_profile(spec.slug))
        confinement = Confinement(
            argv=command.argv(spec.command),
            env=command.environment(spec.env, profile, str(spec.name), at.port),
            uid=spec.uid,
            overlay=Overlay(spec.slug),
            hostname=f"{spec.type}-{spec.number}"[:63],
        )
        write = _open(place / "out", os.O_WRONLY)
        try:
            # The dyno shares this open file with nobody: O_NONBLOCK is its own to set.
            os.set_blocking(write, True)
            return await self._sandboxes.launch(
                confinement, stdin=None, stdout=write, stderr=None, status_path=place / "status"
            )
        finally:
            os.close(write)

    def _watch(self, instance: str, here: _Here) -> None:
        async def wait() -> None:
            assert here.confined is not None  # noqa: S101
            ended = await here.confined.wait()
            self._ports.take_back(instance)
            self._on_exit(instance, ended)

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

    async def clean(self, instance: str) -> None:
        """Let go of the FIFO everywhere, and remove the instance's directory."""
        here = self._here.pop(instance, None)
        if here and here.watch:
            here.watch.cancel()
        place = self._dynos / instance
        with contextlib.suppress(FileNotFoundError):
            (place / "out").unlink()
        if here and here.fifo is not None:
            os.close(here.fifo)
        self._ports.take_back(instance)
        await self._release(instance)
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def adopt(self) -> tuple[Found, ...]:
        """Every instance that has a directory: those that run are watched from now on."""
        found = []
        for place in sorted(self._dynos.iterdir()) if self._dynos.is_dir() else []:
            try:
                if spec := await self._identified(place):
                    found.append(await self._adopt(place, *spec))
            except (OSError, Fault) as error:
                # Perhaps it runs: it is left alone, and the next start looks again.
                _log.error("dyno directory %s cannot be looked at: %s", place.name, error)
        return tuple(found)

    async def _identified(self, place: Path) -> tuple[LaunchSpec, Launched] | None:
        """Who an instance is. A kill may come before its identity is whole: then nothing was
        started from it, and its directory goes.
        """
        try:
            kept = json.loads((place / "identity.json").read_text())
            spec = LaunchSpec.from_identity(kept)
            if spec.instance != place.name:
                raise ValueError("its identity is another's")
            return spec, Launched(str(kept["host"]), kept["port"])
        except (ValueError, KeyError, FileNotFoundError) as error:
            if (place / "status").exists():
                _log.error("dyno directory %s has lost its identity: %s", place.name, error)
            else:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
            return None

    async def _adopt(self, place: Path, spec: LaunchSpec, at: Launched) -> Found:
        here = self._here.setdefault(spec.instance, _Here())
        with contextlib.suppress(FileNotFoundError):
            here.fifo = _open(place / "out", os.O_RDWR)
            await self._hold(spec.instance)
        adopted = await self._sandboxes.adopt(_read(place / "record.json"), place / "status")
        if isinstance(adopted, Confined):
            here.confined = adopted
            if at.port is not None:
                self._ports.keep(at.port, spec.instance)
            self._watch(spec.instance, here)
            return Found(spec, at, None)
        return Found(spec, at, adopted or LOST)


def _open(path: Path, how: int) -> int:
    return os.open(path, how | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


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


def _profile(slug: Path) -> bytes:
    """The slug's profile; nothing where it is no plain file. Its tree is the app's: no link in
    it is followed.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        directory = os.open(slug / ".oriel", flags | os.O_DIRECTORY)
    except OSError:
        return b""
    try:
        with os.fdopen(os.open("profile.json", flags, dir_fd=directory), "rb") as file:
            return file.read(PROFILE_BYTES_MAX)
    except OSError:
        return b""
    finally:
        os.close(directory)
