"""Owns the rendering of a confinement as bubblewrap's arguments. Pure: reads no machine.

The traps that the order and the flags answer are in `docs` and were measured: without a last
`--remount-ro /` the root is writable, /dev is an unbounded tmpfs until remounted, without
`--disable-userns` a program may gain capabilities in a namespace of its own, and
`--die-with-parent` would end a dyno with control. The environment is given in the arguments,
which come through a descriptor: bubblewrap itself starts with an empty one, because it runs as
the app's uid *outside* the sandbox, where a config var LD_PRELOAD would be obeyed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from oriel.sandbox.confinement import Confinement
from oriel.sandbox.system import System

Staging = Literal["root", "userns", "none"]
"""Who may mount: root, an own user namespace, or nobody (then sources are named as they are)."""

ARGUMENTS_FD = 3
STATUS_FD = 4
REPORT_FD = 5
GATE_FD = 6
FIRST_FILE_FD = 7

_ETC = ("/etc", "/etc/ssl")
"""Made first, or bubblewrap gives them the mode of what it puts inside."""

STAGE = "/mnt"
"""Covered by a private tmpfs in the launcher's own mount namespace, before the uid changes."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What this machine and its operator give every sandbox."""

    wires: dict[str, Any] | None = None
    resolv: str | None = None
    """Its resolv.conf, where the machine's own would name a server that is out of reach."""
    seccomp: str = ""
    isolated: bool = True
    """False: `--isolation none`. It sees the whole machine, and runs under no filter."""
    top: tuple[str, ...] = ()
    """Then: the directories in the machine's root."""


SHARED = Ground()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the fork server is told: what to stage, whom to become, what to execute."""

    staging: Staging
    overlays: bool
    """Whether an overlay may be mounted; else its lower is copied."""
    uid: int | None
    """None: stay who we are."""
    binds: tuple[str, ...]
    """Sources, staged at STAGE/b0, STAGE/b1..."""
    lower: str | None
    """The overlay's lower, staged at STAGE/app."""
    lower_bytes: int
    copy_to: str
    """Where `lower` is copied when nothing can be mounted."""
    open_files: int
    wires: dict[str, Any] | None
    """The network of its own, as `subnet.Wires`; None where it shares one, or has none."""
    seccomp: str
    """The filter of system calls in hexadecimal, at the descriptor after the files'."""
    files: tuple[tuple[int, str], ...]
    """(descriptor, content) of small files that bubblewrap writes into the sandbox."""
    copies: tuple[tuple[int, str], ...]
    """(descriptor, source) of those that it copies; an empty one where the source is gone."""
    arguments: tuple[str, ...]
    """Read by bubblewrap from ARGUMENTS_FD, so that no process list shows them."""
    command: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The plan as the fork server reads it."""
        # Not `asdict`, which copies each of some hundred words.
        return {key: getattr(self, key) for key in self.__slots__}


def render(
    what: Confinement,
    system: System,
    staging: Staging,
    *,
    overlays: bool,
    copy_to: str,
    ground: Ground = SHARED,
) -> Plan:
    """The plan that confines `what` on this machine, upon a `ground`."""
    files = _files(what, ground)
    copied = system.copied if ground.isolated else ()
    places = (*(place for place, _ in files), *copied)
    first_copy_fd = FIRST_FILE_FD + len(files)
    overlay = what.overlay
    return Plan(
        staging=staging,
        overlays=overlays,
        uid=what.uid if staging == "root" else None,
        binds=tuple(str(bind.source) for bind in what.binds),
        lower=str(overlay.lower) if overlay and overlay.lower else None,
        lower_bytes=overlay.size_bytes if overlay else 0,
        copy_to=copy_to,
        open_files=what.open_files,
        wires=ground.wires if what.network == "own" else None,
        seccomp=ground.seccomp,
        files=tuple((FIRST_FILE_FD + i, text) for i, (_, text) in enumerate(files)),
        copies=tuple((first_copy_fd + i, source) for i, source in enumerate(copied)),
        arguments=(
            *_namespaces(what),
            *(_system(system, places) if ground.isolated else _everything(ground.top)),
            *_written(places),
            *_scratch(what, ground),
            *_app(what, staging, copy_to),
            *("--remount-ro", "/", "--chdir", what.cwd),
            *("--json-status-fd", str(STATUS_FD), "--info-fd", str(REPORT_FD)),
            *("--block-fd", str(GATE_FD)),
            *(("--seccomp", str(FIRST_FILE_FD + len(places))) if ground.seccomp else ()),
            *_environment(what),
        ),
        command=_command(what),
    )


def _namespaces(what: Confinement) -> list[str]:
    # A network of its own is made before bubblewrap starts, and belongs to the machine's root.
    network = ["--unshare-net"] if what.network == "none" else []
    return [
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", *network, "--disable-userns", "--new-session"),
        *("--hostname", what.hostname),
    ]


def _system(system: System, written: tuple[str, ...]) -> list[str]:
    etc = [word for place in _ETC for word in ("--perms", "0755", "--dir", place)]
    bound = [place for place in system.shown if place not in written]
    shown = [word for place in bound for word in ("--ro-bind", place, place)]
    links = [word for target, place in system.links for word in ("--symlink", target, place)]
    return etc + shown + links


def _everything(top: tuple[str, ...]) -> list[str]:
    """The whole machine, as its user may see and change it; /app and what every sandbox has of
    its own excepted.
    """
    own = ("app", "proc", "dev", "tmp", "mnt")
    return [word for name in top if name not in own for word in ("--bind", f"/{name}", f"/{name}")]


def _files(what: Confinement, ground: Ground) -> list[tuple[str, str]]:
    """A user list with nobody of the host in it, and where names are asked for."""
    if not ground.isolated:
        return []
    passwd = (
        "root:x:0:0:root:/root:/bin/sh\n"
        f"app:x:{what.uid}:{what.uid}:app:{_home(what)}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    group = f"root:x:0:\napp:x:{what.uid}:\nnogroup:x:65534:\n"
    found = [("/etc/passwd", passwd), ("/etc/group", group)]
    found.append(("/etc/hostname", what.hostname + "\n"))
    if what.network == "own" and ground.resolv is not None:
        found.append(("/etc/resolv.conf", ground.resolv))
    return found


def _home(what: Confinement) -> str:
    home = what.env.get("HOME", "/app")
    return home if home.startswith("/") and home.isprintable() and ":" not in home else "/app"


def _written(places: tuple[str, ...]) -> list[str]:
    """Files in the root's own file system, which is made read-only when all is there."""
    words: list[str] = []
    for i, place in enumerate(places):
        words += ["--perms", "0444", "--file", str(FIRST_FILE_FD + i), place]
    return words


