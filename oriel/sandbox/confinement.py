"""Owns the values: what to run and what it may see. Must not know how it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from oriel.faults import Invalid

MEBIBYTE = 1024 * 1024
ENVIRONMENT_MAX = 2000
"""bubblewrap takes 9000 words; a variable is three of them."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the host, shown inside at `target`."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Overlay:
    """A directory that looks like `lower` and may be written up to `size_bytes`.

    What is written is gone with the sandbox; `lower` never changes. Without a lower it is an
    empty directory of that size. Where overlays are forbidden `lower` is copied instead.
    """

    lower: Path | None
    target: str = "/app"
    size_bytes: int = 512 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Confinement:
    """One program and everything that it may see."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """All of its environment: nothing of the host's is added."""
    uid: int
    """The uid (and gid) that it gets, when Oriel is root; else the one that Oriel has."""
    binds: tuple[Bind, ...] = ()
    """Shown in this order, after the overlay, so that they may lie inside it."""
    overlay: Overlay | None = None
    cwd: str = "/app"
    hostname: str = "dyno"
    tmp_bytes: int = 256 * MEBIBYTE
    shm_bytes: int = 64 * MEBIBYTE
    open_files: int = 10_000
    processes: int = 256
    """How many processes and threads it may have at once; 0 is no limit of its own."""
    network: Literal["own", "host", "none"] = "own"
    """One of its own where the machine allows it, the machine's, or none at all."""
    address: str | None = None
    """Of its own network, from `Network.lease`; None: any, for as long as it runs."""
    reach: tuple[int, ...] = ()
    """Ports of this machine's loopback that it may connect to at its own: a proxy that the
    operator named. Only while this process lives."""
    memory_bytes: int | None = None
    """The hard limit, where a cgroup can set it; what it writes to disk comes on top."""
    quota_bytes: int | None = None
    """Beyond it `on_memory` is told."""
    cpu_weight: int = 100
    """Its share of a busy processor, of 100 as the rest of the machine has."""
    terminal: bool = False
    """Whether its standard streams are a terminal, which shall be its controlling one."""

    def __post_init__(self) -> None:
        """Refuse what the kernel could not be told."""
        texts = (*self.argv, self.cwd, self.hostname, *self.env, *self.env.values())
        if not self.argv:
            raise Invalid("There is no command to run.")
        if any("\0" in text for text in texts):
            raise Invalid("A command or environment variable holds a NUL character.")
        if any("=" in key or not key for key in self.env):
            raise Invalid("The name of an environment variable is empty or holds a =.")
        if len(self.env) > ENVIRONMENT_MAX:
            raise Invalid(f"More than {ENVIRONMENT_MAX} environment variables were given.")
        if any(not place.startswith("/") or ".." in place.split("/") for place in self._places()):
            raise Invalid("A place inside a sandbox must be given from the root (/...).")

    def _places(self) -> tuple[str, ...]:
        overlay = (self.overlay.target,) if self.overlay else ()
        return (self.cwd, *overlay, *(bind.target for bind in self.binds))


@dataclass(frozen=True, slots=True)
class Visit:
    """One more program inside a sandbox that runs. It sees what the sandbox's own sees."""

    argv: tuple[str, ...]
    """The program by its path inside."""
    env: Mapping[str, str]
    uid: int
    cwd: str = "/app"
    open_files: int = 10_000
    processes: int = 256
    terminal: bool = False
    filter: bytes = b""
    """A system call filter, as the kernel takes it, in the place of the one of all sandboxes."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a sandbox ended. A shell's convention: a death by signal n is the code 128+n."""

    code: int | None
    signal: int | None = None
    """The signal that `code` speaks of: most likely, since a program may exit with 143 itself."""
    lost: bool = False
    """The code is not known: bubblewrap was killed, or never came to start the program."""
    out_of_memory: bool = False
    """The kernel killed a process of it because its memory limit was reached."""

    @classmethod
    def of(cls, code: int) -> Exit:
        """The exit that bubblewrap's code means."""
        return cls(code, code - 128 if 128 < code <= 128 + 64 else None)


LOST = Exit(None, lost=True)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one launch that are no matter of the caller's."""

    launch_timeout_s: float = 60.0
    """For mounting and starting; a copy in place of an overlay must fit in."""
    concurrency: int = 8
    """How many launches may be under way at once; more wait their turn."""
    request_bytes: int = 16 * MEBIBYTE
