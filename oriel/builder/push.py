"""Owns the rules of a push: which of its ref updates deploys, and what is refused. Pure.

Must not know git's programs. Only `main` or `master` deploys; every other ref is stored, and the
pusher is told so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from oriel.faults import Invalid

DEPLOYING = ("refs/heads/main", "refs/heads/master")
UPDATES_MAX = 1000
_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One ref that a push would move. An id of zeros: there is none (created, or deleted)."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        """Whether the ref would be gone."""
        return not self.new.strip("0")

    @property
    def name(self) -> str:
        """The ref as people call it: `main`, `refs/tags/v1` as `v1`."""
        return self.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the hook handed over."""

    updates: tuple[RefUpdate, ...]
    head: str = ""
    """The branch that was deployed last, as `refs/heads/...`."""
    kinds: tuple[tuple[str, str], ...] = ()
    """(new id, `commit`, `tag`...) of the updates that could deploy."""
    current: tuple[tuple[str, str], ...] = ()
    """(ref, where it is now) of the updates that could deploy."""
    quarantine: str = ""
    """The directory below `objects` where the new objects wait."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a push that is not refused."""

    deploys: RefUpdate | None
    notes: tuple[str, ...]


def read(text: str) -> Asked:
    """What the hook wrote; raises Invalid for what no hook of ours writes."""
    updates, kinds, current = [], [], []
    head = quarantine = ""
    for line in text.split("\n")[:-1]:
        verb, *words = line.split(" ")
        if verb == "update" and len(words) == 3 and _ids(*words[:2]):
            updates.append(RefUpdate(*words))
        elif verb == "kind" and len(words) == 2 and _ids(words[0]):
            kinds.append((words[0], words[1]))
        elif verb == "now" and len(words) == 2 and _ids(words[0]):
            current.append((words[1], words[0]))
        elif verb == "head" and len(words) == 1:
            head = words[0]
        elif verb == "quarantine" and len(words) == 1:
            quarantine = words[0]
            if not re.fullmatch(r"[A-Za-z0-9_-]{0,100}", quarantine):
                raise Invalid("Git keeps the pushed objects where they weren't expected.")
        else:
            raise Invalid("The push could not be read.")
        if len(updates) > UPDATES_MAX:
            raise Invalid(
                f"The push moves more than {UPDATES_MAX} refs.", hint="Push one branch at a time."
            )
    return Asked(tuple(updates), head, tuple(kinds), tuple(current), quarantine)


def _ids(*words: str) -> bool:
    return all(_ID.fullmatch(word) for word in words)


def decide(asked: Asked) -> Decision:
    """Which update deploys, if any; raises Invalid with the reason for a refusal."""
    moving = [update for update in asked.updates if update.ref in DEPLOYING]
    for update in moving:
        _refuse_if_stale(update, dict(asked.current))
        if update.deletes and (update.ref == asked.head or len(moving) > 1):
            raise Invalid(
                f"{update.name} is the deployed branch and can't be deleted.",
                hint="To take the app off the web, scale it to 0 or destroy it.",
            )
    stored = [update for update in asked.updates if update.ref not in DEPLOYING]
    notes = tuple(
        _note(update) for update in [*stored, *moving] if update in stored or update.deletes
    )
    candidates = [update for update in moving if not update.deletes]
    if not candidates:
        return Decision(None, notes)
    return Decision(_only(candidates, dict(asked.kinds)), notes)


def _refuse_if_stale(update: RefUpdate, current: dict[str, str]) -> None:
    if current.get(update.ref, update.old) != update.old:
        raise Invalid(
            f"{update.name} has moved meanwhile: somebody else pushed.",
            hint="git fetch, then push again.",
        )


def _only(candidates: Sequence[RefUpdate], kinds: dict[str, str]) -> RefUpdate:
    first = candidates[0]
    if any(update.new != first.new for update in candidates):
        raise Invalid(
            "This push moves main and master to different commits; only one can be deployed.",
            hint="Push one of them: git push oriel main",
        )
    if (kind := kinds.get(first.new, "commit")) != "commit":
        raise Invalid(
            f"{first.name} would be a {kind}, not a commit.",
            hint=f"Push what it points to: git push oriel 'TAG^{{commit}}:{first.ref}'",
        )
    return first


def _note(update: RefUpdate) -> str:
    if update.deletes:
        return f"deleted {update.name}"
    return f"only main or master is deployed; stored {update.name}"
