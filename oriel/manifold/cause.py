"""Owns why a dyno is in its state: a value in the record, and the words that people see of it.

Pure. Must not know states, log lines or SQL. If you add a kind, add its words here and to the
table in docs/logs.md.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal, get_args

from oriel.sandbox.confinement import Exit

Kind = Literal[
    # Why it was begun.
    "deployed",
    "scaled_up",
    "retried",
    "woken",
    "recovered",
    "asked",
    # Why it is up.
    "ready",
    "awaiting",
    "attached",
    # How it ended by itself.
    "exited",
    "signalled",
    "out_of_memory",
    "lost",
    "not_launched",
    # Why the platform ended it.
    "boot_timeout",
    "exit_timeout",
    "memory_quota",
    "too_long",
    "expired",
    "no_client",
    "hung_up",
    "not_detached",
    "interrupted",
    # Why it was to go; of these `restarted` and `cycled` also tell why its successor was begun.
    "stopped",
    "restarted",
    "new_release",
    "changed",
    "scaled",
    "cycled",
    "idled",
    "not_healthy",
    "destroyed",
    # Many ends in one entry.
    "crash_loop",
    # What an older version wrote down in words alone.
    "noted",
]

KINDS: frozenset[str] = frozenset(get_args(Kind))
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cause:
    """Why. Of the fields only those that the kind speaks of are set."""

    kind: Kind
    by: str = ""
    """Whose wish it was: an e-mail address."""
    release: int | None = None
    """The release that began it, or that takes its place."""
    status: int | None = None
    """The exit status, of every end of which it is known."""
    signal: int | None = None
    timeout_s: float | None = None
    memory_bytes: int | None = None
    quota_bytes: int | None = None
    why: str = ""
    """In words, where nothing else says it."""
    first: Cause | None = None
    """What came before: an exit time-out has the reason of the stop."""
    count: int | None = None
    """How many crashes a summary stands for."""
    since: str = ""
    """When the first of these came, ISO 8601."""
    statuses: Mapping[str, int] | None = None
    """How many of them ended with which status; `lost` is one that is not known."""

    @classmethod
    def of_exit(cls, exit_: Exit) -> Cause:
        """How a dyno ended that nobody had asked to."""
        if exit_.out_of_memory:
            return cls("out_of_memory", status=exit_.code, signal=exit_.signal)
        if exit_.code is None:
            return cls("lost")
        if exit_.signal in set(signal.Signals):
            return cls("signalled", status=exit_.code, signal=exit_.signal)
        return cls("exited", status=exit_.code)

    def ended(self, exit_: Exit) -> Cause:
        """The same, with how it ended in the end."""
        return replace(self, status=exit_.code, signal=exit_.signal)

    @property
    def root(self) -> Cause:
        """What all the rest followed from."""
        return self.first.root if self.first else self

    @property
    def words(self) -> str:
        """As `ps` shows it."""
        return _WORDS[self.kind](self)

    def kept(self) -> dict[str, Any]:
        """As JSON for the record: what is set."""
        # Not `asdict`, which copies deeply: `ps` asks each dyno for this.
        values = zip(self.__slots__, _values(self), strict=True)
        fields = {key: value for key, value in values if value is not None and value != ""}
        if self.first:
            fields["first"] = self.first.kept()
        if self.statuses is not None:
            fields["statuses"] = dict(self.statuses)
        return fields

    @classmethod
    def from_kept(cls, kept: Any, words: str = "") -> Cause:
        """The same from the record; of what an older or newer version wrote, its words."""
        if not isinstance(kept, Mapping) or kept.get("kind") not in KINDS:
            stopped = "stopped by "
            if words.startswith(stopped):
                return cls("stopped", by=words.removeprefix(stopped))
            return cls("noted", why=words)
        fields = {key: kept[key] for key in cls.__slots__ if key in kept}
        if "first" in fields:
            fields["first"] = cls.from_kept(fields["first"])
        return cls(**fields)


_values = attrgetter(*Cause.__slots__)


def _status(cause: Cause) -> str:
    if cause.signal in set(signal.Signals):
        return f"exited with status {cause.status} ({signal.Signals(cause.signal).name})"
    return f"exited with status {cause.status}"


def _mebibytes(size: int | None) -> str:
    return f"{(size or 0) // MEBIBYTE}M"


def _boot_timeout(cause: Cause) -> str:
    what = f"answer GET {cause.why} well" if cause.why else "bind to its port"
    return f"did not {what} within {cause.timeout_s:.0f} s (R10)"


def _exit_timeout(cause: Cause) -> str:
    first = f"{cause.first.words}; " if cause.first else ""
    return f"{first}killed {cause.timeout_s:.0f} s after SIGTERM (R12)"


def _not_detached(cause: Cause) -> str:
    first = f"{cause.first.words}; " if cause.first else ""
    return f"{first}killed, since it did not end on SIGHUP (R16)"


def _crash_loop(cause: Cause) -> str:
    last = f", last: {cause.first.words}" if cause.first else ""
    return f"crashed {cause.count} times since {cause.since}{last}"


_WORDS: Mapping[Kind, Callable[[Cause], str]] = {
    "deployed": lambda c: f"begun with v{c.release}",
    "scaled_up": lambda c: f"scaled up by {c.by}",
    "retried": lambda c: "begun again after a crash",
    "woken": lambda c: "woken",
    "recovered": lambda c: "should run and did not",
    "asked": lambda c: "a one-off",
    "ready": lambda c: "",
    "awaiting": lambda c: "awaiting its client",
    "attached": lambda c: "its client has come",
    "exited": _status,
    "signalled": _status,
    "out_of_memory": lambda c: f"ran out of memory (R15), {_status(c)}",
    "lost": lambda c: "ended, with a status that is not known",
    "not_launched": lambda c: f"could not be launched: {c.why}",
    "boot_timeout": _boot_timeout,
    "exit_timeout": _exit_timeout,
    "memory_quota": lambda c: (
        f"used {_mebibytes(c.memory_bytes)} of {_mebibytes(c.quota_bytes)} memory (R15)"
    ),
    "too_long": lambda c: f"took longer than {c.timeout_s:.0f} s",
    "expired": lambda c: "its time to live was over",
    "no_client": lambda c: f"no client came within {c.timeout_s:.0f} s (R13)",
    "hung_up": lambda c: c.why,
    "not_detached": _not_detached,
    "interrupted": lambda c: c.why,
    "stopped": lambda c: f"stopped by {c.by}",
    "restarted": lambda c: f"restarted by {c.by}",
    "new_release": lambda c: f"replaced by v{c.release}",
    "changed": lambda c: f"changed by {c.by}",
    "scaled": lambda c: f"scaled down by {c.by}",
    "cycled": lambda c: "cycled after a day",
    "idled": lambda c: "no requests came",
    "not_healthy": lambda c: f"v{c.release} did not come up",
    "destroyed": lambda c: "the app is gone",
    "crash_loop": _crash_loop,
    "noted": lambda c: c.why,
}
