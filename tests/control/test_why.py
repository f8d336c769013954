"""Why a dyno is as it is: a table of stories, each as `oriel why` tells it on 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from oriel.api import portraits
from oriel.cli.commands.why import told
from oriel.control.said import Line
from oriel.control.why import Change, Story, explain, subject_of, turn_of
from oriel.lexicon import DynoName
from oriel.manifold import Dyno
from oriel.manifold.history import Happening
from tests.manifold.wording import because

NOW = datetime(2011, 6, 19, 8, 35, 25, tzinfo=UTC)
NED, KATE, RICK = "ned@foobazco.com", "kate@foobazco.com", "rick@foobazco.com"
EXIT = "exited with status 1"
OUT_OF_MEMORY = "ran out of memory (R15), exited with status 137 (SIGKILL)"


def ago(before_s: float) -> datetime:
    return NOW - timedelta(seconds=before_s)


Entry = tuple[float, str, int, str, str]
"""Seconds ago, instance, release, state, cause."""


@dataclass(frozen=True)
class Case:
    """A story, and how it is told."""

    entries: Sequence[Entry]
    told: str
    name: str = "web.1"
    state: str = ""
    """As ps shows it; `gone` is not at all. The last entry's, unless said."""
    changes: Sequence[Change] = ()
    said: str | None = ""
    head: int = 74
    good: int | None = 73
    is_in_procfile: bool = True
    others: Sequence[str] = ()
    memory_bytes: int | None = None
    size: str = "standard-1x"


def dyno(name: str, state: str, since: datetime, size: str = "standard-1x") -> Dyno:
    return Dyno("i", DynoName.parse(name), "app", "run", size, state, since, 74, "", None, "")


def story_of(case: Case) -> Story:
    name = DynoName.parse(case.name)
    entries = [
        Happening(
            id=place,
            instance=instance,
            name=name,
            release=release,
            state=state,
            at=ago(before_s),
            because=because(cause),
            command="run",
            size=case.size,
            once=False,
        )
        for place, (before_s, instance, release, state, cause) in enumerate(case.entries, 1)
    ]
    last = entries[-1]
    shown = None
    if case.state != "gone":
        shown = dyno(case.name, case.state or last.state, last.at, case.size)
    lines = None
    if case.said is not None:
        lines = [Line("", "app", case.name, text) for text in case.said.splitlines()]
    return Story(
        now=NOW,
        name=name,
        dyno=shown,
        entries=entries,
        changes=case.changes,
        head=case.head,
        good=case.good,
        is_in_procfile=case.is_in_procfile,
        others=[dyno(each, "crashed", ago(3)) for each in case.others],
        said=lines,
        memory_bytes=case.memory_bytes,
    )


GOOD: Sequence[Entry] = ((7207, "a", 73, "starting", ""), (7205, "a", 73, "up", ""))
REPLACED: Sequence[Entry] = (
    *GOOD,
    (8, "b", 74, "starting", ""),
    (8, "a", 73, "stopping", "replaced by v74"),
    (7, "a", 73, "down", "replaced by v74"),
)
DEPLOY = Change(ago(9), "Deploy 20a5742", NED, "release", 74)
SCALE = Change(ago(20), "Scale web 1 to 2", KATE, "scale", None, "oriel ps:scale web=1")
ADDED = Change(ago(9), "Config add FOO", KATE, "release", 74, "oriel config:remove FOO")

