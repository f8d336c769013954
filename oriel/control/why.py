"""Owns the answer to why a dyno is as it is: the facts, and what follows from them.

`explain` is pure: from a `Story` (what the four records say of one dyno) to a `Why`, each part of
which is a sentence with its facts beside it. `why` gathers the story. Must not know terminals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from oriel.control.causes import Kind, kind_of, meaning_of
from oriel.control.said import Line
from oriel.lexicon import DynoName
from oriel.manifold import Dyno, sizes
from oriel.manifold.history import Happening
from oriel.manifold.machine import LEAVING
from oriel.manifold.stays import Stay, crash_row, crashes, stays

SAID_MAX = 3
CHANGES_MAX = 2
NEAR = timedelta(hours=1)
"""How long before something went wrong a change may have been to be its likely cause."""

_FAILING = re.compile(
    r"error|exception|fatal|panic|cannot|could not|no such|not found", re.IGNORECASE
)

ChangeKind = Literal["release", "scale", "restart", "stop", "other"]
StepKind = Literal["undo", "try"]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that somebody did to the app."""

    at: datetime
    text: str
    by: str
    kind: ChangeKind
    release: int | None = None
    undo: str = ""
    """What takes it back, where that is one command and no rollback."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something to type: it takes a change back (`undo`), or it may help (`try`)."""

    kind: StepKind
    command: str


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one dyno."""

    now: datetime
    name: DynoName
    dyno: Dyno | None
    """As `ps` shows it; None where nobody has that name any more."""
    entries: Sequence[Happening]
    """Of that name, oldest first."""
    changes: Sequence[Change] = ()
    """Those before it turned out as it did, newest first."""
    head: int | None = None
    good: int | None = None
    """The newest release before, on which such a dyno came up, that can be gone back to."""
    is_in_procfile: bool = True
    others: Sequence[Dyno] = ()
    said: Sequence[Line] | None = ()
    """The last lines of the instance that this is about, oldest first; None: not to be had."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """Why a dyno is as it is."""

    dyno: str
    state: str
    since: datetime | None
    release: int | None
    instance: str
    kind: Kind | Literal["up", "starting", "idle"]
    title: str
    was: str
    """What it was doing before."""
    ended: str
    """How that ended; for one that runs, how the one before it did."""
    crashes: int
    """In a row, up to now."""
    changes: tuple[Change, ...]
    changed: tuple[str, ...]
    """Those in words."""
    also: str
    """Who else is in trouble."""
    said: tuple[str, ...]
    steps: tuple[Step, ...]


def turn_of(entries: Sequence[Happening]) -> datetime | None:
    """When it began to be as it is: before this is the cause to be looked for."""
    subject = _subject(stays(entries))
    return _turned(subject) if subject else None


def subject_of(entries: Sequence[Happening]) -> Stay | None:
    """The instance whose last words matter: the newest that crashed, or else the newest."""
    lives = stays(entries)
    row = crash_row(lives)
    return row[-1] if row else (lives[-1] if lives else None)


def explain(story: Story) -> Why:
    """What the story comes to."""
    lives = stays(story.entries)
    row = crash_row(lives)
    last = lives[-1]
    subject = row[0] if row else last
    kind = _kind(story, last, row)
    changes = _near(story.changes, _turned(subject))
    state = story.dyno.state if story.dyno else "gone"
    since = story.dyno.since if story.dyno else last.since
    return Why(
        dyno=str(story.name),
        state=state,
        since=since,
        release=last.release,
        instance=last.instance,
        kind=kind,
        title=_title(story, state, since, last, crashes(row)),
        was=_was(lives, subject, row),
        ended=_ended(story, last, row),
        crashes=crashes(row),
        changes=tuple(changes[:CHANGES_MAX]),
        changed=_changed(changes[:CHANGES_MAX], story.changes, _turned(subject)),
        also=_also(story.others, too=bool(row)),
        said=_said(story.said),
        steps=_steps(story, kind, subject, changes),
    )


def _subject(lives: Sequence[Stay]) -> Stay | None:
    row = crash_row(lives)
    return row[0] if row else (lives[-1] if lives else None)


def _turned(subject: Stay) -> datetime:
    """When an instance's fate was sealed: the end of one that had been up; else its start."""
    if subject.up is None and subject.crashed:
        return subject.begun
    return (subject.left or subject.ended or subject.begun) if subject.ended else subject.begun


