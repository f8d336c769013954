"""Owns where the house's own files lie in a data directory. Must not open any of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_MAX = 107
"""What a Unix socket's address holds (sun_path less its closing NUL)."""

_LONGEST_SOCKET = "/run/haproxy-master.sock.4194304.tmp"
"""HAProxy binds a draft name first, then renames it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of the data directory that `oriel up` uses."""

    data: Path

    @property
    def settings(self) -> Path:
        """What the platform was started with."""
        return self.data / "settings.json"

    @property
    def setup_token(self) -> Path:
        """Control writes the one-time token there; its content is never shown."""
        return self.data / "setup-token"

    @property
    def authority(self) -> Path:
        """The key and certificate of Oriel's own authority, 0600."""
        return self.data / "authority.pem"

    @property
    def lock(self) -> Path:
        """Held by the one `oriel up` of this data directory."""
        return self.data / "run" / "up.lock"

    @property
    def run(self) -> Path:
        """Sockets and pid files."""
        return self.data / "run"

    @property
    def logs(self) -> Path:
        """What the platform's processes themselves say on stderr."""
        return self.data / "log"

    @property
    def dynos(self) -> Path:
        """One directory a dyno instance."""
        return self.data / "dynos"

    @property
    def up_socket(self) -> Path:
        """The door of `oriel up`."""
        return self.run / "up.sock"

    @property
    def logplex_socket(self) -> Path:
        """The door of logplex."""
        return self.run / "logplex.sock"

    @property
    def haproxy_master_socket(self) -> Path:
        """HAProxy's master, for reloads."""
        return self.run / "haproxy-master.sock"

    @property
    def haproxy_config(self) -> Path:
        """Written by control's router; HAProxy starts once it is there."""
        return self.data / "router" / "haproxy.cfg"

    @property
    def control_ready(self) -> Path:
        """Written by control when the API answers."""
        return self.run / "control.ready"

    def pid_file(self, name: str) -> Path:
        """Who the process called `name` is."""
        return self.run / f"{name}.pid.json"

    def log(self, name: str) -> Path:
        """What the process called `name` said."""
        return self.logs / f"{name}.log"

    def fifo(self, instance: str) -> Path:
        """Where a dyno's output comes out."""
        return self.dynos / instance / "out"

    def sockets_fit(self) -> bool:
        """Whether the path is short enough for the sockets below it."""
        return len(os.fsencode(self.data)) + len(_LONGEST_SOCKET) <= SOCKET_PATH_MAX


def default_data(root: bool, environ: dict[str, str]) -> Path:
    """Where the data lies when `--data` does not say."""
    if root:
        return Path("/var/lib/oriel")
    home = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME", "/"), ".local/share")
    return Path(home) / "oriel"
