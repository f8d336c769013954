"""The past of dynos, from the record, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from oriel.lexicon import DynoName
from oriel.manifold import history
from oriel.manifold.cause import Cause
from oriel.manifold.history import Happening, Transition, read, was_shown
from oriel.manifold.tables import dyno_events
from oriel.store.database import Database
from tests.manifold.wording import because

EXIT = "exited with status 1"
BEGIN = datetime(2011, 6, 19, 8, 0, tzinfo=UTC)

Entry = tuple[float, str, str, int, str, str]
"""Seconds since the beginning, instance, name, release, state, cause."""

STORY: tuple[Entry, ...] = (
    (0, "a", "web.1", 73, "starting", ""),
    (1, "a", "web.1", 73, "up", ""),
    (0, "w", "worker.1", 73, "starting", ""),
    (1, "w", "worker.1", 73, "up", ""),
    # v74 takes their places, and crashes.
    (100, "b", "web.1", 74, "starting", ""),
    (100.01, "a", "web.1", 73, "stopping", "replaced by v74"),
    (101, "a", "web.1", 73, "down", "replaced by v74"),
    (102, "b", "web.1", 74, "crashed", "exited with status 1"),
    (102.1, "c", "web.1", 74, "starting", ""),
    (104, "c", "web.1", 74, "crashed", "exited with status 1"),
    # The rollback.
    (110, "d", "web.1", 75, "starting", ""),
    (111, "d", "web.1", 75, "up", ""),
    # worker.1 is stopped by hand, a second web dyno comes and goes.
    (120, "w", "worker.1", 73, "stopping", "stopped by kate@foobazco.com"),
    (121, "w", "worker.1", 73, "down", "stopped by kate@foobazco.com"),
    (130, "e", "web.2", 75, "starting", ""),
    (131, "e", "web.2", 75, "up", ""),
    (140, "e", "web.2", 75, "stopping", "scaled down by ned@foobazco.com"),
    (141, "e", "web.2", 75, "down", "scaled down by ned@foobazco.com"),
    # A release command.
    (150, "r", "release.76", 76, "starting", ""),
    (150, "r", "release.76", 76, "up", ""),
    (152, "r", "release.76", 76, "complete", "exited with status 0"),
)


def moment(after_s: float) -> datetime:
    return BEGIN + timedelta(seconds=after_s)


def put(db: Database, *entries: Entry, app_id: str = "app", **detail: Any) -> None:
    rows = []
    for after_s, instance, name, release, state, cause in entries:
        type_, _, number = name.partition(".")
        rows.append(
            {
                "app_id": app_id,
                "instance": instance,
                "name": name,
                "type": type_,
                "number": int(number),
                "release": release,
                "state": state,
                "at": moment(after_s),
                "cause": cause,
                "detail": {
                    "command": f"run {type_}",
                    "size": "standard-1x",
                    "channel": "c",
                    "once": type_ == "release",
                    "cause": because(cause).kept(),
                    **detail,
                },
            }
        )
    db.write_now(lambda conn: conn.execute(insert(dyno_events), rows))


def seen(db: Database, after_s: float) -> dict[str, str]:
    dynos = db.read_now(lambda conn: history.at(conn, "app", moment(after_s)))
    return {f"{dyno.name} v{dyno.release}": dyno.state for dyno in dynos}


@pytest.mark.parametrize(
    ("after_s", "there"),
    [
        (-1, {}),
        (0, {"web.1 v73": "starting", "worker.1 v73": "starting"}),
        (50, {"web.1 v73": "up", "worker.1 v73": "up"}),
        # The old one is on its way out: ps shows who has its name now.
        (100.5, {"web.1 v74": "starting", "worker.1 v73": "up"}),
        (102.05, {"web.1 v74": "crashed", "worker.1 v73": "up"}),
        (103, {"web.1 v74": "starting", "worker.1 v73": "up"}),
        (109, {"web.1 v74": "crashed", "worker.1 v73": "up"}),
        (115, {"web.1 v75": "up", "worker.1 v73": "up"}),
        (120.5, {"web.1 v75": "up", "worker.1 v73": "stopping"}),
        # Stopped by hand it stays to be seen; scaled away it does not.
        (125, {"web.1 v75": "up", "worker.1 v73": "down"}),
        (135, {"web.1 v75": "up", "web.2 v75": "up", "worker.1 v73": "down"}),
        (140.5, {"web.1 v75": "up", "worker.1 v73": "down"}),
        (145, {"web.1 v75": "up", "worker.1 v73": "down"}),
        (151, {"release.76 v76": "up", "web.1 v75": "up", "worker.1 v73": "down"}),
        (1000, {"web.1 v75": "up", "worker.1 v73": "down"}),
    ],
)
def test_who_was_there(database: Database, after_s: float, there: dict[str, str]) -> None:
    put(database, *STORY)
    put(database, (0, "z", "web.1", 1, "up", ""), app_id="another")
    assert seen(database, after_s) == there


def test_two_releases_side_by_side_are_both_there(database: Database) -> None:
    put(
        database,
        (0, "a", "web.1", 73, "starting", ""),
        (1, "a", "web.1", 73, "up", ""),
        (50, "b", "web.1", 74, "starting", ""),
    )
    assert seen(database, 60) == {"web.1 v73": "up", "web.1 v74": "starting"}


def test_an_entry_that_gives_a_reason_changes_no_since(database: Database) -> None:
    put(
        database,
        (0, "a", "web.1", 73, "starting", ""),
        (1, "a", "web.1", 73, "up", ""),
        (10, "a", "web.1", 73, "stopping", "restarted by ned@foobazco.com"),
        (40, "a", "web.1", 73, "stopping", "restarted by ned@foobazco.com; killed (R12)"),
    )
    [dyno] = database.read_now(lambda conn: history.at(conn, "app", moment(41)))
    assert (dyno.since, dyno.reason) == (moment(10), "restarted by ned@foobazco.com; killed (R12)")
    assert (dyno.command, dyno.size, dyno.port) == ("run web", "standard-1x", None)


def told(transitions: list[Transition]) -> list[tuple[str, str, str, float | None]]:
    return [
        (str(each.after.name), each.before, each.after.state, each.lasted_s) for each in transitions
    ]


def test_what_became_of_one(database: Database) -> None:
    put(database, *STORY)
    found = database.read_now(lambda conn: history.page(conn, "app", only="web.1"))
    assert told(found)[::-1] == [
        ("web.1", "", "starting", None),
        ("web.1", "starting", "up", 1.0),
        ("web.1", "up", "starting", 99.0),
        ("web.1", "up", "stopping", 99.01),
        ("web.1", "stopping", "down", 0.99),
        ("web.1", "starting", "crashed", 2.0),
        ("web.1", "crashed", "starting", 0.1),
        ("web.1", "starting", "crashed", 1.9),
        ("web.1", "crashed", "starting", 6.0),
        ("web.1", "starting", "up", 1.0),
    ]


def test_a_part_says_the_same_as_the_whole(database: Database) -> None:
    put(database, *STORY)
    whole = database.read_now(lambda conn: history.page(conn, "app", limit=1000))
    assert len(whole) == len(STORY)
    parts: list[Transition] = []
    before = None
    while len(parts) < len(whole):
        page = database.read_now(
            lambda conn, before=before: history.page(conn, "app", limit=4, before=before)  # type: ignore[misc]
        )
        parts += page
        before = page[-1].after.id
    assert parts == whole


@pytest.mark.parametrize(
    ("only", "since_s", "until_s", "count"),
    [
        (None, None, None, len(STORY)),
        ("web", None, None, 14),
        ("web.2", None, None, 4),
        ("worker", 120, None, 2),
        ("worker", None, 1, 2),
        ("web", 102, 104, 3),
        ("we", None, None, 0),
        ("web.3", None, None, 0),
    ],
)
def test_a_part_of_it(
    database: Database, only: str | None, since_s: float | None, until_s: float | None, count: int
) -> None:
    put(database, *STORY)
    found = database.read_now(
        lambda conn: history.page(
            conn,
            "app",
            only=only,
            since=None if since_s is None else moment(since_s),
            until=None if until_s is None else moment(until_s),
        )
    )
    assert len(found) == count


def test_names_and_the_last_release_that_came_up(database: Database) -> None:
    put(database, *STORY)
    names = database.read_now(lambda conn: history.names(conn, "app"))
    assert [str(name) for name in names] == ["release.76", "web.2", "worker.1", "web.1"]
    for before, good in ((76, 75), (75, 73), (74, 73), (73, None)):
        found = database.read_now(
            lambda conn, before=before: history.last_up(conn, "app", "web", before)  # type: ignore[misc]
        )
        assert found == good


@pytest.mark.parametrize(
    ("cause", "folded", "words"),
    [
        (Cause("crash_loop", count=58, first=Cause("exited", status=1)), 57, EXIT),
        (Cause("exited", status=1), 0, EXIT),
        (Cause("crash_loop", count=0, first=Cause("exited", status=1)), 0, EXIT),
    ],
)
def test_an_entry_may_stand_for_a_loop(
    database: Database, cause: Cause, folded: int, words: str
) -> None:
    """How the last of them ended is its cause, and the others are counted."""
    put(database, (0, "a", "web.1", 73, "crashed", ""), cause=cause.kept())
    [found] = database.read_now(lambda conn: history.of_name(conn, "app", "web.1"))
    assert (found.folded, found.cause) == (folded, words)


def test_a_detail_that_lacks_something_is_read() -> None:
    class Row:
        id, instance, type, number, release, state = 1, "a", "web", 1, 73, "idle"
        at, cause, detail = BEGIN, None, None

    assert read(Row()) == Happening(  # type: ignore[arg-type]
        1, "a", DynoName("web", 1), 73, "idle", BEGIN, Cause("noted"), "", "standard-1x", False
    )


@pytest.mark.parametrize(
    ("state", "cause", "is_newest", "shown"),
    [
        ("up", "", True, True),
        ("idle", "", True, True),
        ("up", "", False, True),
        ("starting", "", False, False),
        ("stopping", "replaced by v74", False, False),
        ("stopping", "replaced by v74", True, True),
        ("stopping", "scaled down by a@b.c", True, False),
        ("down", "the app is gone", True, False),
        ("down", "stopped by a@b.c", True, True),
        ("crashed", "exited with status 1", True, True),
        ("complete", "", True, False),
    ],
)
def test_who_is_shown(state: str, cause: str, is_newest: bool, shown: bool) -> None:
    last = Happening(1, "a", DynoName("web", 1), 1, state, BEGIN, because(cause), "", "", False)
    assert was_shown(last, is_newest=is_newest) is shown


def test_many_entries_are_asked_quickly(database: Database) -> None:
    """A dyno that crashed 3000 times: its past is still a few reads, and its newest entry one."""
    loop: list[Entry] = []
    for number in range(3000):
        loop.append((number, f"i{number}", "web.1", 74, "starting", ""))
        loop.append((number + 0.5, f"i{number}", "web.1", 74, "crashed", "exited with status 1"))
    put(database, *loop)
    assert seen(database, 10_000) == {"web.1 v74": "crashed"}
    assert seen(database, 1500.2) == {"web.1 v74": "starting"}
    page = database.read_now(lambda conn: history.page(conn, "app", only="web.1", limit=3))
    assert [each.before for each in page] == ["starting", "crashed", "starting"]