def _kind(
    story: Story, last: Stay, row: Sequence[Stay]
) -> Kind | Literal["up", "starting", "idle"]:
    if row:
        return kind_of(row[-1].because)
    if last.state == "idle":
        return "idle"
    if last.ended or last.state in LEAVING:
        return kind_of(last.because)
    state = story.dyno.state if story.dyno else last.state
    return "up" if state == "up" else "starting"


# --- sentences


def _title(story: Story, state: str, since: datetime, last: Stay, count: int) -> str:
    how_often = ""
    if count and state != "crashed":
        how_often = f" after {count} crash{'es' if count > 1 else ''}"
    elif count > 1:
        how_often = f", {count} times in a row"
    age = _age(story.now - since)
    return f"{story.name}: {state} for {age}{how_often} (v{last.release})"


def _was(lives: Sequence[Stay], subject: Stay, row: Sequence[Stay]) -> str:
    """What it was doing before it turned."""
    before = _before(lives, subject)
    if not subject.ended and subject.state not in LEAVING and not row:
        return _how_the_last_one_went(before)
    if subject.was_up_for is not None:
        return f"up for {_age(subject.was_up_for)} on v{subject.release}"
    if before is None:
        return "never up: that was its first start"
    if before.was_up_for is not None:
        until = f", then {before.cause}" if before.cause else ""
        return f"up for {_age(before.was_up_for)} on v{before.release}{until}"
    until = f" ({before.cause})" if before.cause else ""
    return f"not up on v{before.release} either{until}"


def _how_the_last_one_went(before: Stay | None) -> str:
    if before is None:
        return "nothing: this is its first start"
    then = f", then {before.cause}" if before.cause else ""
    if before.was_up_for is not None:
        return f"up for {_age(before.was_up_for)} on v{before.release}{then}"
    return f"{before.state} on v{before.release}" + (f": {before.cause}" if before.cause else "")


def _ended(story: Story, last: Stay, row: Sequence[Stay]) -> str:
    if row:
        return _crashed(row[-1])
    if last.state in LEAVING:
        return f"it is being stopped: {last.cause}"
    if last.ended:
        return _caused(last)
    if last.state == "starting":
        return "it has not bound to its port yet" if story.name.type == "web" else ""
    return _takes(story)


def _crashed(ended: Stay) -> str:
    if ended.was_up_for is not None:
        return f"{_caused(ended)}, up for {_age(ended.was_up_for)}"
    if kind_of(ended.because) in ("not_launched", "boot_timeout"):
        return ended.cause
    return f"{_caused(ended)}, {_age(ended.lived)} after its start"


def _caused(ended: Stay) -> str:
    if ended.because.kind == "out_of_memory":
        return "ran out of memory (R15)"
    meaning = meaning_of(ended.because)
    return ended.cause + (f" ({meaning})" if meaning else "")


def _takes(story: Story) -> str:
    quota = sizes.of(story.dyno.size).quota_bytes if story.dyno else None
    if not quota or story.memory_bytes is None or story.memory_bytes <= quota:
        return ""
    over = 100 * story.memory_bytes // quota
    return f"it takes {over} % of the memory of its size (R14)"


def _changed(near: Sequence[Change], all_: Sequence[Change], turned: datetime) -> tuple[str, ...]:
    if near:
        return tuple(_told(each, turned) for each in near)
    if not all_:
        return ("nothing that is on record",)
    return ("nothing in the hour before; the last was", _told(all_[0], turned))


