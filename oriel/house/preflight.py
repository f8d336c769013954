"""Owns what can be known before the platform starts: directory, lock, programs, files.

Must not start anything. Each refusal is one sentence and what to type.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import time
from pathlib import Path

from oriel import faults
from oriel.house.layout import Layout
from oriel.house.settings import NO_ISOLATION, Settings
from oriel.sandbox import capabilities

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Looked into after PATH: an ordinary user's PATH lacks the sbin ones, where haproxy lies."""

PROGRAMS = {"bwrap": "bubblewrap", "haproxy": "haproxy", "git": "git"}
"""What the platform runs, and the package that it comes in."""


SHARED_NETWORK = "dynos share this machine's network ({why}); run only apps that you trust."
NO_LIMITS = "no control group can be written; dynos' memory is only measured."
NOT_ISOLATED = (
    "WARNING: --isolation none. Every app can read and change what its user can, this platform's "
    "own files among them where Oriel is not root, and nothing limits it. For development only; "
    "oriel up --isolation bubblewrap ends it."
)
SAME_USER = "not root, so all apps run as your user; bubblewrap alone keeps them apart."

LOCK_TRIES = 40
LOCK_PAUSE_S = 0.05


def search_path(path: str) -> str:
    """PATH with the system's directories behind it."""
    given = [part for part in path.split(os.pathsep) if part]
    return os.pathsep.join([*given, *(part for part in SYSTEM_PATH if part not in given)])


def refuse_without_programs(path: str, *, root: bool) -> None:
    """Every program that the platform runs must be there."""
    missing = [package for name, package in PROGRAMS.items() if not shutil.which(name, path=path)]
    if missing:
        sudo = "" if root else "sudo "
        raise faults.Unavailable(
            f"Not installed, but needed: {', '.join(missing)}.",
            hint=f"Type: {sudo}apt-get install {' '.join(missing)}",
        )


def refuse_without_sandboxes() -> capabilities.Capabilities:
    """Sandboxes must work; returns what this machine can give apps."""
    able = capabilities.look()
    if not able.user_namespaces or (os.geteuid() == 0 and able.staging != "root"):
        raise faults.Unavailable(
            "Apps cannot be isolated on this machine. " + " ".join(able.why),
            hint="Type: oriel doctor, for what to do about it.",
        )
    return able


def weaker_grounds(able: capabilities.Capabilities, isolation: str) -> tuple[str, ...]:
    """Sentences about what apps are not kept from, here and as it was asked for."""
    if isolation == NO_ISOLATION:
        return (NOT_ISOLATED, *able.why)
    shared = () if able.network else (SHARED_NETWORK.format(why=able.network_why),)
    limits = () if able.cgroups else (NO_LIMITS,)
    same = () if os.geteuid() == 0 else (SAME_USER,)
    return (*able.why, *same, *shared, *limits)


def make_data_directory(data: Path) -> Layout:
    """The data directory, made where it is missing, 0700, ours; refuses any other."""
    layout = Layout(data)
    if not layout.sockets_fit():
        raise faults.Invalid(
            f"The path of the data directory is too long for the sockets in it: {data}",
            hint="Choose a shorter one: oriel up --data DIR",
        )
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_foreign(data)
        data.chmod(0o700)
        for inner in (layout.run, layout.logs, layout.dynos, layout.haproxy_config.parent):
            inner.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise faults.Unavailable(
            f"The data directory {data} cannot be used: {error.strerror}.",
            hint="Choose one that you may write to: oriel up --data DIR",
        ) from error
    return layout


def _refuse_foreign(data: Path) -> None:
    owner = data.stat().st_uid
    if owner != os.geteuid():
        raise faults.Forbidden(
            f"The data directory {data} belongs to {_user(owner)}, not to {_user(os.geteuid())}.",
            hint=f"Start Oriel as {_user(owner)}, or choose another: oriel up --data DIR",
        )
    names = set(os.listdir(data))
    if names and not names & {"settings.json", "run"}:
        raise faults.Invalid(
            f"{data} holds files that are not Oriel's.",
            hint="Choose an empty directory, or one that does not exist yet: oriel up --data DIR",
        )


def take_lock(layout: Layout) -> int:
    """The lock of the data directory; the descriptor holds it. Raises Conflict with the holder.

    A child of a killed `oriel up` shares its lock for the milliseconds until it has written its
    pid file; so where the holder is dead, wait for that, but not for long.
    """
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            if holder.isdigit() and os.path.exists(f"/proc/{holder}"):
                break
            time.sleep(LOCK_PAUSE_S)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
    os.close(descriptor)
    raise faults.Conflict(
        f"Another `oriel up`{f' (process {holder})' if holder else ''} "
        f"runs the data directory {layout.data}.",
        hint=f"Stop it with: oriel down --data {layout.data}",
    )


def refuse_missing_files(settings: Settings) -> None:
    """The files that the settings name must be readable."""
    for flag, path in (
        ("--tls-cert", settings.tls_cert),
        ("--tls-key", settings.tls_key),
        ("--acme-ca", settings.acme_ca),
    ):
        if path is not None and not os.access(path, os.R_OK):
            raise faults.Invalid(f"{flag} {path} cannot be read.", hint=f"Check with: ls -l {path}")
    if settings.key_file is not None and not os.path.isdir(os.path.dirname(settings.key_file)):
        raise faults.Invalid(
            f"--key-file {settings.key_file} lies in no directory.",
            hint=f"Type: mkdir -p {os.path.dirname(settings.key_file)}",
        )


def is_private(path: Path) -> bool:
    """Whether only its owner can look into it."""
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
