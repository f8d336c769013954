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
import signal
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from oriel.clock import Clock
from oriel.faults import Unavailable
from oriel.manifold import command
from oriel.manifold.launcher import Found, Launched, LaunchSpec, OnExit, Terminal, Visit, Window
from oriel.manifold.local import terminals
from oriel.manifold.local.ports import Ports
from oriel.sandbox import Confined, Confinement, Overlay, Sandboxes
from oriel.sandbox import Visit as SandboxVisit
from oriel.sandbox.confinement import LOST, Exit

PIPE_BYTES = 256 * 1024
"""What a dyno may say while nobody reads; an ordinary user may get less."""

HOST = "127.0.0.1"
"""Where dynos are reached: they share the host's loopback for now."""

PROFILE_BYTES_MAX = 64 * 1024

ADOPT_PARALLEL = 16
"""How many instances are looked at at once: others may take their time to hold a FIFO."""

FIRST_WORD_TRIES = 10
FIRST_WORD_PAUSE_S = 0.02

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
        serves = spec.type == "web" and not spec.once
        return Launched(HOST, self._ports.give(spec.instance) if serves else None)

    async def start(self, spec: LaunchSpec, at: Launched) -> None:
        """Run `spec`; raises Unavailable with the reason when it cannot."""
        await self._start(spec, at, None)

    async def attach(self, spec: LaunchSpec, at: Launched, window: Window | None) -> Terminal:
        """The same, with its streams in our hand."""
        near, far = terminals.open_terminal(window, self._owner(spec))
        try:
            await self._start(spec, at, far)
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
        return near

    async def enter(self, spec: LaunchSpec, at: Launched, window: Window | None) -> Visit:
        """Run the command of `spec` inside the instance that it names."""
        here = self._here.get(spec.instance)
        if here is None or here.confined is None:
            raise Unavailable(f"{spec.name} does not run.")
        near, far = terminals.open_terminal(window, self._owner(spec))
        profile = command.read_profile(_profile(spec.slug))
        what = SandboxVisit(
            argv=command.argv(spec.command),
            env=command.environment(spec.env, profile, str(spec.name), at.port),
            uid=spec.uid,
            terminal=window is not None,
        )
        try:
            entered = await self._sandboxes.enter(
                here.confined, what, stdin=far.stdin, stdout=far.stdout, stderr=far.stderr
            )
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
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
        here = self._here.setdefault(spec.instance, _Here())
        place = self._dynos / spec.instance
        try:
            self._make(place, spec, at)
            here.fifo = _open(place / "out", os.O_RDWR)
            with contextlib.suppress(OSError):
                fcntl.fcntl(here.fifo, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            await self._hold(spec.instance)
            here.confined = await self._launch(place, spec, at, streams)
        except OSError as error:
            raise Unavailable(f"{error.strerror or error}") from error
        self._watch(spec.instance, here)
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

    async def _launch(
        self, place: Path, spec: LaunchSpec, at: Launched, streams: terminals.FarEnd | None
    ) -> Confined:
        profile = command.read_profile(_profile(spec.slug))
        confinement = Confinement(
            argv=command.argv(spec.command),
            env=command.environment(spec.env, profile, str(spec.name), at.port),
            uid=spec.uid,
            overlay=Overlay(spec.slug),
            hostname=f"{spec.type}-{spec.number}"[:63],
            terminal=streams is not None and os.isatty(streams.stdin),
        )
        if streams is not None:
            return await self._sandboxes.launch(
                confinement,
                stdin=streams.stdin,
                stdout=streams.stdout,
                stderr=streams.stderr,
                status_path=place / "status",
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
            self._on_exit(instance, await here.confined.wait())

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
        if here and here.confined:
            here.confined.kill_soon()
        place = self._dynos / instance
        with contextlib.suppress(FileNotFoundError):
            (place / "out").unlink()
        if here and here.fifo is not None:
            os.close(here.fifo)
        await self._release(instance)
        await asyncio.to_thread(_remove, place)
        self._ports.take_back(instance)

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
                self._watch(each.spec.instance, self._here[each.spec.instance])
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
            adopted = await self._sandboxes.adopt(_read(place / "record.json"), place / "status")
            if isinstance(adopted, Confined):
                await adopted.kill()
        await asyncio.to_thread(_remove, place)

    async def _adopt(self, place: Path, spec: LaunchSpec, at: Launched) -> Found:
        here = self._here.setdefault(spec.instance, _Here())
        with contextlib.suppress(FileNotFoundError):  # where it was being cleaned away
            here.fifo = _open(place / "out", os.O_RDWR)
            await self._hold(spec.instance)
        adopted = await self._find(place)
        if at.port is not None:
            self._ports.keep(at.port, spec.instance)
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
            adopted = await self._sandboxes.adopt(record, status)
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


def _remove(place: Path) -> None:
    """Remove an instance's directory, its identity last: a kill in between leaves one that the
    next start knows what to do with.
    """
    for each in list(place.iterdir()) if place.is_dir() else []:
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, onerror=_make_way)
        elif each.name != "identity.json":
            each.unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)


def _make_way(_: Callable[..., object], path: str, __: object) -> None:
    """A copy of the app's files may hold directories that it made unwritable: each is opened up,
    once, and tried again.
    """
    with contextlib.suppress(OSError):
        for each in (os.path.dirname(path), path):
            mode = os.lstat(each).st_mode
            if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
                os.chmod(each, 0o700)
                shutil.rmtree(each, onerror=_make_way)


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
