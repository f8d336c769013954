"""Owns how the record of one dyno reads as the lives of its instances, one after another. Pure.

Must not know SQL, acts or releases' meaning; entries come from `history`, oldest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from oriel.manifold import backoff
from oriel.manifold.cause import Cause
from oriel.manifold.history import Happening


@dataclass(frozen=True, slots=True)
class Stay:
    """One instance's life under a name, as far as the record has it."""

    instance: str
    release: int
    size: str
    begun: datetime
    state: str
    since: datetime
    """Since when it is in `state`."""
    because: Cause
    """Why it is in that state."""
    up: datetime | None = None
    """When it first came up."""
    left: datetime | None = None
    """When it was up no longer: it ended, or was told to."""
    ended: datetime | None = None
    folded: int = 0
    """How many more lives like it are counted in it."""

    @property
    def cause(self) -> str:
        """Why it is in that state, in words."""
        return self.because.words

    @property
    def crashed(self) -> bool:
        """Whether it ended as a crash."""
        return self.state == "crashed"

    @property
    def lived(self) -> timedelta:
        """From its start to its end, or to what is last known of it."""
        return (self.ended or self.since) - self.begun

    @property
    def was_up_for(self) -> timedelta | None:
        """How long it was up; None if it never was, or still is."""
        return self.left - self.up if self.up and self.left else None


def stays(entries: Iterable[Happening]) -> list[Stay]:
    """The lives under one name, in the order in which they were begun."""
    found: dict[str, Stay] = {}
    for each in entries:
        was = found.get(each.instance)
        found[each.instance] = _after(was, each) if was else _first(each)
    return list(found.values())


def _first(each: Happening) -> Stay:
    alone = Stay(
        instance=each.instance,
        release=each.release,
        size=each.size,
        begun=each.at,
        state="",
        since=each.at,
        because=each.because,
    )
    return _after(alone, each)


def _after(was: Stay, each: Happening) -> Stay:
    since = was.since if was.state == each.state else each.at
    leaves = was.up is not None and was.left is None and each.state != "up"
    return replace(
        was,
        state=each.state,
        since=since,
        because=each.because,
        up=was.up or (each.at if each.state == "up" else None),
        left=each.at if leaves else was.left,
        ended=was.ended or (each.at if each.has_ended else None),
        folded=was.folded + each.folded,
    )


def crash_row(lives: Sequence[Stay]) -> list[Stay]:
    """The crashes in a row, on one release, that a dyno is in, oldest first; none where it is not.

    A new release begins anew, and so does a crash that came after HEALTHY_S of life.
    """
    row: list[Stay] = []
    ahead = list(lives)
    if ahead and ahead[-1].ended is None:
        ahead.pop()
    for each in reversed(ahead):
        if not each.crashed or each.release != lives[-1].release:
            break
        row.insert(0, each)
        if each.lived.total_seconds() >= backoff.HEALTHY_S:
            break
    return row


def crashes(row: Iterable[Stay]) -> int:
    """How many crashes that is, the folded ones too."""
    return sum(1 + each.folded for each in row)


def restarts(entries: Iterable[Happening], since: datetime) -> int:
    """How often a dyno was started again from then on, by its entries.

    The first start of all, and one after it had been scaled away, are no restarts.
    """
    count = 0
    known: set[str] = set()
    was: Happening | None = None
    for each in entries:
        is_new = each.instance not in known
        known.add(each.instance)
        if each.at >= since:
            again = was is not None and not (was.has_ended and was.is_laid_down)
            count += each.folded + int(is_new and again)
        was = each
    return count
