"""Owns a platform's part of the machine's network, as values: which addresses, which names of
devices, which rules of the firewall. Pure: reads no machine.

A subnet is a number from 0 to 1023, alone on its machine; everything that is made in the kernel
carries it, so that one can tell whose it is. Each sandbox has a device `orNNN-HHH` outside, joined
to its own `eth0`, and no bridge lies between them: the kernel routes, and the rules decide.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

POOL = ipaddress.IPv4Network("10.64.0.0/10")
"""Private, so that web frameworks take the router for a proxy of their own, as at Heroku."""
PREFIX = 20
COUNT = 2 ** (PREFIX - POOL.prefixlen)
FIRST, LAST = 2, 4094
"""The sandboxes' places; 1 is the gateway's."""

NEVER = ("169.254.0.0/16", "100.100.100.200", "192.0.0.192", "224.0.0.0/4", "240.0.0.0/4")
"""Where clouds keep their machines' secrets, and where nothing of an app's can be."""
AZURE = "168.63.129.16"
"""Metadata too, but also the name server of machines there."""
CONNECTIONS_MAX = 4000
"""Of one sandbox at once: the kernel's table of connections is everybody's."""
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Subnet:
    """The addresses and names of one platform on this machine."""

    number: int

    def __post_init__(self) -> None:
        """Refuse what is none."""
        if not 0 <= self.number < COUNT:
            raise ValueError(f"there is no subnet {self.number}")

    @property
    def network(self) -> ipaddress.IPv4Network:
        """All of its addresses."""
        return _of_number(self.number)

    @property
    def gateway(self) -> str:
        """This machine, as its sandboxes see it."""
        return self.address(1)

    @property
    def devices(self) -> str:
        """What the names of its devices begin with."""
        return f"or{self.number:03x}-"

    @property
    def table(self) -> str:
        """Its table in the firewall."""
        return f"oriel_{self.number:03x}"

    def address(self, place: int) -> str:
        """The address of a place from FIRST to LAST."""
        return str(self.network.network_address + place)

    def device(self, address: str) -> str:
        """The device that leads to an address."""
        place = int(ipaddress.IPv4Address(address)) - int(self.network.network_address)
        return f"{self.devices}{place:03x}"

    def holds(self, address: str) -> bool:
        """Whether an address is one of its."""
        try:
            return ipaddress.ip_address(address) in self.network
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Wires:
    """One sandbox's network: what the fork server makes."""

    device: str
    address: str
    gateway: str
    mtu: int
    to_loopback: bool
    """Whether the machine's name server is on its loopback, and is to be reached."""


@dataclass(frozen=True, slots=True)
class Names:
    """How a sandbox finds names."""

    text: str
    """Its resolv.conf."""
    local: tuple[str, ...] = ()
    """Name servers that are this machine, at addresses that others can reach."""
    loopback: str | None = None
    """One on this machine's loopback, which sandboxes reach through the gateway."""
    missing: bool = False
    """No name server can be reached."""


@dataclass(frozen=True, slots=True)
class Openings:
    """Where the walls around sandboxes have doors."""

    doors: tuple[int, ...] = ()
    """Ports of this machine to which everybody may come, sandboxes too: the router's."""
    visitors: tuple[int, ...] = ()
    """Users of this machine who may come to sandboxes, beside root: the router's."""


CLOSED = Openings()


def choose(seed: str, routes: Iterable[tuple[str, int]], taken: Iterable[int]) -> Subnet | None:
    """A subnet that touches no route and that nobody has; the same one for the same seed if it
    can be. None: all are in use.
    """
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    others = [_network(address, length) for address, length in routes]
    used = set(taken)
    for step in range(COUNT):
        subnet = Subnet((start + step) % COUNT)
        if subnet.number not in used and not any(subnet.network.overlaps(o) for o in others):
            return subnet
    return None


def clashes(subnet: Subnet, routes: Iterable[tuple[str, int]]) -> bool:
    """Whether a route of the machine leads into it."""
    return any(subnet.network.overlaps(_network(*route)) for route in routes)


@functools.lru_cache(maxsize=4)
def _of_number(number: int) -> ipaddress.IPv4Network:
    first = int(POOL.network_address) + (number << (32 - PREFIX))
    return ipaddress.IPv4Network((first, PREFIX))


def _network(address: str, length: int) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network((address, length), strict=False)


