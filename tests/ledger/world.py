"""A ledger to write in: one app on a database, a vault, and short ways to append to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from oriel.clock import new_id
from oriel.ledger import App, Draft, Release, Slug, State, acts, apps, drafts, releases
from oriel.ledger.vault import Vault
from oriel.ledger.verify import Report, verify
from oriel.lexicon import Actor
from oriel.store import Database

T = TypeVar("T")

NED = Actor("ned-id", "ned@foobazco.com", "api", "request-1")
START = datetime(2011, 6, 19, 8, 35, 18, 123456, tzinfo=UTC)
PROCFILE = {"web": "bundle exec thin start -p $PORT", "worker": "bundle exec rake jobs:work"}


def slug_of(app_id: str, commit: str) -> Slug:
    """A slug as a build of `commit` would give."""
    digest = hashlib.sha256(commit.encode()).hexdigest()
    return Slug(digest, app_id, commit, PROCFILE, 1234, "Python 3.11", "sha256:" + digest, START)


@dataclass
class Ledger:
    """One app's ledger."""

    database: Database
    vault: Vault = field(default_factory=lambda: Vault(bytes(range(32))))
    now: datetime = START

    def __post_init__(self) -> None:
        """Create the app, with its `Initial release`."""
        self.app: App = self.write(self.create)
        self.append(drafts.initial())

    def create(self, conn: Connection, name: str = "foobaz") -> App:
        """Another app."""
        return apps.create(
            conn, self.vault, name, "rick-id", "rick@foobazco.com", 200_000, None, START,
            new_id(), new_id(),
        )  # fmt: skip

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, a second later than the last."""
        self.now += timedelta(seconds=1)
        return self.database.write_now(work)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a snapshot."""
        return self.database.read_now(work)

    def append(self, draft: Draft, status: str = "succeeded") -> Release:
        """Append a release, with its act."""
        return self.write(lambda conn: self.append_in(conn, draft, status))

    def append_in(self, conn: Connection, draft: Draft, status: str = "succeeded") -> Release:
        """As `append`, in a transaction that is open already."""
        act = acts.append(conn, NED, self.app.id, draft.kind, {}, self.now)
        return releases.append(conn, self.vault, self.app, draft, NED, act, self.now, status)

    def settle(self, release: Release, status: str, reason: str = "") -> Release:
        """Settle a pending release."""
        return self.write(
            lambda conn: releases.settle(conn, release, status, reason, self.now, vault=self.vault)
        )

    def head_state(self) -> State:
        """What the head makes run."""
        head = self.head()
        return self.state(head) if head else drafts.NOTHING

    def state(self, release: Release) -> State:
        """What a release makes run."""
        return self.read(lambda conn: releases.state(conn, self.vault, self.app, release))

    def head(self) -> Release | None:
        """The app's head."""
        return self.read(lambda conn: releases.head(conn, self.app.id))

    def deploy(self, commit: str, status: str = "succeeded") -> Release:
        """Deploy a commit."""
        return self.append(drafts.deploy(self.head_state(), slug_of(self.app.id, commit)), status)

    def configure(self, **changes: str | None) -> Release:
        """Change config vars."""
        return self.append(drafts.configure(self.head_state(), changes))

    def roll_back(self, to: int | None = None) -> Release:
        """Roll back, to where a bare rollback goes or to a version."""
        target = self.read(
            lambda conn: (
                releases.rollback_target(conn, self.app.id)
                if to is None
                else releases.get(conn, self.app.id, to)
            )
        )
        return self.append(drafts.rollback(self.state(target), target.copy_of))

    def all(self) -> list[Release]:
        """Every release, oldest first."""
        return self.read(lambda conn: releases.newest(conn, self.app.id, 10_000))[::-1]

    def descriptions(self) -> list[str]:
        """`releases` as the user sees it, newest first."""
        return [f"v{each.version} {each.description}" for each in self.all()[::-1]]

    def verify(self, heads: dict[int, str] | None = None) -> Report:
        """Verify the app's releases."""
        return self.read(lambda conn: verify(conn, self.vault, self.app.id, heads or {}))