STORIES = {
    "the seed's bad deploy": Case(
        entries=[*REPLACED, (6, "b", 74, "crashed", EXIT), (6, "c", 74, "starting", ""),
                 (4, "c", 74, "crashed", EXIT)],
        changes=[DEPLOY, SCALE],
        others=["web.2", "worker.1", "worker.2"],
        said="/app/config/initializers/load_system.rb:12:in `<top (required)>': uninitialized "
        "constant Utils (NameError)\n  from /app/vendor/rails/engine.rb:201\n  from /app/x.rb:200",
        told="""\
=== web.1: crashed for 4s, 2 times in a row (v74)
Was:         up for 1h on v73, then replaced by v74
Changed:     1s before: v74 Deploy 20a5742 by ned@foobazco.com
             12s before: Scale web 1 to 2 by kate@foobazco.com
Ended:       exited with status 1, 2s after its start
Also:        web.2, worker.1 and worker.2 crashed too
Said:        /app/config/initializers/load_system.rb:12:in `<top (required)>':..
               from /app/vendor/rails/engine.rb:201
               from /app/x.rb:200
To undo:     oriel rollback v73
""",
    ),
    "it is being started again": Case(
        entries=[*REPLACED, (6, "b", 74, "crashed", EXIT), (3, "c", 74, "starting", "")],
        changes=[DEPLOY],
        told="""\
=== web.1: starting for 3s after 1 crash (v74)
Was:         up for 1h on v73, then replaced by v74
Changed:     1s before: v74 Deploy 20a5742 by ned@foobazco.com
Ended:       exited with status 1, 2s after its start
To undo:     oriel rollback v73
""",
    ),
    "a config var too many": Case(
        entries=[*REPLACED, (6, "b", 74, "crashed", EXIT)],
        changes=[ADDED],
        told="""\
=== web.1: crashed for 6s (v74)
Was:         up for 1h on v73, then replaced by v74
Changed:     1s before: v74 Config add FOO by kate@foobazco.com
Ended:       exited with status 1, 2s after its start
To undo:     oriel rollback v73
or:          oriel config:remove FOO
""",
    ),
    "it crashed after days, and nobody had done a thing": Case(
        entries=[*GOOD, (4, "a", 73, "crashed", "exited with status 139 (SIGSEGV)")],
        changes=[Change(ago(90_000), "Deploy df7bb82", RICK, "release", 73)],
        head=73,
        good=72,
        told="""\
=== web.1: crashed for 4s (v73)
Was:         up for 2h on v73
Changed:     nothing in the hour before; the last was
             24h before: v73 Deploy df7bb82 by rick@foobazco.com
Ended:       exited with status 139 (SIGSEGV), up for 2h
To try:      oriel ps:restart web.1
""",
    ),
    "a release that never was any good, and one before that was": Case(
        entries=[(5000, "b", 74, "starting", ""), (4999, "b", 74, "crashed", EXIT),
                 (300, "c", 74, "starting", ""), (299, "c", 74, "crashed", EXIT)],
        told="""\
=== web.1: crashed for 4m, 2 times in a row (v74)
Was:         never up: that was its first start
Changed:     nothing that is on record
Ended:       exited with status 1, 1s after its start
To undo:     oriel rollback v73
""",
    ),
    "the very first start": Case(
        entries=[(8, "b", 2, "starting", ""), (6, "b", 2, "crashed", "exited with status 127")],
        changes=[Change(ago(9), "Deploy 20a5742", NED, "release", 2)],
        head=2,
        good=None,
        said="/bin/bash: line 1: gunicron: command not found",
        told="""\
=== web.1: crashed for 6s (v2)
Was:         never up: that was its first start
Changed:     1s before: v2 Deploy 20a5742 by ned@foobazco.com
Ended:       exited with status 127 (command not found), 2s after its start
Said:        /bin/bash: line 1: gunicron: command not found
To try:      oriel ps:restart web.1
""",
    ),
    "boot time-out (R10)": Case(
        entries=[*GOOD, (70, "b", 74, "starting", ""), (70, "a", 73, "down", "replaced by v74"),
                 (9, "b", 74, "crashed", "did not bind to its port within 60 s (R10)")],
        changes=[Change(ago(71), "Deploy 20a5742", NED, "release", 74)],
        told="""\
=== web.1: crashed for 9s (v74)
Was:         up for 1h on v73, then replaced by v74
Changed:     1s before: v74 Deploy 20a5742 by ned@foobazco.com
Ended:       did not bind to its port within 60 s (R10)
To undo:     oriel rollback v73
""",
    ),
    "it could not be launched (R99)": Case(
        entries=[(9, "b", 74, "starting", ""),
                 (8, "b", 74, "crashed", "could not be launched: no space left on the disk")],
        good=None,
        told="""\
=== web.1: crashed for 8s (v74)
Was:         never up: that was its first start
Changed:     nothing that is on record
Ended:       could not be launched: no space left on the disk
To try:      oriel ps:restart web.1
""",
    ),
    "out of memory (R15), nothing changed": Case(
        entries=[*GOOD, (4, "a", 73, "crashed", "used 1100M of 512M memory (R15)")],
        head=73,
        good=72,
        told="""\
=== web.1: crashed for 4s (v73)
Was:         up for 2h on v73
Changed:     nothing that is on record
Ended:       used 1100M of 512M memory (R15), up for 2h
To try:      oriel ps:type web=standard-2x
""",
    ),
    "out of memory after a smaller size was chosen": Case(
        entries=[*GOOD, (50, "b", 73, "starting", ""), (50, "a", 73, "down", f"changed by {KATE}"),
                 (49, "b", 73, "up", ""), (4, "b", 73, "crashed", OUT_OF_MEMORY)],
        changes=[Change(ago(51), "Scale web standard-2x to standard-1x", KATE, "scale", None,
                        "oriel ps:type web=standard-2x")],
        head=73,
        good=72,
        told="""\
=== web.1: crashed for 4s (v73)
Was:         up for 45s on v73
Changed:     47s before: Scale web standard-2x to standard-1x by kate@foobazco..
Ended:       ran out of memory (R15), up for 45s
To undo:     oriel ps:type web=standard-2x
""",
    ),
    "over its memory, and still up (R14)": Case(
        entries=GOOD,
        head=73,
        memory_bytes=600 << 20,
        told="""\
=== web.1: up for 2h (v73)
Before:      nothing: this is its first start
Changed:     nothing that is on record
Now:         it takes 117 % of the memory of its size (R14)
""",
    ),
    "stopped by hand": Case(
        entries=[*GOOD, (60, "a", 73, "stopping", f"stopped by {KATE}"),
                 (59, "a", 73, "down", f"stopped by {KATE}")],
        changes=[Change(ago(60), "Stop web.1", KATE, "stop")],
        head=73,
        told="""\
=== web.1: down for 59s (v73)
Was:         up for 1h on v73
Changed:     0s before: Stop web.1 by kate@foobazco.com
Ended:       stopped by kate@foobazco.com
To undo:     oriel ps:restart web.1
""",
    ),
    "on its way down": Case(
        entries=[*GOOD, (3, "a", 73, "stopping", f"stopped by {KATE}")],
        head=73,
        told="""\
=== web.1: stopping for 3s (v73)
Was:         up for 2h on v73
Changed:     nothing that is on record
Ended:       it is being stopped: stopped by kate@foobazco.com
To undo:     oriel ps:restart web.1
""",
    ),
    "scaled away": Case(
        name="web.3",
        entries=[*GOOD, (60, "a", 73, "stopping", f"scaled down by {NED}"),
                 (59, "a", 73, "down", f"scaled down by {NED}")],
        state="gone",
        changes=[Change(ago(60), "Scale web 3 to 2", NED, "scale", None, "oriel ps:scale web=3")],
        head=73,
        told="""\
=== web.3: gone for 59s (v73)
Was:         up for 1h on v73
Changed:     0s before: Scale web 3 to 2 by ned@foobazco.com
Ended:       scaled down by ned@foobazco.com
To undo:     oriel ps:scale web=3
""",
    ),
    "its type is gone from the Procfile": Case(
        name="clock.1",
        entries=[*GOOD, (60, "a", 73, "stopping", f"scaled down by {NED}"),
                 (59, "a", 73, "down", f"scaled down by {NED}")],
        state="gone",
        is_in_procfile=False,
        changes=[Change(ago(61), "Deploy 20a5742", NED, "release", 74)],
        told="""\
=== clock.1: gone for 59s (v73)
Was:         up for 1h on v73
Changed:     1s before: v74 Deploy 20a5742 by ned@foobazco.com
Ended:       scaled down by ned@foobazco.com
To undo:     oriel rollback v73
""",
    ),
    "a release command": Case(
        name="release.74",
        entries=[(9, "r", 74, "starting", ""), (9, "r", 74, "up", ""),
                 (7, "r", 74, "complete", EXIT)],
        state="gone",
        said="no such table: users",
        told="""\
=== release.74: gone for 7s (v74)
Was:         up for 2s on v74
Changed:     nothing that is on record
Ended:       exited with status 1
Said:        no such table: users
""",
    ),
    "up since a release": Case(
        entries=[*REPLACED, (6, "b", 74, "up", "")],
        changes=[DEPLOY],
        said="Listening",
        told="""\
=== web.1: up for 6s (v74)
Before:      up for 1h on v73, then replaced by v74
Changed:     1s before: v74 Deploy 20a5742 by ned@foobazco.com
Said:        Listening
To undo:     oriel rollback v73
""",
    ),
    "up since it crashed and came back": Case(
        name="worker.1",
        entries=[*GOOD, (60, "a", 73, "crashed", EXIT), (60, "b", 73, "starting", ""),
                 (59, "b", 73, "up", "")],
        head=73,
        good=72,
        told="""\
=== worker.1: up for 59s after 1 crash (v73)
Was:         up for 1h on v73
Changed:     nothing that is on record
Ended:       exited with status 1, up for 1h
""",
    ),
    "up since a restart by hand: nothing to undo": Case(
        entries=[*GOOD, (60, "b", 73, "starting", ""), (60, "a", 73, "down", f"restarted by {NED}"),
                 (59, "b", 73, "up", "")],
        changes=[Change(ago(60), "Restart web.1", NED, "restart"),
                 Change(ago(200), "Deploy df7bb82", RICK, "release", 73)],
        head=73,
        good=72,
        told="""\
=== web.1: up for 59s (v73)
Before:      up for 1h on v73, then restarted by ned@foobazco.com
Changed:     0s before: Restart web.1 by ned@foobazco.com
             2m before: v73 Deploy df7bb82 by rick@foobazco.com
""",
    ),
    "a rollback that saved it: nothing to undo": Case(
        entries=[(9, "b", 74, "starting", ""), (8, "b", 74, "crashed", EXIT),
                 (5, "c", 75, "starting", ""), (4, "c", 75, "up", "")],
        changes=[Change(ago(5), "Rollback to v73", NED, "release", 75)],
        head=75,
        told="""\
=== web.1: up for 4s (v75)
Before:      crashed on v74: exited with status 1
Changed:     0s before: v75 Rollback to v73 by ned@foobazco.com
""",
    ),
    "idle": Case(
        entries=[*GOOD, (60, "a", 73, "idle", "no requests came")],
        head=73,
        told="""\
=== web.1: idle for 1m (v73)
Before:      up for 1h on v73
Changed:     nothing that is on record
Now:         no requests came
""",
    ),
    "still starting": Case(
        entries=[(5, "b", 74, "starting", "")],
        changes=[DEPLOY],
        told="""\
=== web.1: starting for 5s (v74)
Before:      nothing: this is its first start
Changed:     4s before: v74 Deploy 20a5742 by ned@foobazco.com
Now:         it has not bound to its port yet
""",
    ),
    "bubblewrap itself was killed": Case(
        entries=[*GOOD, (4, "a", 73, "crashed", "ended, with a status that is not known")],
        head=73,
        said=None,
        told="""\
=== web.1: crashed for 4s (v73)
Was:         up for 2h on v73
Changed:     nothing that is on record
Ended:       ended, with a status that is not known, up for 2h
Said:        the log cannot be read now
To try:      oriel ps:restart web.1
""",
    ),
    "the head has moved on since": Case(
        entries=[*REPLACED, (6, "b", 74, "crashed", EXIT)],
        changes=[DEPLOY],
        head=75,
        told="""\
=== web.1: crashed for 6s (v74)
Was:         up for 1h on v73, then replaced by v74
Changed:     1s before: v74 Deploy 20a5742 by ned@foobazco.com
Ended:       exited with status 1, 2s after its start
To try:      oriel ps:restart web.1
""",
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", STORIES)
def test_a_story(title: str) -> None:
    case = STORIES[title]
    lines = told(portraits.why(explain(story_of(case))), "", 80)
    assert "\n".join(lines) + "\n" == case.told
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 80


def test_where_the_trouble_is_named_further_up_it_is_shown_too() -> None:
    said = "ok\nKeyError: 'FOO'\n  a\n  b\n  c\n  d\n\n"
    found = explain(story_of(Case(entries=GOOD, told="", said=said)))
    assert found.said == ("KeyError: 'FOO'", "  c", "  d")


def test_many_others_are_counted() -> None:
    others = [f"worker.{number}" for number in range(1, 9)]
    entries = [*REPLACED, (6.0, "b", 74, "crashed", EXIT)]
    found = explain(story_of(Case(entries=entries, told="", others=others)))
    assert found.also == "worker.1, worker.2, worker.3 and 5 more crashed too"


def test_what_to_type_is_never_cut_nor_left_out() -> None:
    case = STORIES["the seed's bad deploy"]
    lines = told(portraits.why(explain(story_of(case))), " -a foobaz-production", 24)
    assert len(lines) == 10
    assert lines[-1] == "To undo:     oriel rollback v73 -a foobaz-production"
    assert max(map(len, lines[:-1])) <= 24


def test_the_turn_is_the_first_of_its_crashes() -> None:
    entries = story_of(STORIES["the seed's bad deploy"]).entries
    assert turn_of(entries) == ago(8), "it never came up: what came before its start"
    subject = subject_of(entries)
    assert subject is not None
    assert subject.instance == "c", "the newest has the last words"
    assert turn_of(()) is None
    assert subject_of(()) is None


def test_what_others_said_cannot_steer_a_terminal() -> None:
    case = Case(entries=GOOD, told="", said="\x1b[2Jerror\tx\u202e")
    lines = told(portraits.why(explain(story_of(case))), "", 80)
    assert lines[-1] == "Said:        ?[2Jerror x?"
