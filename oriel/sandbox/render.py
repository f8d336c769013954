"""Owns the rendering of a confinement as bubblewrap's arguments. Pure: reads no machine.

The traps that the order and the flags answer are in `docs` and were measured: without a last
`--remount-ro /` the root is writable, /dev is an unbounded tmpfs until remounted, without
`--disable-userns` a program may gain capabilities in a namespace of its own, and
`--die-with-parent` would end a dyno with control. The environment is given in the arguments,
which come through a descriptor: bubblewrap itself starts with an empty one, because it runs as
the app's uid *outside* the sandbox, where a config var LD_PRELOAD would be obeyed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from oriel.sandbox.confinement import Confinement
from oriel.sandbox.system import System

Staging = Literal["root", "userns", "none"]
"""Who may mount: root, an own user namespace, or nobody (then sources are named as they are)."""

ARGUMENTS_FD = 3
STATUS_FD = 4
REPORT_FD = 5
FIRST_FILE_FD = 6

_ETC = ("/etc", "/etc/ssl")
"""Made first, or bubblewrap gives them the mode of what it puts inside."""

STAGE = "/mnt"
"""Covered by a private tmpfs in the launcher's own mount namespace, before the uid changes."""


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
    files: tuple[tuple[int, str], ...]
    """(descriptor, content) of small files that bubblewrap writes into the sandbox."""
    arguments: tuple[str, ...]
    """Read by bubblewrap from ARGUMENTS_FD, so that no process list shows them."""
    command: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The plan as the fork server reads it."""
        return asdict(self)


def render(
    what: Confinement, system: System, staging: Staging, *, overlays: bool, copy_to: str
) -> Plan:
    """The plan that confines `what` on this machine."""
    files = _files(what)
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
        files=tuple((FIRST_FILE_FD + i, text) for i, (_, text) in enumerate(files)),
        arguments=(
            *_namespaces(what),
            *_system(system),
            *_synthetic(files),
            *_scratch(what),
            *_app(what, staging, copy_to),
            *("--remount-ro", "/", "--chdir", what.cwd),
            *("--json-status-fd", str(STATUS_FD), "--info-fd", str(REPORT_FD)),
            *_environment(what),
        ),
        command=_command(what),
    )


def _namespaces(what: Confinement) -> list[str]:
    network = ["--unshare-net"] if what.network == "none" else []
    return [
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", *network, "--disable-userns", "--new-session"),
        *("--hostname", what.hostname),
    ]


def _system(system: System) -> list[str]:
    etc = [word for place in _ETC for word in ("--perms", "0755", "--dir", place)]
    shown = [word for place in system.shown for word in ("--ro-bind", place, place)]
    links = [word for target, place in system.links for word in ("--symlink", target, place)]
    return etc + shown + links


def _files(what: Confinement) -> list[tuple[str, str]]:
    """A user list with nobody of the host in it."""
    passwd = (
        "root:x:0:0:root:/root:/bin/sh\n"
        f"app:x:{what.uid}:{what.uid}:app:{_home(what)}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    group = f"root:x:0:\napp:x:{what.uid}:\nnogroup:x:65534:\n"
    return [("/etc/passwd", passwd), ("/etc/group", group), ("/etc/hostname", what.hostname + "\n")]


def _home(what: Confinement) -> str:
    home = what.env.get("HOME", "/app")
    return home if home.startswith("/") and home.isprintable() and ":" not in home else "/app"


def _synthetic(files: list[tuple[str, str]]) -> list[str]:
    words: list[str] = []
    for i, (place, _) in enumerate(files):
        words += ["--perms", "0444", "--ro-bind-data", str(FIRST_FILE_FD + i), place]
    return words


def _scratch(what: Confinement) -> list[str]:
    return [
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--size", str(what.shm_bytes), "--tmpfs", "/dev/shm"),  # noqa: S108
        *("--remount-ro", "/dev"),
        *("--perms", "1777", "--size", str(what.tmp_bytes), "--tmpfs", "/tmp"),  # noqa: S108
        *("--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--dir", "/run"),  # noqa: S108
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
