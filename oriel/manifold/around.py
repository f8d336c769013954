"""Owns what every instance lives in: whom it asks, and whom it tells. Must not know any of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oriel.clock import Clock
from oriel.manifold.launcher import Launcher
from oriel.manifold.probe import Reaches
from oriel.store.database import Database

if TYPE_CHECKING:
    from oriel.manifold.life import Instance


@dataclass(frozen=True, slots=True)
class Around:
    """The same for all instances."""

    launcher: Launcher
    db: Database
    clock: Clock
    changed: Callable[[Instance], None]
    """Told each new state."""
    finished: Callable[[Instance], None]
    """Told the end, once, when it is recorded."""
    before_stop: Callable[[str], Awaitable[None]]
    """Awaited, with the app's id, before SIGTERM, but not for ever."""
    reaches: Reaches
