"""Which addresses may be dialled: a table."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel import faults
from oriel.egress.rules import Rules, is_dyno, is_own, literal

REFUSED = {
    "127.0.0.1": "loopback",
    "127.255.0.9": "loopback",
    "::1": "loopback",
    "0.0.0.0": "no address",
    "0.1.2.3": "no address",
    "::": "no address",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "224.0.0.1": "multicast",
    "255.255.255.255": "broadcast",
    "ff02::1": "multicast",
    "::ffff:8.8.8.8": "disguise",
    "::ffff:127.0.0.1": "disguise",
    "::127.0.0.1": "disguise",
    "64:ff9b::7f00:1": "disguise",
    "2002:7f00:1::": "disguise",
    "2001:0:1::1": "disguise",
    "100.100.100.200": "metadata",
    "fd00:ec2::254": "metadata",
}


def nobodys(address: object) -> bool:
    return False


@pytest.mark.parametrize(("address", "why"), REFUSED.items())
def test_what_is_refused(address: str, why: str) -> None:
    assert why in Rules(own=nobodys).why_not(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "10.0.0.5", "192.168.1.2", "2606:4700::1111"])
def test_what_may_be_dialled(address: str) -> None:
    assert Rules(own=nobodys).why_not(ipaddress.ip_address(address)) == ""


def test_an_operator_may_allow_a_network_and_no_more() -> None:
    rules = Rules.parse(["127.0.0.0/30", "10.0.0.7"])
    assert rules.why_not(ipaddress.ip_address("127.0.0.1")) == ""
    assert rules.why_not(ipaddress.ip_address("127.0.0.9")) != ""
    assert rules.why_not(ipaddress.ip_address("::ffff:127.0.0.1")) != ""
    with pytest.raises(faults.Invalid, match="not a network"):
        Rules.parse(["everything"])


def test_the_machines_own_addresses_are_found() -> None:
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    assert not is_own(ipaddress.ip_address("192.0.2.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = ipaddress.ip_address(probe.getsockname()[0])
    if not own.is_loopback:
        assert "own address" in Rules().why_not(own)


def test_a_dyno_of_this_machine_is_refused(tmp_path: Path) -> None:
    """The platform reaches every dyno; a drain of one app must not lead into another's."""
    routes = tmp_path / "route"
    routes.write_text(
        "Iface\tDestination\tGateway\tFlags\n"
        "eth0\t00000000\t010200C0\t0003\n"
        "or0ed-002\t02D04E0A\t00000000\t0005\n"
        "eth1\t03D04E0A\t00000000\t0005\n"
    )
    dyno, beside = ipaddress.ip_address("10.78.208.2"), ipaddress.ip_address("10.78.208.3")
    assert is_dyno(dyno, routes)
    assert not is_dyno(beside, routes)
    assert not is_dyno(ipaddress.ip_address("2606:4700::1111"), routes)
    assert not is_dyno(dyno, tmp_path / "none")
    rules = Rules(own=nobodys, dyno=lambda address: is_dyno(address, routes))
    assert rules.why_not(dyno) == "a dyno's address"
    assert rules.why_not(beside) == ""


@given(st.integers(0, 2**128 - 1))
def test_no_address_breaks_the_rules(number: int) -> None:
    Rules(own=nobodys).why_not(ipaddress.IPv6Address(number))
    address = ipaddress.IPv4Address(number % 2**32)
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert Rules(own=nobodys).why_not(mapped) != ""


def test_literals() -> None:
    assert literal("[::1]") == ipaddress.ip_address("::1")
    assert literal("example.com") is None
    assert literal("0x7f000001") is None  # It is resolved, and judged as what it resolves to.
