"""Owns what a launcher is: the way from an instance that should run to one that does.

`local` is the first; a cluster's has to pass the same contract test (tests/manifold). Nothing
outside a launcher knows a pid. Must not know releases' meaning, back-off or log lines.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from oriel.lexicon import DynoName
from oriel.sandbox.confinement import Exit

IDENTITY_VERSION = 1

MEMORY_TICK_S = 20.0
"""How often an instance over its quota is told of (heroku-facts C, R14)."""


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """One instance to run. What is not secret of it is its identity, kept beside it."""

    instance: str
    app_id: str
    app: str
    channel: str
    type: str
    number: int
    release: int
    uid: int
    command: str
    size: str
    slug: Path
    env: Mapping[str, str]
    once: bool = False
    attached: bool = False
    """Whether its streams are a client's, not the channel's."""
    until_s: float | None = None
    """When it has lived long enough, in seconds since 1970; None where nobody said."""

    @property
    def name(self) -> DynoName:
        """Its dyno's name."""
        return DynoName(self.type, self.number)

    def identity(self) -> dict[str, Any]:
        """What `identity.json` says of it: all but the environment."""
        # Not `asdict`, which copies deeply.
        return {
            **{key: getattr(self, key) for key in self.__slots__ if key != "env"},
            "version": IDENTITY_VERSION,
            "name": str(self.name),
            "slug": str(self.slug),
        }

    @classmethod
    def from_identity(cls, kept: Mapping[str, Any]) -> LaunchSpec:
        """The same from what was kept; raises ValueError for what cannot be one."""
        try:
            if kept["version"] != IDENTITY_VERSION:
                raise ValueError(f"identity of version {kept['version']!r}")
            return cls(
                instance=str(kept["instance"]),
                app_id=str(kept["app_id"]),
                app=str(kept["app"]),
                channel=str(kept["channel"]),
                type=str(kept["type"]),
                number=int(kept["number"]),
                release=int(kept["release"]),
                uid=int(kept["uid"]),
                command=str(kept["command"]),
                size=str(kept["size"]),
                slug=Path(str(kept["slug"])),
                env={},
                once=bool(kept["once"]),
                attached=bool(kept.get("attached", False)),
                until_s=kept.get("until_s"),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an identity: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Launched:
    """Where an instance that runs can be reached; a port only for web."""

    host: str
    port: int | None
    fronted: bool = False
    """Something of ours accepts connections there before the instance does: that one is accepted
    says nothing; whether it listens must be asked."""


@dataclass(frozen=True, slots=True)
class Found:
    """An instance that an earlier process launched: running, or how it ended."""

    spec: LaunchSpec
    launched: Launched
    exit: Exit | None
    """None while it runs."""
    was_ready: bool = False
    """It was prepared, and begun later."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance takes of the machine."""

    memory_bytes: int
    """Resident, swapped and cached: what its quota counts (heroku-facts C, R14)."""
    swap_bytes: int
    cpu_s: float
    """Of all its processes, since it was started."""
    processes: int


@dataclass(frozen=True, slots=True)
class Listening:
    """An address on which a process of an instance accepts TCP connections."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Window:
    """The size of a terminal."""

    columns: int = 80
    lines: int = 24


class Terminal(Protocol):
    """The streams of an attached process, in our hand. One may read and one write at once; both
    wait for the other side, so that neither end fills our memory.
    """

    async def read(self) -> tuple[str, bytes] | None:
        """The next output, and whether it is `out` or `err`; None when all of it has come."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input; comes back when all is taken."""
        ...

    async def end_input(self) -> None:
        """There is no more input."""
        ...

    def resize(self, window: Window) -> None:
        """The client's window has another size."""
        ...

    def close(self) -> None:
        """Let go of it; a process at a terminal gets SIGHUP."""
        ...


class Visit(Protocol):
    """One more process inside a running instance."""

    @property
    def terminal(self) -> Terminal:
        """Its streams."""
        ...

    async def wait(self) -> Exit:
        """Come back when it has ended, or the instance."""
        ...

    async def send(self, what: signal.Signals) -> None:
        """A signal to it."""
        ...

    def close(self) -> None:
        """Hang up: it gets SIGHUP, and in the end SIGKILL."""
        ...


OnExit = Callable[[str, Exit], None]
OnMemory = Callable[[str, Usage], None]


class Launcher(Protocol):
    """Runs instances. What is asked of one that it does not know, or that has ended, is no error:
    a kill of control may come anywhere, and the next one asks again.
    """

    boots_max: int
    """How many may well boot at once, where nobody waits for them."""
    spares_max: int
    """How many may well be kept prepared."""

    def place(self, spec: LaunchSpec) -> Launched:
        """Choose where `spec` will be reached, before it is started. Its port is its alone until
        it is cleaned away: the router may still send it requests when it has ended.
        """
        ...

    async def start(self, spec: LaunchSpec, at: Launched) -> None:
        """Run it; Unavailable says why not. Its end is told to `on_exit`, once, not before this
        has come back.
        """
        ...

    async def prepare(self, spec: LaunchSpec, at: Launched) -> bool:
        """Do all of `start` but let it run: nothing of the app's runs before `begin`. False: that
        cannot be with this one; Unavailable says why it could not just now. If it ends in spite
        of that, it is told of as any other end. What was never begun is gone after `clean`, and
        before long after `adopt`, which does not find it.
        """
        ...

    def begin(self, instance: str) -> bool:
        """Let one that was prepared run, at once; False: it cannot be any more. From here on it is
        as one that was started.
        """
        ...

    async def attach(self, spec: LaunchSpec, at: Launched, window: Window | None) -> Terminal:
        """As `start`, with its streams in our hand: a terminal of that size, or (None) pipes."""
        ...

    async def enter(self, spec: LaunchSpec, at: Launched, window: Window | None) -> Visit:
        """Run the command of `spec` inside the instance that it names, with its environment;
        Unavailable says why not.
        """
        ...

    async def send(self, instance: str, what: signal.Signals) -> None:
        """A signal to all of its processes."""
        ...

    async def terminate(self, instance: str) -> None:
        """Ask all of its processes to end."""
        ...

    async def kill(self, instance: str) -> None:
        """End all of its processes; its end is told as any other."""
        ...

    async def clean(self, instance: str) -> None:
        """Remove what is left of one that has ended, its output having been read."""
        ...

    async def adopt(self) -> tuple[Found, ...]:
        """What earlier processes launched and nobody cleaned; those that run are watched. No end
        is told before this has come back. Called once, before anything is started.
        """
        ...

    async def look(self, instance: str) -> Usage | None:
        """What it takes now; None of one that is not known or has ended."""
        ...

    async def is_busy(self, instance: str) -> bool:
        """Whether something in it runs, wants to, or waits for a disk, in this moment."""
        ...

    async def listening(self, instance: str) -> tuple[Listening, ...]:
        """Where its processes accept connections, whether they should or not."""
        ...

    def listen(self, on_exit: OnExit, on_memory: OnMemory) -> None:
        """Whom to tell of ends, and of an instance over the memory quota of its size: when it
        comes to be, and every MEMORY_TICK_S while it is.
        """
        ...
