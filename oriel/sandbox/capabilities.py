"""Owns what this machine allows: tried, not guessed. Used by `oriel doctor` and at each start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from oriel.faults import Unavailable
from oriel.sandbox import delegation, subnet, taps
from oriel.sandbox.render import Staging

TUN = "/dev/net/tun"
_TRIAL_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be used here, and sentences for what may not."""

    root: bool
    """Whether mounts can be made and uids changed as root: each app has a uid of its own."""
    user_namespaces: bool
    """Whether bubblewrap can start at all."""
    staging: Staging
    """Who may mount before bubblewrap starts."""
    overlay: bool
    """Whether an app's files are an overlay (at once) or a copy (slower, more room)."""
    bubblewrap: str
    """Where it is; empty when it is not installed."""
    why: tuple[str, ...] = ()
    """For each thing that is missing: what, why, and what it costs."""
    cgroups: bool = False
    """Whether control groups can be made: limits that the kernel itself holds."""
    network: bool = False
    """Whether each sandbox can have a network of its own."""
    network_why: str = ""
    """Why not."""
    pasta: str = ""
    """The program that gives an ordinary user's sandboxes their networks; empty: root does."""
    nft: str = ""
    """Where nftables' program is."""


def look() -> Capabilities:
    """Try each thing in a process of its own."""
    root = os.geteuid() == 0
    bubblewrap = shutil.which("bwrap") or ""
    why: list[str] = []
    trials = {trial: try_out(trial) for trial in (("root",) if root else ("userns",))}
    trials |= {f"{t}-overlay": try_out(f"{t}-overlay") for t in list(trials) if not trials[t]}
    staging: Staging = "none"
    for candidate in ("root", "userns"):
        if trials.get(candidate) == "":
            staging = "root" if candidate == "root" else "userns"
    if root and staging == "none":
        why.append(f"root may not mount here ({trials['root']}): no app can be isolated.")
    elif staging == "none":
        why.append(
            f"Mounting in a user namespace is forbidden ({trials['userns']}): "
            "each dyno gets a copy of its slug, and its disk use is not bounded."
        )
    overlay = trials.get(f"{staging}-overlay") == ""
    if staging != "none" and not overlay:
        told = trials.get(f"{staging}-overlay")
        why.append(f"Overlays are forbidden ({told}): each dyno gets a copy of its slug.")
    works, reason = _bubblewrap_works(bubblewrap, root=root)
    if not works:
        why.append(reason)
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""
    pasta = "" if root else shutil.which("pasta") or ""
    no_network = _no_network(staging, pasta, nft)
    return Capabilities(
        root=root and staging == "root",
        user_namespaces=works,
        staging=staging,
        overlay=overlay,
        bubblewrap=bubblewrap,
        why=tuple(why),
        cgroups=delegation.is_writable(),
        network=not no_network,
        network_why=no_network,
        pasta=pasta,
        nft=nft,
    )


def _no_network(staging: Staging, pasta: str, nft: str) -> str:
    """Why sandboxes cannot have networks of their own; empty when they can."""
    root = os.geteuid() == 0
    if not root and staging != "userns":
        return "an ordinary user can give dyno networks only where user namespaces may mount"
    if not root and not pasta:
        return "pasta is not installed"
    if not nft:
        return "nftables is not installed"
    return try_out("network") if root else _no_tap(pasta, nft)


def _no_tap(pasta: str, nft: str) -> str:
    """Why pasta does not do; empty when it does."""
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{TUN} may not be opened by this user: {error.strerror}"
    try:
        wires = taps.open_taps(pasta, nft, subnet.CLOSED).wires(None, ())
    except (Unavailable, OSError) as error:
        return str(error)
    return try_out("pasta", json.dumps(wires))


def try_out(trial: str, told: str = "") -> str:
    """Run one of the spawner's trials; empty when it went well, else the reason."""
    command = [sys.executable, "-P", "-m", "oriel.sandbox.spawner", "--try", trial]
    return _run(command, spawner_environment(), told=told)


def spawner_environment() -> dict[str, str]:
    """What the fork server needs to find this package, and nothing of ours beyond."""
    import oriel

    return {"PYTHONPATH": str(Path(oriel.__file__).parent.parent), "PATH": os.defpath}


def _bubblewrap_works(bubblewrap: str, *, root: bool) -> tuple[bool, str]:
    if not bubblewrap:
        return False, "bubblewrap is not installed: apt-get install bubblewrap"
    flags = ("--unshare-user", "--unshare-pid", "--disable-userns", "--ro-bind", "/", "/")
    told = _run([bubblewrap, *flags, "/bin/true"], {}, nobody=root)
    return not told, f"bubblewrap cannot make a sandbox here: {told}" if told else ""


def _run(command: list[str], env: dict[str, str], *, nobody: bool = False, told: str = "") -> str:
    identity = {"user": 65534, "group": 65534, "extra_groups": []} if nobody else {}
    try:
        done = subprocess.run(
            command,
            env=env,
            input=told.encode(),
            capture_output=True,
            timeout=_TRIAL_TIMEOUT_S,
            cwd="/",
            **identity,  # type: ignore[call-overload]
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it ended with status {done.returncode}"
