"""Owns making a sandbox's network in the fork server: joined to the machine's by two devices where
we are root, by pasta where we are not.

Must not know sandboxes, and imports next to nothing: the fork server lives on it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from oriel.sandbox import linux, netlink
from oriel.sandbox.pasta import Pasta, ends_with_its_sandbox

_TRIAL_WIRES = {
    "device": "or-trial",
    "address": "10.64.0.2",
    "gateway": "10.64.0.1",
    "mtu": 1500,
    "to_loopback": False,
}


def make(wires: dict[str, Any]) -> int | None:
    """Go into a network namespace of our own, as `subnet.Wires` or `taps.Tap` says; the pid of
    what keeps it joined, if there is such. Raises OSError.
    """
    if "pasta" in wires:
        return _tap(wires).pid
    _join(wires)
    return None


def _join(wires: dict[str, Any]) -> None:
    """Go into a network namespace of our own, joined to the machine's by two devices.

    It belongs to the machine's root, not to the sandbox's: nobody inside can change an address or
    a route. It ends with its last process, and the devices with it.
    """
    outside = netlink.Netlink()
    linux.unshare(linux.CLONE_NEWNET)
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    gateway, address = wires["gateway"], wires["address"]
    outside.pair(wires["device"], "eth0", namespace, wires["mtu"])
    device = outside.index(wires["device"])
    outside.without_ipv6(device, to_loopback=wires["to_loopback"])
    outside.address(device, gateway, address)
    outside.up(device)
    outside.close()
    os.close(namespace)
    inside = netlink.Netlink()
    inside.up(inside.index("lo"))
    device = inside.index("eth0")
    inside.without_ipv6(device)
    inside.address(device, address, gateway)
    inside.up(device)
    inside.default_route(device, gateway)
    inside.close()


def _tap(tap: dict[str, Any]) -> Pasta:
    """Go into a user and a network namespace of our own, that pasta joins to the machine's."""
    pasta = Pasta(tap)
    linux.enter_user_namespace(linux.CLONE_NEWNET)
    pasta.join()
    return pasta


def _try_joining() -> None:
    linux.unshare(linux.CLONE_NEWNET)  # this stands for the machine
    _join(_TRIAL_WIRES)


def _try_pasta() -> None:
    tap = json.load(sys.stdin)
    ends_with_its_sandbox(lambda: _tap(tap))


TRIALS = {"network": _try_joining, "pasta": _try_pasta}
