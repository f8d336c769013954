"""Owns all ways in of one logplex: opening them in order, closing them, and their counts."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from oriel import faults
from oriel.clock import Clock
from oriel.logplex.inlets.bounds import Bounds
from oriel.logplex.inlets.packets import Packets
from oriel.logplex.inlets.places import Place
from oriel.logplex.inlets.posts import Posts
from oriel.logplex.inlets.sorting import Sorter
from oriel.logplex.inlets.streams import Held, Streams
from oriel.logplex.limits import Limits
from oriel.logplex.pace import Pace
from oriel.logplex.shelf import Shelf
from oriel.logplex.tokens import Tokens

Door = Streams | Packets | Posts


class Doors:
    """The ways in that were asked for."""

    def __init__(
        self,
        places: Sequence[Place],
        *,
        shelf: Shelf,
        tokens: Tokens,
        clock: Clock,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """`tls` is for the places of kind `syslog-tls`."""
        self._places = places
        self._shelf, self._tokens, self._clock, self._tls = shelf, tokens, clock, tls
        self._bounds = bounds or Bounds()
        self._doors: list[tuple[Place, Door]] = []
        self._pace = Pace(limits)

    async def start(self) -> None:
        """Listen. Raises OSError or Invalid; what was opened before that is closed by `close`."""
        sorter = Sorter(self._shelf, self._tokens, self._bounds, self._clock, self._pace)
        held = Held(self._bounds.held_bytes)
        for place in self._places:
            bound = None
            if place.channel:
                self._shelf.channel(place.channel)
                bound = self._tokens.named(place.channel, place.name)
            if place.kind == "syslog-tls" and self._tls is None:
                raise faults.Invalid("TLS needs --tls-cert and --tls-key.")
            sock = place.socket()
            made: Door
            if place.kind == "http":
                made = Posts(sock, sorter=sorter, tokens=self._tokens, bounds=self._bounds)
            elif place.kind in ("syslog-udp", "unix-dgram"):
                made = Packets(sock, sorter=sorter, held=held, bounds=self._bounds, bound=bound)
            else:
                made = Streams(
                    sock,
                    sorter=sorter,
                    held=held,
                    bounds=self._bounds,
                    clock=self._clock,
                    bound=bound,
                    tls=self._tls if place.kind == "syslog-tls" else None,
                )
            self._doors.append((place, made))
            if isinstance(made, Posts):
                await made.start()
            else:
                made.start()

    async def close(self) -> None:
        """Take in what has arrived, and close them all."""
        for place, door in reversed(self._doors):
            await door.close()
            if place.path:
                with contextlib.suppress(OSError):
                    place.path.unlink()
        self._doors.clear()
        self._pace.close()

    def status(self) -> list[dict[str, Any]]:
        """Each way in: where it is, and what became of what came."""
        return [
            {
                "kind": place.kind,
                "address": str(place),
                "port": _port(door),
                "source": f"{place.channel}/{place.name}" if place.channel else "",
                **asdict(door.counts),
            }
            for place, door in self._doors
        ]


def _port(door: Door) -> int:
    name = door.socket.getsockname() if door.socket.fileno() >= 0 else ()
    return int(name[1]) if isinstance(name, tuple) and len(name) > 1 else 0
