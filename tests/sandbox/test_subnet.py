"""Subnets, name servers and rules, as values."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from oriel.sandbox.subnet import COUNT, LAST, Names, Openings, Subnet, choose, clashes, names, rules

SUBNET = Subnet(0x2A7)
GOLDEN = Path(__file__).parent / "golden"


def test_what_a_subnet_is_called() -> None:
    assert str(SUBNET.network) == "10.106.112.0/20"
    assert SUBNET.gateway == "10.106.112.1"
    assert SUBNET.address(LAST) == "10.106.127.254"
    assert SUBNET.device("10.106.127.254") == "or2a7-ffe"
    assert len(SUBNET.device(SUBNET.address(LAST))) <= 15
    assert SUBNET.table == "oriel_2a7"
    assert SUBNET.holds("10.106.112.9")
    assert not SUBNET.holds("10.106.128.1")
    assert not SUBNET.holds("127.0.0.1")
    assert not SUBNET.holds("localhost")


def test_all_subnets_lie_side_by_side() -> None:
    assert str(Subnet(0).network) == "10.64.0.0/20"
    assert str(Subnet(COUNT - 1).network) == "10.127.240.0/20"
    for number in (-1, COUNT):
        with pytest.raises(ValueError, match="no subnet"):
            Subnet(number)


def test_the_same_directory_gets_the_same_subnet_and_another_another() -> None:
    first = choose("/var/lib/oriel", [], [])
    assert first is not None
    assert choose("/var/lib/oriel", [], []) == first
    second = choose("/var/lib/oriel", [], [first.number])
    assert second is not None
    assert second.number == (first.number + 1) % COUNT
    third = choose("/var/lib/oriel", [(str(second.network[5]), 32)], [first.number])
    assert third is not None
    assert third.number == (first.number + 2) % COUNT


def test_a_machine_that_uses_all_of_them_has_none_left() -> None:
    assert choose("x", [("10.0.0.0", 8)], []) is None
    assert choose("x", [], range(COUNT)) is None


def test_clashes_with_a_route() -> None:
    assert clashes(SUBNET, [("10.106.0.0", 16)])
    assert clashes(SUBNET, [("10.106.120.7", 32)])
    assert not clashes(SUBNET, [("10.107.0.0", 16), ("192.168.0.0", 16)])


@pytest.mark.parametrize(
    ("resolv", "found"),
    [
        ("nameserver 192.0.2.53\n", Names("nameserver 192.0.2.53\n")),
        (
            "# by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.9\nsearch a b\noptions edns0\n",
            Names("nameserver 192.0.2.9\nsearch a b\noptions edns0\n"),
        ),
        (
            "nameserver 127.0.0.53\nnameserver ::1\n",
            Names("nameserver 10.106.112.1\n", loopback="127.0.0.53"),
        ),
        ("nameserver 192.0.2.2\n", Names("nameserver 192.0.2.2\n", local=("192.0.2.2",))),
        ("nameserver fd00::53\n", Names("", missing=True)),
        ("nameserver\nnameserver nonsense\n", Names("", missing=True)),
        ("", Names("", missing=True)),
    ],
)
def test_name_servers(resolv: str, found: Names) -> None:
    assert names(resolv, SUBNET.gateway, ["192.0.2.2", "127.0.0.1"]) == found


CASES = {
    "plain": rules(SUBNET, Names("nameserver 192.0.2.53\n"), whose="/var/lib/oriel"),
    "open": rules(
        SUBNET,
        Names("", local=("192.0.2.2",), loopback="127.0.0.53"),
        whose='/srv/"} flush ruleset {\n',
        openings=Openings(doors=(80, 443), visitors=(0, 110)),
        guard=True,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_rules_in_full(name: str) -> None:
    assert CASES[name] == (GOLDEN / f"{name}.nft").read_text()


@pytest.mark.real
@pytest.mark.parametrize("name", CASES)
def test_nftables_takes_them_twice(name: str) -> None:
    if os.getuid() != 0 or not shutil.which("nft", path="/usr/sbin:/sbin"):
        pytest.skip("only root, with nftables")
    twice = f'nft -f - <<"E" && nft -f - <<"E"\n{CASES[name]}E\n{CASES[name]}E\n'
    done = subprocess.run(["unshare", "-n", "sh", "-c", twice], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
