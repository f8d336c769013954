"""Owns what the router is told once, at start. Nothing of it needs quoting: that is checked.

Must not know what is made of it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from oriel.router.table import Listen

_QUOTABLE = re.compile(r"[^\s'\"\\$#\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the router is told once, at start."""

    directory: Path
    runtime_socket: Path
    web: tuple[Listen, ...]
    log_port: int
    web_tls: tuple[Listen, ...] = ()
    """Where it listens with TLS; the route table has the certificates."""
    user: str | None = None
    """Whom HAProxy becomes after it has bound its ports; None: it stays who it is."""
    threads: int = 1
    connections_max: int | None = None
    """None: HAProxy derives it from its limit of open files."""
    client_connections_max: int = 1000
    """Of one address: over it requests are refused (H22), over twice it connections."""
    trusted: tuple[str, ...] = ()
    """Networks of proxies whose X-Forwarded-Proto and -Port are believed."""
    dyno_requests_max: int = 1000
    """What one dyno gets at once, websockets too; more of them queue."""
    dyno_backlog_max: int = 50
    """How many may queue for each dyno of an app; more are refused (H11)."""
    quarantine_s: float = 0.5
    """How often a dyno that accepted no connection is tried again."""
    head_timeout_s: float = 30
    """How long a client may take to send a request's head."""
    spares: int = 32
    """Empty slots rendered ahead, so that an app's coming needs no reload."""
    connect_timeout_s: float = 5
    first_byte_timeout_s: float = 30
    idle_timeout_s: float = 55
    boot_hold_s: float = 75
    """How long a request waits for a booting app; 0: it is refused at once (no Lua there)."""
    waker: str = ""
    """The abstract Unix socket that is told of a request of an idle app; empty: none is."""
    onward_key: str = field(default="", repr=False)
    """Who has it may hand the router a request with any client's address; empty: nobody may."""

    def __post_init__(self) -> None:
        """No path or name that would need quoting enters a configuration."""
        for path in (self.directory, self.runtime_socket):
            if not path.is_absolute() or not _QUOTABLE.fullmatch(str(path)):
                raise ValueError(f"{str(path)!r} must be absolute, without spaces or quotes.")
        for each in self.trusted:
            ipaddress.ip_network(each)
        if self.user is not None and not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", self.user):
            raise ValueError(f"{self.user!r} is not a user's name.")
        if not re.fullmatch(r"[a-z0-9-]{0,64}", self.waker):
            raise ValueError(f"{self.waker!r} is not a socket's name.")
        if not re.fullmatch(r"[0-9a-f]{0,64}", self.onward_key):
            raise ValueError("The key of requests that are handed over is not hexadecimal.")
