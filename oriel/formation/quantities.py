"""Owns what must start and stop so that an app runs as many dynos as it should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from oriel.lexicon import DynoName


@dataclass(frozen=True, slots=True)
class Orders:
    """The dynos to start, lowest numbers first, and those to stop, highest first."""

    start: tuple[DynoName, ...]
    stop: tuple[DynoName, ...]


def diff(desired: Mapping[str, int], running: Iterable[DynoName]) -> Orders:
    """What brings `running` to `desired`.

    Numbers begin at 1 and are filled from below: of `web.1` and `web.3`, with two wanted, `web.3`
    stops and `web.2` starts.
    """
    wanted = {
        DynoName(type_, number)
        for type_, quantity in desired.items()
        for number in range(1, quantity + 1)
    }
    there = set(running)
    return Orders(
        start=tuple(sorted(wanted - there)), stop=tuple(sorted(there - wanted, reverse=True))
    )


def describe(quantities: Mapping[str, int]) -> str:
    """The whole formation in the words of `Scale to web=2, worker=1`; web first."""
    types = sorted(quantities, key=lambda type_: (type_ != "web", type_))
    return ", ".join(f"{type_}={quantities[type_]}" for type_ in types)
