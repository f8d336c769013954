"""Owns the addresses at which logplex listens, as they are typed, and their sockets.

Must not know what comes in. Nothing is listened at but what was asked for; a port without a host
is on loopback.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from oriel import faults
from oriel.logplex import wire
from oriel.logplex.channel import check_name
from oriel.logplex.tokens import NAME

KINDS = ("syslog", "syslog-tls", "syslog-udp", "unix", "unix-dgram", "http")
LOOPBACK = "127.0.0.1"
UDP_BUFFER_BYTES = 32 * 1024 * 1024
_SO_RCVBUFFORCE = 33
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:]*)):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """One way in. With `channel` and `name` all that comes is that source's."""

    kind: str
    host: str = ""
    port: int = 0
    path: Path | None = None
    mode: int = 0o600
    channel: str = ""
    name: str = ""

    @classmethod
    def parse(cls, kind: str, text: str, mode: int = 0o600) -> Place:
        """`HOST:PORT` or a path, and `=CHANNEL/NAME` behind it; raises Invalid."""
        address, equals, source = text.rpartition("=")
        channel = name = ""
        if not equals:
            address = text
        else:
            channel, _, name = source.partition("/")
            check_name(channel)
            if not NAME.fullmatch(name) or kind == "http":
                raise faults.Invalid(
                    f"{text[:80]!r} is no place to listen at.",
                    hint="Behind = stands a channel and a source's name: ADDRESS=CHANNEL/NAME.",
                )
        if kind.startswith("unix"):
            if not address.startswith("/"):
                raise faults.Invalid(f"{address[:80]!r} is no absolute path of a socket.")
            return cls(kind, path=Path(address), mode=mode, channel=channel, name=name)
        match = _ADDRESS.fullmatch(address)
        if not match or int(match[3]) > 65535:
            raise faults.Invalid(
                f"{address[:80]!r} is no address to listen at.",
                hint="Type HOST:PORT, [IPV6]:PORT, or :PORT for loopback.",
            )
        host = match[1] or match[2] or LOOPBACK
        return cls(kind, host=host, port=int(match[3]), channel=channel, name=name)

    def __str__(self) -> str:
        """As people read it."""
        if self.path:
            return str(self.path)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def socket(self) -> socket.socket:
        """A socket bound there; raises OSError."""
        if self.path:
            return _local(self.path, self.mode, stream=self.kind == "unix")
        return _network(self.host, self.port, stream=self.kind != "syslog-udp")


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For who calls; raises Invalid when the files are not what they should be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise faults.Invalid(
            f"Certificate and key cannot be used: {error}.",
            hint="--tls-cert and --tls-key name PEM files that belong together.",
        ) from error
    return context


def _network(host: str, port: int, *, stream: bool) -> socket.socket:
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    made = socket.socket(family, kind)
    try:
        if stream:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            try:
                made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, UDP_BUFFER_BYTES)
            except OSError:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _local(path: Path, mode: int, *, stream: bool) -> socket.socket:
    """What a killed process left there is replaced; a file that is no socket is not."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(17, "There is a file that is no socket", str(path))
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    try:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with wire.address(draft) as name:
            made.bind(name)
        os.chmod(draft, mode)
        if stream:
            made.listen(128)
        os.rename(draft, path)
    except OSError:
        made.close()
        raise
    return made
