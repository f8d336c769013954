"""Owns looking at the edge for `oriel doctor`: the ports, what HAProxy objected to, what was lost.

Must not judge what it sees: that is `edge`.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from oriel import faults
from oriel.house import ports, settings
from oriel.house.door import Visitor
from oriel.house.layout import Layout
from oriel.lexicon import Address
from oriel.router.haproxy import REFUSED

PATIENCE_S = 5.0

_HEADS = {"heads_bad": "bad heads", "heads_slow": "too slow", "heads_cut": "broken off"}
_BAD = re.compile(
    rb"^\[([^\]\s]{1,40})\] frontend web .*?\n.*? src ([0-9a-fA-F.:]{1,60}):\d+", re.MULTILINE
)
_NEVER = b"\0"
_LIST = re.compile(r" crt-list (/\S+)")


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate that is shown."""

    to: str
    """For which hosts, some of them."""
    days_left: float | None
    """None: it cannot be read."""


@dataclass(frozen=True, slots=True)
class Lines:
    """How it is with the router's lines."""

    lost: Mapping[str, int] = field(default_factory=dict)
    """By whom; empty where the platform is not up."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """Requests whose head could not be read, which have no line, by what was wrong with it."""
    last_bad: str = ""
    """When and from where the last one came that is wrong and not only slow, in HAProxy's words."""


@dataclass(frozen=True, slots=True)
class Port:
    """What became of trying to listen at an address."""

    flag: str
    address: Address
    problem: str = ""
    hint: str = ""
    ours: bool = False


def ports_at(
    data: Path, addresses: tuple[tuple[str, Address], ...], has: ports.Means
) -> tuple[Port, ...]:
    """What came of trying each, which may be the running platform's own."""
    ours = _listening(data)
    return tuple(
        Port(flag, address, ours=True) if (flag, address) in ours else _port(flag, address, has)
        for flag, address in addresses
    )


def _port(flag: str, address: Address, has: ports.Means) -> Port:
    try:
        ports.refuse_used(address, flag, has)
    except faults.Fault as fault:
        return Port(flag, address, problem=fault.message, hint=fault.hint)
    return Port(flag, address)


def _listening(data: Path) -> tuple[tuple[str, Address], ...]:
    """Where the platform of this data directory listens, if it is up."""
    kept = None
    with contextlib.suppress(OSError, faults.Fault):
        kept = settings.load(Layout(data).settings)
    return settings.addresses(kept) if kept is not None and _runs(data) else ()


def _runs(data: Path) -> bool:
    """Whether the platform of this data directory is up: then its ports are used by itself."""
    try:
        with Visitor(Layout(data).up_socket, PATIENCE_S) as door:
            return bool(door.ask({"op": "status"}).get("ok"))
    except (OSError, faults.Fault):
        return False


def has_lua(path: str) -> bool | None:
    """Whether HAProxy can hold requests; None where it is missing or does not tell."""
    program = shutil.which("haproxy", path=path)
    if program is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        said = subprocess.run(
            (program, "-vv"), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        ).stdout
        if found := re.search(r" ([+-])LUA\b", said):
            return found[1] == "+"
    return None


def refused(data: Path) -> str:
    """Why HAProxy did not take its newest configuration; empty when it did."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (Layout(data).haproxy_config.parent / REFUSED).read_text().strip()
    return ""


def lines(data: Path) -> Lines:
    """What logplex counted since its start, and HAProxy since its last reload."""
    lost: dict[str, int] = {}
    unread: dict[str, int] = {}
    said = _asked(Layout(data).logplex_socket, b'{"op":"status"}\n', b"\n")
    with contextlib.suppress(ValueError, TypeError, KeyError):
        router = json.loads(said)["router"]
        lost["the kernel"] = int(router["kernel_dropped"])
        lost["logplex, the disk being full"] = int(router["disk_dropped"])
        unread = {what: int(router[key]) for key, what in _HEADS.items()}
    haproxy = Layout(data).run / "haproxy.sock"
    dropped = re.search(
        rb"^DroppedLogs: (\d+)", _asked(haproxy, b"show info\n", b"\n\n"), re.MULTILINE
    )
    if dropped:
        lost["HAProxy"] = int(dropped[1])
    bad = _BAD.search(_asked(haproxy, b"show errors web request\n", _NEVER))
    return Lines(lost, unread, f"{bad[1].decode()} from {bad[2].decode()}" if bad else "")


def shown(data: Path, now: datetime, tls_cert: str | None) -> tuple[Shown, ...]:
    """The certificates that visitors and users of the API meet, but for Oriel's own ones.

    From HAProxy's files: whom they are shown to stands there, and not whose they are.
    """
    found = [Shown(f"the API ({tls_cert})", _days_left(Path(tls_cert), now))] if tls_cert else []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        named = _LIST.search(Layout(data).haproxy_config.read_text())
        entries = Path(named[1]).read_text().splitlines() if named else []
        for path, *hosts in map(str.split, entries):
            if "/fallback." not in path:
                found.append(Shown(", ".join(hosts[:3]), _days_left(Path(path), now)))
    return tuple(found)


def _days_left(path: Path, now: datetime) -> float | None:
    """Until a certificate's end; None where it cannot be read."""
    from cryptography import x509

    try:
        end = x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc
    except (OSError, ValueError):
        return None
    return (end - now) / timedelta(days=1)


def _asked(path: Path, request: bytes, until: bytes) -> bytes:
    """One answer of a socket; empty when nobody is there."""
    answer = b""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as door:
        door.settimeout(PATIENCE_S)
        door.connect(str(path))
        door.sendall(request)
        while not answer.endswith(until) and len(answer) < 1 << 20:
            part = door.recv(65536)
            if not part:
                break
            answer += part
    return answer
