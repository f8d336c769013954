"""Owns the values: what should run of an app, and what a user sees of a dyno."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from oriel.lexicon import DynoName
from oriel.manifold.cause import Cause

BOOT_TIMEOUT_S = 60.0
"""How long a web dyno may take to bind its port (heroku-facts D3)."""

EXIT_TIMEOUT_S = 30.0
"""How long a dyno may take from SIGTERM to its end."""


@dataclass(frozen=True, slots=True)
class Check:
    """How a web dyno shows that it is up, and by when."""

    path: str = ""
    """What it must answer with 2xx or 3xx; empty: that its port accepts is enough."""
    host: str = ""
    """What it is told in the Host header."""
    boot_timeout_s: float = BOOT_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Process:
    """A process type: its command, how many dynos of it, of what size."""

    command: str
    quantity: int
    size: str = "standard-1x"


@dataclass(frozen=True, slots=True)
class Wish:
    """What should run of one app. The newest wish of an app is the one that counts."""

    app_id: str
    app: str
    channel: str
    uid: int
    release: int
    slug: Path | None
    env: Mapping[str, str]
    processes: Mapping[str, Process]
    check: Check = Check()
    cycles: bool = False
    """Whether each dyno is replaced once a day."""

    @property
    def quantities(self) -> dict[str, int]:
        """How many of each type; none without code."""
        if self.slug is None:
            return {}
        return {type_: process.quantity for type_, process in self.processes.items()}


@dataclass(frozen=True, slots=True)
class Once:
    """A one-off dyno that somebody wants: it runs once, beside the formation."""

    name: DynoName
    command: str
    size: str = "standard-1x"
    by: str = ""
    """Whose wish it is: an e-mail address."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Over the app's config."""
    attached: bool = False
    """Whether it waits for a client, whose its streams then are."""
    until: datetime | None = None
    """When it has lived long enough; None for a release command, whose caller waits."""


@dataclass(frozen=True, slots=True)
class Dyno:
    """One dyno as `ps` shows it: a name, and the instance that lives or last lived under it."""

    instance: str
    name: DynoName
    app_id: str
    command: str
    size: str
    state: str
    since: datetime
    release: int
    host: str
    port: int | None
    reason: str
    """Why it is in that state, in words; empty where there is nothing to say."""
    cause: Cause | None = None
    """The same as data, whether or not there is something to say."""
    serving: bool = True
    """False of a one-off, and of a web dyno that is started beside those that serve, until they are
    switched.
    """
    crashes: int = 0
    """In a row."""
    next_try_at: datetime | None = None
    """When a crashed one is started again."""

    @property
    def id(self) -> str:
        """The instance, as the API calls it."""
        return self.instance