def _told(change: Change, turned: datetime) -> str:
    release = f"v{change.release} " if change.release else ""
    return f"{_age(turned - change.at)} before: {release}{change.text} by {change.by}"


def _also(others: Sequence[Dyno], *, too: bool) -> str:
    names = [str(each.name) for each in others if each.state == "crashed"]
    if not names:
        return ""
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    if len(names) > 4:
        listed = f"{', '.join(names[:3])} and {len(names) - 3} more"
    return f"{listed} crashed" + (" too" if too else "")


def _said(lines: Sequence[Line] | None) -> tuple[str, ...]:
    """The last words; where the trouble is named further up, that line and what follows last."""
    if lines is None:
        return ("the log cannot be read now",)
    texts = [line.text.rstrip() for line in lines if line.text.strip()]
    last = texts[-SAID_MAX:]
    if any(map(_FAILING.search, last)):
        return tuple(last)
    named = [text for text in texts if _FAILING.search(text)]
    return tuple([named[-1], *last[-(SAID_MAX - 1) :]] if named else last)


# --- what to type


def _steps(story: Story, kind: str, subject: Stay, near: Sequence[Change]) -> tuple[Step, ...]:
    name = story.name
    if kind == "stopped":
        return (Step("undo", f"oriel ps:restart {name}"),)
    if kind in ("scaled", "gone") or story.dyno is None:
        return _bring_back(story, near)
    if kind == "idle":
        return ()
    cause = next((each for each in near if each.kind == "release" or each.undo), None)
    if kind in ("up", "starting"):
        # Only where it runs anew because of that: a restart is nothing to take back.
        was = _before(stays(story.entries), subject)
        return _take_back(story, cause) if was and kind_of(was.because) == "replaced" else ()
    undo = _take_back(story, cause)
    if not undo and subject.up is None and story.good and subject.release == story.head:
        undo = (Step("undo", f"oriel rollback v{story.good}"),)
    if undo:
        return undo
    if kind == "memory" and (size := _bigger(subject.size)):
        return (Step("try", f"oriel ps:type {name.type}={size}"),)
    if story.dyno.state == "crashed":
        return (Step("try", f"oriel ps:restart {name}"),)
    return ()


def _take_back(story: Story, cause: Change | None) -> tuple[Step, ...]:
    """What takes the nearest change back, as long as it is what runs."""
    if cause is None:
        return ()
    if cause.kind == "scale":
        return (Step("undo", cause.undo),) if cause.undo else ()
    if cause.kind != "release" or cause.release != story.head:
        return ()
    steps = [f"oriel rollback v{story.good}"] if story.good else []
    steps += [cause.undo] if cause.undo else []
    return tuple(Step("undo", command) for command in steps)


def _bring_back(story: Story, near: Sequence[Change]) -> tuple[Step, ...]:
    name = story.name
    if name.type in ("run", "release"):
        return ()
    if not story.is_in_procfile:
        return (Step("undo", f"oriel rollback v{story.good}"),) if story.good else ()
    return (Step("undo", f"oriel ps:scale {name.type}={name.number}"),)


def _bigger(size: str) -> str:
    has = sizes.of(size).quota_bytes
    return next((each.name for each in sizes.SIZES.values() if each.quota_bytes > has), "")


def _before(lives: Sequence[Stay], subject: Stay) -> Stay | None:
    place = [each.instance for each in lives].index(subject.instance)
    return lives[place - 1] if place else None


def _near(changes: Sequence[Change], turned: datetime) -> list[Change]:
    return [each for each in changes if turned - each.at <= NEAR]


def _age(elapsed: timedelta) -> str:
    elapsed_s = max(0, int(elapsed.total_seconds()))
    if elapsed_s < 60:
        return f"{elapsed_s}s"
    return f"{elapsed_s // 60}m" if elapsed_s < 3600 else f"{elapsed_s // 3600}h"
