"""Owns which addresses may be dialled. Must not know names or connections.

Only `is_own` and `is_dyno` ask the machine; the rest is pure.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from oriel import faults

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ROUTES = Path("/proc/net/route")
_DYNO_DEVICE = "or"
"""How the devices of sandboxes are called (oriel/sandbox/subnet.py)."""

_METADATA: tuple[Network, ...] = (
    ipaddress.ip_network("100.100.100.200/32"),
    ipaddress.ip_network("fd00:ec2::/32"),
)
"""Where clouds answer with credentials, beside 169.254/16."""

_HIDING = (
    (ipaddress.ip_network("64:ff9b::/96"), "NAT64"),
    (ipaddress.ip_network("64:ff9b:1::/48"), "NAT64"),
    (ipaddress.ip_network("2002::/16"), "6to4"),
    (ipaddress.ip_network("2001::/32"), "Teredo"),
    (ipaddress.ip_network("::/96"), "IPv4-compatible"),
)
"""IPv6 forms that carry an IPv4 address to who unpacks them."""


class Refused(faults.Invalid):
    """A place that may not be dialled."""


def is_own(address: IPAddress) -> bool:
    """Whether the address is one of this machine's own.

    The kernel chooses it as the source of what is sent to itself; nothing is sent to find out.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]) == address
    except OSError:
        return False


def is_dyno(address: IPAddress, routes: Path = _ROUTES) -> bool:
    """Whether a dyno of this machine has the address: its route is its alone, and leads into its
    device. To us every dyno is open, and so it would be to whoever names it to us.
    """
    if address.version != 4:
        return False
    wanted = struct.pack("<I", struct.unpack(">I", address.packed)[0]).hex().upper()
    with contextlib.suppress(OSError):
        for line in routes.read_text().splitlines():
            words = line.split()
            if words[1:2] == [wanted] and words[0].startswith(_DYNO_DEVICE):
                return True
    return False


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator allows beyond the rest of the world."""

    allowed: tuple[Network, ...] = ()
    own: Callable[[IPAddress], bool] = field(default=is_own, compare=False)
    dyno: Callable[[IPAddress], bool] = field(default=is_dyno, compare=False)

    @classmethod
    def parse(cls, networks: Iterable[str]) -> Rules:
        """Networks as an operator writes them: `10.0.0.0/8`, `127.0.0.1`; raises Invalid."""
        return cls(tuple(network(each) for each in networks))

    def why_not(self, address: IPAddress) -> str:
        """Why an address may not be dialled; empty when it may."""
        if any(address.version == each.version and address in each for each in self.allowed):
            return ""
        found = _kind(address)
        if found:
            return found
        if self.own(address):
            return "this machine's own address"
        return "a dyno's address" if self.dyno(address) else ""


def network(text: str) -> Network:
    """A network from outside; raises Invalid."""
    try:
        if "%" in text:  # a scope is any text at all, and of no network
            raise ValueError(text)
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise faults.Invalid(
            f"{text[:60]!r} is not a network.", hint="Write one as in 10.0.0.0/8 or 127.0.0.1"
        ) from None


def literal(host: str) -> IPAddress | None:
    """The address that a host is written as; None when it is a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _kind(address: IPAddress) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return "an IPv4 address in IPv6 disguise"
        if address.scope_id:
            return "a link-local address"
    if address.is_unspecified:
        return "no address at all"
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast or str(address) == "255.255.255.255":
        return "a multicast or broadcast address"
    if isinstance(address, ipaddress.IPv4Address) and address in ipaddress.ip_network("0.0.0.0/8"):
        return "no address at all"
    if any(address.version == each.version and address in each for each in _METADATA):
        return "a cloud's metadata address"
    for each, name in _HIDING:
        if address.version == 6 and address in each:
            return f"an IPv4 address in IPv6 disguise ({name})"
    return ""
