"""What pasta and the wall around an ordinary user's sandbox are told."""

from __future__ import annotations

import json

import pytest

from oriel.sandbox import taps
from oriel.sandbox.pasta import arguments
from oriel.sandbox.subnet import Names, Openings, Subnet

SUBNET = Subnet(7)
HERE = ["127.0.0.0/8", "127.0.0.1/32", "192.0.2.2/32"]


def test_the_wall() -> None:
    text = taps.rules(SUBNET, Names("", local=("192.0.2.2",)), HERE, (80, 5050))
    lines = [line.strip() for line in text.splitlines()]
    never = (
        "10.64.112.0/20, 100.100.100.200/32, 127.0.0.0/8, 169.254.0.0/16, 192.0.0.192/32, "
        "192.0.2.2/32, 224.0.0.0/3"
    )
    assert lines[3:12] == [
        'oifname "lo" accept',
        "meta nfproto ipv6 jump refuse",
        "ct state established,related accept",
        "ip daddr 192.0.2.2 meta l4proto { tcp, udp } th dport 53 accept",
        "ip daddr { 127.0.0.0/8, 192.0.2.2/32 } tcp dport 80 accept",
        "ip daddr { 127.0.0.0/8, 192.0.2.2/32 } tcp dport 5050 accept",
        f"ip daddr {{ {never} }} jump refuse",
        "ip daddr 168.63.129.16 th dport != 53 jump refuse",
        "ct state new ct count over 4000 jump refuse",
    ]


@pytest.mark.parametrize(
    ("port", "reach", "names", "ports"),
    [
        (20_007, (), Names(""), ("127.0.0.1/20007", "none", "none")),
        (None, (3141, 3128), Names(""), ("none", "3128,3141", "none")),
        (None, (), Names("", loopback="127.0.0.1"), ("none", "53", "53")),
    ],
)
def test_what_pasta_opens(
    port: int | None, reach: tuple[int, ...], names: Names, ports: tuple[str, str, str]
) -> None:
    made = taps.Taps("/usr/bin/pasta", "/usr/sbin/nft", Openings(), SUBNET, names)
    words = arguments(json.loads(json.dumps(made.wires(port, reach))), 4711)
    options = dict(zip(words, words[1:], strict=False))
    assert tuple(options[f"--{each}"] for each in ("tcp-ports", "tcp-ns", "udp-ns")) == ports
    assert options["--udp-ports"] == "none"
    assert {"--no-map-gw", "--ipv4-only", "--foreground"} <= set(words)
    assert words[-1] == "4711"
