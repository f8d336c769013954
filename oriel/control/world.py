"""Owns what a verb is given: the rooms, put together by `house`, and the platform's settings.

Must not know how a room is made or in which order they start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.authority import Authority
from oriel.builder import Builder, Repositories
from oriel.clock import Clock
from oriel.control.overflow import Overflow
from oriel.control.pages import Pages
from oriel.control.sessions import Sessions
from oriel.ledger import Vault
from oriel.lexicon import Address
from oriel.logplex.client import Logplex
from oriel.manifold import Conductor
from oriel.people.throttle import Throttle
from oriel.rendezvous import Rendezvous
from oriel.router import Router
from oriel.store.database import Database

CHANGE_WAIT_S = 30.0
"""How long a change of an app waits for the one before it (design: A release's way)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `oriel up` was started with."""

    data: Path
    api: Address
    web: Address
    domain: str | None = None
    tls: bool = False
    web_tls: Address | None = None
    """Where apps answer with TLS; None: nowhere."""
    acme_directory: str = ""
    """The certificate authority that automatic certificates come from."""
    acme_ca: str | None = None
    """A file of roots by which that authority itself is known, instead of the usual ones."""
    uid_base: int | None = None
    """The first uid of apps, where Oriel runs as root; None: all run as Oriel's own uid."""

    @property
    def api_url(self) -> str:
        """Where users reach the API and git."""
        scheme = "https" if self.tls else "http"
        if self.api.is_wildcard:
            return f"{scheme}://{self.domain or 'localhost'}:{self.api.port}"
        return f"{scheme}://{self.api}"

    def git_url(self, app: str) -> str:
        """The remote that deploys `app`."""
        return f"{self.api_url}/{app}.git"

    def app_host(self, app: str) -> str:
        """The hostname at which `app` answers."""
        return f"{app}.{self.domain or 'localhost'}"

    def app_url(self, app: str) -> str:
        """Where `app` answers; the port is left out where browsers need none."""
        port = "" if self.web.port == 80 else f":{self.web.port}"
        return f"http://{self.app_host(app)}{port}"

    @property
    def known_hosts(self) -> frozenset[str]:
        """The names in a Host header that the API answers to (DNS rebinding)."""
        names = {"localhost", "127.0.0.1", "::1"}
        if not self.api.is_wildcard:
            names.add(self.api.host)
        if self.domain:
            names |= {self.domain, f"api.{self.domain}", f"oriel.{self.domain}"}
        return frozenset(names)


class Gates:
    """One turn at a time for each app, with a bounded wait."""

    def __init__(self) -> None:
        """No gate is closed."""
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def change(self, app_id: str, app: str) -> AsyncIterator[None]:
        """Hold the app still while its ledger grows; ReleasePending after CHANGE_WAIT_S."""
        late = faults.ReleasePending(
            f"Another change of {app} is under way, and did not end in {CHANGE_WAIT_S:.0f} s.",
            hint=f"See what it is with: oriel releases -a {app}. Then try again.",
            app=app,
        )
        async with self._turn(app_id, CHANGE_WAIT_S, late):
            yield

    def is_closed(self, app_id: str) -> bool:
        """Whether a change of the app is under way."""
        return app_id in self._locks and self._locks[app_id].locked()

    @asynccontextmanager
    async def wish(self, app_id: str) -> AsyncIterator[None]:
        """Let nobody else read the app's ledger for a wish until this one is told."""
        late = faults.Unavailable(f"The app's dynos could not be told for {CHANGE_WAIT_S:.0f} s.")
        async with self._turn(f"wish {app_id}", CHANGE_WAIT_S, late):
            yield

    @asynccontextmanager
    async def _turn(self, key: str, wait_s: float, late: faults.Fault) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            try:
                async with asyncio.timeout(wait_s):
                    await lock.acquire()
            except TimeoutError:
                raise late from None
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]


async def _at_once() -> None:
    """Nothing is waited for where there is no router."""


@dataclass(slots=True)
class World:
    """The rooms that verbs work with. Made once, by `house`; tests make their own."""

    settings: Settings
    db: Database
    clock: Clock
    vault: Vault
    logplex: Logplex
    conductor: Conductor
    router: Router
    repositories: Repositories
    builder: Builder
    throttle: Throttle
    reroute: Callable[[], None]
    """Says that routes may have changed; cheap, and merged."""
    routed: Callable[[], Awaitable[None]] = _at_once
    """Comes back when the router has been told of everything until now."""
    order_certificates: Callable[[], None] = lambda: None
    """Says that an automatic certificate may be due; cheap."""
    own_certificate: Callable[[], str] | None = None
    """Key and certificate (PEM) by Oriel's own authority, for hosts that have no other."""
    idling_changed: Callable[[], None] = lambda: None
    """Says that an app may go idle, or may not any more."""
    overflow: Overflow | None = None
    """Where dynos run on this machine: what becomes of output that nobody takes."""
    rendezvous: Rendezvous | None = None
    """Where clients meet their processes."""
    authority: Authority | None = None
    """Whose certificate that place has."""
    sessions: Sessions = field(default_factory=Sessions)
    pages: Pages | None = None
    """Apps' own pages for errors and maintenance."""
    gates: Gates = field(default_factory=Gates)
    background: set[asyncio.Task[Any]] = field(default_factory=set)
    """Changes that go on though nobody waits for them any more."""
    hashes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """scrypt takes 32 MB and a core for a moment: two at a time, whoever knocks."""

    def meetings(self) -> Rendezvous:
        """The rendezvous; Unavailable where there is none."""
        if self.rendezvous is None:
            raise faults.Unavailable("This platform has no rendezvous: no client can be attached.")
        return self.rendezvous
