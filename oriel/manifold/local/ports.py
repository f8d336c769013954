"""Owns which port a web dyno gets: one of a range, that nobody listens on and no other has."""

from __future__ import annotations

import socket

from oriel.clock import pick_number
from oriel.faults import Unavailable

FIRST = 20_000
LAST = 29_999
TRIES = 200


class Ports:
    """The ports given to instances."""

    def __init__(self) -> None:
        """None is given yet."""
        self._given: dict[int, str] = {}

    def give(self, instance: str, *, shared: bool = True) -> int:
        """A free port for `instance`; raises Unavailable when none was found. Where the machine's
        network is not `shared`, no other program can have it.
        """
        for _ in range(TRIES):
            port = pick_number(FIRST, LAST)
            if port not in self._given and (not shared or _is_free(port)):
                self._given[port] = instance
                return port
        raise Unavailable(f"No free port from {FIRST} to {LAST} was found for a web dyno.")

    def keep(self, port: int, instance: str) -> None:
        """Remember the port of an instance that runs already."""
        self._given[port] = instance

    def take_back(self, instance: str) -> None:
        """The instance has no port any more."""
        self._given = {port: who for port, who in self._given.items() if who != instance}


def _is_free(port: int) -> bool:
    """Whether it can be bound at all addresses, of both families."""
    try:
        with socket.create_server(("", port)):
            pass
        if socket.has_dualstack_ipv6():
            with socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True):
                pass
    except OSError:
        return False
    return True
