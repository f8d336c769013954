"""Owns whether an address can be listened at, by whom, and what to type where it cannot.

Must not listen for longer than a try takes. Ports below 1024 are root's, unless the machine lets
others have them: by a sysctl, by a capability of the service, or by one of HAProxy's own file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from oriel import faults
from oriel.lexicon import Address
from oriel.sandbox import linux

CAP_NET_BIND_SERVICE = 10
FIRST_ORDINARY = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
"""The lowest port that everybody may listen at, of IPv6 too; each network has its own."""

_SOMEBODY_S = 0.3
_REVISIONS = (0x01000000, 0x02000000, 0x03000000)
_EFFECTIVE = 1


@dataclass(frozen=True, slots=True)
class Means:
    """What of the ways to a port below 1024 this machine has."""

    unit: bool
    """Oriel runs as a service of systemd's."""
    sysctl: bool
    setcap: str
    """Where it is; empty where it is not installed."""
    haproxy: str


def means(environ: Mapping[str, str], path: str) -> Means:
    """Look at this machine; `path` is where programs are looked for."""
    return Means(
        unit="INVOCATION_ID" in environ,
        sysctl=FIRST_ORDINARY.exists(),
        setcap=shutil.which("setcap", path=path) or "",
        haproxy=shutil.which("haproxy", path=path) or "",
    )


def advice(address: Address, flag: str, has: Means) -> str:
    """What to type so that an ordinary user may listen there."""
    other = f"choose a port above 1023: oriel up {flag} {Address(address.host, 8000)}"
    if has.unit:
        return (
            "In the unit, below [Service]: AmbientCapabilities=CAP_NET_BIND_SERVICE; then "
            f"systemctl daemon-reload, and restart it. Or {other}"
        )
    ways = []
    if has.sysctl:
        # One line does for 80 and 443.
        first = min(address.port, 80)
        ways.append(
            f"echo 'net.ipv4.ip_unprivileged_port_start = {first}' | sudo tee "
            "/etc/sysctl.d/60-oriel-ports.conf && sudo sysctl --system (for every user)"
        )
    if has.setcap and has.haproxy and flag in ("--web", "--web-tls"):
        ways.append(
            f"sudo {has.setcap} cap_net_bind_service=+ep {has.haproxy} (for HAProxy alone; once "
            "more after each of its upgrades)"
        )
    if not ways:
        return other[0].upper() + other[1:]
    return f"Type: {'; or: '.join(ways)}. Or {other}"


def refuse_used(address: Address, flag: str, has: Means) -> None:
    """The address must be free, ours and allowed; tried by binding it for a moment.

    Raises Fault. Whether HAProxy may, where this process may not, is told by its file.
    """
    try:
        resolved = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise faults.Invalid(
            f"{flag} {address}: the host is not known ({error.strerror}).",
            hint=f"Give one of this machine, as in: oriel up {flag} 127.0.0.1:{address.port}",
        ) from error
    family, _, _, _, where = resolved[0]
    try:
        trial = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _refused(address, flag, error, has) from error
    with contextlib.closing(trial):
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(where)
            trial.listen(1)
        except OSError as error:
            for_haproxy = error.errno == errno.EACCES and flag in ("--web", "--web-tls")
            if not for_haproxy or not file_may(has.haproxy):
                raise _refused(address, flag, error, has) from error
            if _answers(address):
                raise _used(address, flag) from error


def refuse_twins(addresses: Iterable[tuple[str, Address]]) -> None:
    """Raise Invalid where two flags name one place; a wildcard is every address of its port."""
    for (flag, one), (other_flag, other) in combinations(addresses, 2):
        same = one.host == other.host or one.is_wildcard or other.is_wildcard
        if same and one.port == other.port:
            raise faults.Invalid(
                f"{flag} {one} and {other_flag} {other} are the same port.",
                hint=f"Give them two, as in: oriel up {flag} {one} {other_flag} "
                f"{replace(other, port=_beside(other.port))}",
            )


def settled(address: Address) -> Address:
    """The address; with one that is free now in the place of port 0."""
    if address.port:
        return address
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
        trial.bind((address.host, 0))
        return replace(address, port=int(trial.getsockname()[1]))


def file_may(program: str) -> bool:
    """Whether a program's file gives whoever runs it the right to low ports.

    As `setcap cap_net_bind_service=+ep` does; the attribute's form is `struct vfs_cap_data`
    (linux/capability.h). A program that may gain no privileges has none of it.
    """
    try:
        kept = os.getxattr(program, "security.capability")
        magic, permitted = struct.unpack_from("<II", kept)
        gains = "NoNewPrivs:\t0" in Path("/proc/self/status").read_text()
    except (OSError, struct.error):
        return False
    known = (magic & ~0xFF) in _REVISIONS and magic & _EFFECTIVE
    return bool(known and gains and permitted & (1 << CAP_NET_BIND_SERVICE))


def pass_on() -> None:
    """Let the next program that this process executes have low ports, if this process may."""
    if os.geteuid() != 0 and linux.has_capability(CAP_NET_BIND_SERVICE):
        linux.keep_capability(CAP_NET_BIND_SERVICE)


def keep_to_ourselves() -> None:
    """Of what a service was given, pass nothing on by itself: bubblewrap does not start with it,
    and no app is to have it.
    """
    if os.geteuid() != 0:
        linux.drop_ambient()


def _refused(address: Address, flag: str, error: OSError, has: Means) -> faults.Fault:
    if error.errno == errno.EADDRINUSE:
        return _used(address, flag)
    if error.errno == errno.EACCES:
        return faults.Forbidden(
            f"Only root may listen on port {address.port} of this machine.",
            hint=advice(address, flag, has),
        )
    return faults.Invalid(
        f"{flag} {address}: this machine cannot listen there ({error.strerror}).",
        hint=f"Give an address of this machine, as in: oriel up {flag} 127.0.0.1:{address.port}",
    )


def _used(address: Address, flag: str) -> faults.Fault:
    return faults.Conflict(
        f"Port {address.port} of {address.host} is in use by another program.",
        hint=f"Stop that one, or choose another port: oriel up {flag} "
        f"{Address(address.host, _beside(address.port))}",
    )


def _beside(port: int) -> int:
    return port + 1 if port < 65535 else port - 1


def _answers(address: Address) -> bool:
    """Whether somebody listens there already."""
    host = "127.0.0.1" if address.is_wildcard else address.host
    try:
        socket.create_connection((host, address.port), _SOMEBODY_S).close()
    except OSError:
        return False
    return True
