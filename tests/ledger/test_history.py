"""Any history of an app keeps the ledger's laws: a stateful test against a plain model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oriel.clock import SystemClock
from oriel.faults import Invalid, ReleasePending
from oriel.ledger import Release
from oriel.store import Database
from tests.ledger.world import Ledger
from tests.postgres import give_back, new_url

KEYS = strategies.sampled_from(["A", "B", "C"])


class History(RuleBasedStateMachine):
    """Deploys, config, rollbacks and releases that fail, in any order."""

    kind = "sqlite"

    def __init__(self) -> None:
        """A new app beside a model of it: what every release runs, as plain values."""
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="oriel-history-"))
        self.url = new_url(self.kind, self.directory)
        self.database = Database.open(self.url, SystemClock())
        self.ledger = Ledger(self.database)
        self.rows = self.ledger.all()
        self.states: list[Any] = [("", {})]
        self.origins = [1]
        self.pending: Release | None = None

    def teardown(self) -> None:
        """Close and clean up."""
        self.database.close()
        give_back(self.url)
        shutil.rmtree(self.directory)

    def _head(self) -> int | None:
        """The model's head, as an index."""
        fit = [n for n, row in enumerate(self.rows) if row.status == "succeeded"]
        return fit[-1] if fit else None

    def _appended(self, made: Release, state: Any, origin: int | None = None) -> None:
        self.rows.append(made)
        self.states.append(state)
        self.origins.append(origin or made.version)

    def _state(self) -> Any:
        return self.states[self._head()]

    @precondition(lambda self: self.pending is None)
    @rule(commit=strategies.sampled_from(["aaa", "bbb", "ccc"]), pending=strategies.booleans())
    def deploy(self, commit: str, pending: bool) -> None:
        """A push, with or without a release phase."""
        made = self.ledger.deploy(commit, "pending" if pending else "succeeded")
        self._appended(made, (commit, self._state()[1]))
        self.pending = made if pending else None

    @precondition(lambda self: self.pending is None)
    @rule(key=KEYS, value=strategies.sampled_from(["1", "2"]))
    def configure(self, key: str, value: str) -> None:
        """Set a config var."""
        commit, config = self._state()
        self._appended(self.ledger.configure(**{key: value}), (commit, {**config, key: value}))

    @precondition(lambda self: self.pending is None)
    @rule()
    def roll_back(self) -> None:
        """A bare rollback, as the model says where it must go."""
        head = self._head()
        fit = [
            n
            for n in range(self.origins[head] - 1)
            if self.rows[n].status == "succeeded"
            and self.states[n] != self.states[head]
            and (self.states[n][0] or not self.states[head][0])
        ]
        if not fit:
            with pytest.raises(Invalid):
                self.ledger.roll_back()
            return
        made = self.ledger.roll_back()
        assert made.description == f"Rollback to v{fit[-1] + 1}"
        self._appended(made, self.states[fit[-1]], self.origins[fit[-1]])
        assert made.copy_of == self.origins[fit[-1]]

    @precondition(lambda self: self.pending is not None)
    @rule(status=strategies.sampled_from(["succeeded", "failed"]))
    def settle(self, status: str) -> None:
        """The release phase ends."""
        assert self.pending is not None
        self.rows[-1] = self.ledger.settle(self.pending, status, "why")
        self.pending = None

    @precondition(lambda self: self.pending is not None)
    @rule()
    def another_change_must_wait(self) -> None:
        """Nothing is appended while a release is pending."""
        with pytest.raises(ReleasePending):
            self.ledger.configure(A="9")

    @rule()
    def reopen(self) -> None:
        """Stop and start the platform."""
        self.database.close()
        self.database = self.ledger.database = Database.open(self.url, SystemClock())

    @invariant()
    def what_was_appended_stays(self) -> None:
        """Append-only: every row reads as it did when it was made."""
        assert self.ledger.all() == self.rows

    @invariant()
    def the_head_is_the_newest_that_succeeded(self) -> None:
        """And it runs what the model says."""
        head = self.ledger.head()
        assert head == self.rows[self._head()]
        state = self.ledger.state(head)
        assert (state.commit, state.config) == self._state()

    @invariant()
    def it_verifies(self) -> None:
        """The chain holds, and the channel's heads agree."""
        report = self.ledger.verify({row.version: row.short for row in self.rows})
        assert report.problems == ()

    @invariant()
    def equal_states_and_only_those_look_equal(self) -> None:
        """The keyed digest is as good as opening the config."""
        for row, state in zip(self.rows, self.states, strict=True):
            same = row.state == self.rows[-1].state
            assert same == (state == self.states[-1])


class HistoryOnPostgres(History):
    """The same on PostgreSQL."""

    kind = "postgresql"


BOUNDED = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

TestHistory = History.TestCase
TestHistory.settings = BOUNDED

TestHistoryOnPostgres = pytest.mark.real(HistoryOnPostgres.TestCase)
TestHistoryOnPostgres.settings = settings(BOUNDED, max_examples=3)