def _scratch(what: Confinement, ground: Ground) -> list[str]:
    """What every sandbox has of its own. Its pid 1 has its uid, and no filter: nobody may write
    into its memory (ptrace and the like are refused by the filter).
    """
    hidden = [f"/proc/1{where}/mem" for where in ("", "/task/1")] if ground.isolated else []
    own = ("--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--dir", "/run")  # noqa: S108
    return [
        *("--proc", "/proc", "--dev", "/dev"),
        *[word for place in hidden for word in ("--ro-bind", "/dev/null", place)],
        *("--perms", "1777", "--size", str(what.shm_bytes), "--tmpfs", "/dev/shm"),  # noqa: S108
        *("--remount-ro", "/dev"),
        *("--perms", "1777", "--size", str(what.tmp_bytes), "--tmpfs", "/tmp"),  # noqa: S108
        *(own if ground.isolated else ()),
    ]


def _app(what: Confinement, staging: Staging, copy_to: str) -> list[str]:
    words: list[str] = []
    overlay = what.overlay
    if overlay and overlay.lower:
        source = f"{STAGE}/app" if staging != "none" else copy_to
        words += ["--bind", source, overlay.target]
    elif overlay:
        words += ["--perms", "0755", "--size", str(overlay.size_bytes), "--tmpfs", overlay.target]
    for i, bind in enumerate(what.binds):
        source = f"{STAGE}/b{i}" if staging != "none" else str(bind.source)
        words += ["--bind" if bind.writable else "--ro-bind", source, bind.target]
    return words


def _environment(what: Confinement) -> list[str]:
    words = ["--clearenv"]
    for key, value in what.env.items():
        words += ["--setenv", key, value]
    return words


def _command(what: Confinement) -> tuple[str, ...]:
    """The program, behind `prlimit`.

    The limit is set inside because the kernel counts a user's processes by user namespace: set
    outside, all dynos of an app (or all of an ordinary user's session) would share one count.
    """
    limit = ("/usr/bin/prlimit", f"--nproc={what.processes}", "--") if what.processes else ()
    # A terminal is one's own only in a session of one's own: bubblewrap's belongs to its pid 1.
    session = ("/usr/bin/setsid", "--ctty") if what.terminal else ()
    return (*limit, *session, *what.argv)