def names(resolv: str, gateway: str, own: Iterable[str]) -> Names:
    """A sandbox's resolv.conf from the machine's. `own` are the machine's own addresses.

    Sandboxes have no IPv6, so name servers that have nothing else are left out.
    """
    servers: list[str] = []
    others: list[str] = []
    for line in resolv.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            servers.append(words[1])
        elif words and words[0] in ("search", "domain", "options"):
            others.append(line.strip())
    reached = [each for each in servers if _is_ipv4(each)]
    loopback = next((each for each in reached if each.startswith("127.")), None)
    reached = [each for each in reached if not each.startswith("127.")]
    mine = set(own)
    shown = reached or ([gateway] if loopback else [])
    lines = [*(f"nameserver {each}" for each in shown), *others]
    return Names(
        text="".join(f"{line}\n" for line in lines),
        local=tuple(each for each in reached if each in mine),
        loopback=None if reached else loopback,
        missing=not shown,
    )


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def rules(
    subnet: Subnet, named: Names, *, whose: str, openings: Openings = CLOSED, guard: bool = False
) -> str:
    """What `nft -f -` is told. It replaces the table as a whole or not at all.

    `guard`: forwarding was switched on for sandboxes alone, so nothing else is forwarded.
    """
    visitors = ", ".join(str(uid) for uid in sorted({0, *openings.visitors}))
    mine, table = f'"{subnet.devices}*"', f"inet {subnet.table}"
    return "\n".join(
        [
            f"table {table} {{}}",
            f"delete table {table}",
            f"table {table} {{",
            f'  comment "{_quoted(whose)}"',
            "  set crowds {",
            f"    type ipv4_addr; size {LAST + 1}; flags dynamic;",
            "  }",
            # Before a connection is looked up: what a sandbox could only have forged.
            "  chain forged {",
            "    type filter hook prerouting priority raw; policy accept;",
            f"    iifname {mine} meta nfproto ipv6 drop",
            f"    iifname {mine} ip daddr 127.0.0.0/8 drop",
            f"    iifname {mine} ip saddr != {subnet.network} drop",
            f"    iifname {mine} fib saddr . iif oif missing drop",
            "  }",
            *_to_host(subnet, named, mine, openings.doors),
            *_abroad(subnet, mine, guard=guard),
            # From this machine: control, who is root, the router, and nobody else.
            "  chain visits {",
            "    type filter hook output priority filter - 10; policy accept;",
            f"    ip daddr {subnet.network} ip daddr != {subnet.gateway} jump visit",
            "  }",
            "  chain visit {",
            "    ct state established,related accept",
            f"    oifname != {mine} jump refuse",
            f"    meta skuid != {{ {visitors} }} jump refuse",
            "  }",
            "  chain masks {",
            "    type nat hook postrouting priority srcnat; policy accept;",
            f"    ip saddr {subnet.network} oifname != {mine} masquerade",
            "  }",
            "  chain refuse {",
            "    meta l4proto tcp reject with tcp reset",
            "    reject with icmpx admin-prohibited",
            "  }",
            "}",
            "",
        ]
    )


def _to_host(subnet: Subnet, named: Names, mine: str, doors: tuple[int, ...]) -> list[str]:
    allowed = [f"    tcp dport {port} accept" for port in doors]
    for server in named.local:
        allowed.append(f"    ip daddr {server} meta l4proto {{ tcp, udp }} th dport 53 accept")
    lines = [
        "  chain arrivals {",
        "    type filter hook input priority filter - 10; policy accept;",
        f"    iifname {mine} jump arrival",
        "  }",
        "  chain arrival {",
        "    ct state established,related accept",
        *(["    ct status dnat accept"] if named.loopback else []),
        *allowed,
        "    jump refuse",
        "  }",
    ]
    if named.loopback:
        dns = f"ip daddr {subnet.gateway} meta l4proto {{ tcp, udp }} th dport {DNS_PORT}"
        lines += [
            "  chain resolvers {",
            "    type nat hook prerouting priority dstnat; policy accept;",
            f"    iifname {mine} {dns} dnat ip to {named.loopback}",
            "  }",
            # A name server on loopback answers loopback alone.
            "  chain askers {",
            "    type nat hook input priority 100; policy accept;",
            f"    iifname {mine} ct status dnat snat ip to 127.0.0.1",
            "  }",
        ]
    return lines


def _abroad(subnet: Subnet, mine: str, *, guard: bool) -> list[str]:
    return [
        "  chain journeys {",
        "    type filter hook forward priority filter - 10; policy accept;",
        f"    iifname {mine} jump journey",
        f"    oifname {mine} ct state established,related accept",
        f"    oifname {mine} jump refuse",
        *(['    iifname != "or*" ct state new drop'] if guard else []),
        "  }",
        "  chain journey {",
        "    ct state established,related accept",
        f"    oifname {mine} jump refuse",
        f"    ip daddr {{ {subnet.network}, {', '.join(NEVER)} }} jump refuse",
        f"    ip daddr {AZURE} th dport != 53 jump refuse",
        f"    ct state new add @crowds {{ ip saddr ct count over {CONNECTIONS_MAX} }} jump refuse",
        "    accept",
        "  }",
    ]


def _quoted(text: str) -> str:
    """A table's comment: at most 128 bytes, and nothing that ends it."""
    return "".join(each for each in text if each.isprintable() and each not in '"\\')[-100:]
