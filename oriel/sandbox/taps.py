"""Owns what an ordinary user's sandboxes get for a network: which addresses, ports and rules each
has of its own behind pasta. Must not know who runs in a sandbox.

Nothing is kept and nothing must be undone: each has the same addresses, in a namespace that ends
with it. The machine's own addresses are looked up anew for each.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from oriel.faults import Unavailable
from oriel.sandbox import netlink, network, subnet
from oriel.sandbox.subnet import AZURE, CONNECTIONS_MAX, DNS_PORT, NEVER, Names, Openings, Subnet

HOST = "127.0.0.1"
"""Where a sandbox's port is reached from this machine, and the only place of the machine's
loopback to which pasta leads."""
NETMASK = "255.255.255.252"
READY_TIMEOUT_S = 10.0
"""Some hundredths of a second are usual."""


@dataclass(frozen=True, slots=True)
class Tap:
    """One sandbox's network: what the fork server makes."""

    pasta: str
    nft: str
    host: str
    port: int | None
    """The port of the machine's loopback that leads to the same of the sandbox's."""
    out: tuple[int, ...]
    """Ports of the sandbox's loopback that lead to the same of the machine's."""
    address: str
    gateway: str
    netmask: str
    rules: str
    patience_s: float
    """How long pasta may take to be ready."""


class Taps:
    """What all sandboxes of a platform have in common."""

    def __init__(self, pasta: str, nft: str, openings: Openings, mine: Subnet, named: Names):
        """Made by `open_taps`."""
        self.names = named
        self._pasta = pasta
        self._nft = nft
        self._openings = openings
        self._subnet = mine

    @property
    def gateway(self) -> str:
        """The address that stands for everything outside."""
        return self._subnet.gateway

    def wires(self, port: int | None, reach: Iterable[int]) -> dict[str, Any]:
        """What the fork server makes for one, whose port is `port`."""
        out = {*reach, *((DNS_PORT,) if self.names.loopback else ())}
        tap = Tap(
            pasta=self._pasta,
            nft=self._nft,
            host=HOST,
            port=port,
            out=tuple(sorted(out)),
            address=self._subnet.address(2),
            gateway=self._subnet.gateway,
            netmask=NETMASK,
            rules=rules(self._subnet, self.names, own_addresses(), self._openings.doors),
            patience_s=READY_TIMEOUT_S,
        )
        return asdict(tap)


def open_taps(pasta: str, nft: str, openings: Openings) -> Taps:
    """The taps of this machine; raises Unavailable where names would not be found by them."""
    named = network.look_for_names(HOST)
    if named.loopback not in (None, HOST):
        raise Unavailable(
            f"this machine's name server is at {named.loopback}, and pasta leads to {HOST} alone"
        )
    asking = netlink.Netlink()
    try:
        mine = subnet.choose("taps", asking.routes(), ())
    finally:
        asking.close()
    if mine is None:
        raise Unavailable("every subnet that dynos could have is in use on this machine")
    return Taps(pasta, nft, openings, mine, named)


def own_addresses() -> list[str]:
    """This machine's own addresses, as networks."""
    asking = netlink.Netlink()
    try:
        return [f"{address}/{length}" for address, length in asking.own()]
    finally:
        asking.close()


def rules(mine: Subnet, named: Names, own: Iterable[str], doors: Iterable[int] = ()) -> str:
    """What `nft -f -` is told inside a sandbox's namespace. Pure.

    `own` are the machine's own addresses: pasta connects from the machine, and so would reach
    whatever listens there.
    """
    here = _set(own)
    never = _set([*own, str(mine.network), *NEVER])
    lines = [
        "table inet oriel {",
        "  chain leaves {",
        "    type filter hook output priority filter; policy accept;",
        '    oifname "lo" accept',
        "    meta nfproto ipv6 jump refuse",
        "    ct state established,related accept",
        *[
            f"    ip daddr {server} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} accept"
            for server in named.local
        ],
        *[f"    ip daddr {here} tcp dport {door} accept" for door in doors],
        f"    ip daddr {never} jump refuse",
        f"    ip daddr {AZURE} th dport != {DNS_PORT} jump refuse",
        f"    ct state new ct count over {CONNECTIONS_MAX} jump refuse",
        "  }",
        "  chain refuse {",
        "    meta l4proto tcp reject with tcp reset",
        "    reject with icmpx admin-prohibited",
        "  }",
        "}",
        "",
    ]
    return "\n".join(lines)


def _set(networks: Iterable[str]) -> str:
    """nftables takes no set whose parts lie in one another."""
    found = ipaddress.collapse_addresses(ipaddress.IPv4Network(each, False) for each in networks)
    return f"{{ {', '.join(str(each) for each in found)} }}"
