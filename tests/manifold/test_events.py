"""The record of what ran, on both databases: what is asked of it after a kill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, update

from oriel.manifold import events
from oriel.manifold.cause import Cause
from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.machine import Life, Say, State
from oriel.manifold.tables import dyno_events
from oriel.store import outbox
from oriel.store.database import Database

NOTED = Cause("noted")
STOPPED = Cause("stopped", by="kate@foobazco.com")
NOW = datetime(2011, 6, 19, 8, 35, 19, 123456, tzinfo=UTC)


def spec(instance: str, name: str = "web.1", once: bool = False) -> LaunchSpec:
    type_, number = name.split(".")
    return LaunchSpec(
        instance=instance,
        app_id="app",
        app="sushi",
        channel="channel",
        type=type_,
        number=int(number),
        release=74,
        uid=1,
        command="run",
        size="standard-1x",
        slug=Path("/slug"),
        env={"SECRET": "s3cret"},
        once=once,
    )


def record(
    db: Database, who: LaunchSpec, *states: State, cause: Cause = NOTED, age_s: int = 0
) -> None:
    for state in states:
        life = Life(state, cause=cause)
        at = NOW - timedelta(seconds=age_s)
        db.write_now(lambda conn, life=life, at=at: events.record(conn, who, life, (), at))  # type: ignore[misc]


def test_an_entry_comes_back_as_it_went_in(database: Database) -> None:
    who = spec("i1", "release.74", once=True)
    record(database, who, "starting")
    entry = database.read_now(lambda conn: events.newest(conn, "i1"))
    assert entry is not None
    assert (entry.state, entry.at, entry.cause, entry.once) == ("starting", NOW, "", True)
    again = entry.spec()
    assert (again.instance, again.name, again.release) == (who.instance, who.name, who.release)
    assert (again.command, again.channel, again.once) == ("run", "channel", True)


def test_the_living_come_in_the_order_in_which_they_were_begun(database: Database) -> None:
    for instance in ("z", "a", "m"):
        record(database, spec(instance), "starting")
    record(database, spec("m"), "up")
    record(database, spec("z"), "stopping", cause=Cause("new_release", release=75))
    record(database, spec("gone"), "starting", "crashed")
    living = database.read_now(events.living)
    assert [(each.instance, each.state) for each in living] == [
        ("z", "stopping"),
        ("a", "starting"),
        ("m", "up"),
    ]


def test_those_that_rest(database: Database) -> None:
    record(database, spec("1", "web.1"), "starting", "crashed")
    record(database, spec("2", "web.2"), "starting", "crashed")
    record(database, spec("3", "web.2"), "starting", "up")
    record(database, spec("4", "web.3"), "down", cause=STOPPED)
    record(database, spec("5", "web.4"), "down", cause=Cause("new_release", release=75))
    record(database, spec("6", "web.5"), "idle", cause=Cause("idled"))
    late = Cause("exit_timeout", timeout_s=30, first=STOPPED)
    record(database, spec("7", "web.6"), "down", cause=late)
    resting = database.read_now(events.resting)
    assert [each.name for each in resting] == ["web.1", "web.3", "web.5", "web.6"]


def test_what_an_older_version_wrote_is_read_too(database: Database) -> None:
    """It had causes in words alone, and nothing of checks, crashes or switches."""
    record(database, spec("new"), "starting")
    old = {
        "app_id": "app",
        "name": "web.2",
        "type": "web",
        "number": 2,
        "release": 7,
        "at": NOW,
        "detail": {"command": "run", "size": "standard-1x", "channel": "c", "once": False},
    }
    rows = [
        {**old, "instance": "1", "state": "down", "cause": "stopped by kate@foobazco.com"},
        {**old, "instance": "2", "name": "web.3", "state": "crashed", "cause": "exited with 1"},
        {**old, "instance": "3", "name": "web.4", "state": "down", "cause": "replaced by v8"},
        {**old, "instance": "4", "name": "web.5", "state": "up", "cause": ""},
    ]
    database.write_now(lambda conn: conn.execute(insert(dyno_events), rows))
    resting = database.read_now(events.resting)
    assert [(each.instance, each.because.words) for each in resting] == [
        ("1", "stopped by kate@foobazco.com"),
        ("2", "exited with 1"),
    ]
    living = database.read_now(events.living)
    assert [each.instance for each in living] == ["new", "4"]
    assert living[1].notes == events.Notes()


def test_a_last_line_waits_for_the_drain_and_others_do_not(database: Database) -> None:
    says = (Say("Process exited with status 1", last=True), Say("State changed"))
    database.write_now(lambda conn: events.record(conn, spec("i1"), Life("crashed"), says, NOW))
    database.write_now(lambda conn: events.say(conn, spec("i2"), [Say("Restarting")], NOW))
    waiting = database.read_now(outbox.waiting)
    assert [(each.line.text, each.line.drain) for each in waiting] == [
        ("Process exited with status 1", "i1"),
        ("State changed", ""),
        ("Restarting", ""),
    ]
    assert {each.line.ps for each in waiting} == {"web.1"}
    assert "s3cret" not in repr(waiting)
    assert database.read_now(events.awaiting_drain) == {"i1"}
    database.write_now(lambda conn: outbox.delivered(conn, waiting[0].id))
    assert database.read_now(events.awaiting_drain) == frozenset()


def test_whether_it_is_recorded(database: Database) -> None:
    record(database, spec("i1"), "starting", "up")
    later = NOW + timedelta(microseconds=1)
    for life, at, known in [
        (Life("up"), NOW, True),
        (Life("up"), later, False),
        (Life("crashed"), NOW, False),
        (Life("starting"), NOW, False),
    ]:
        has = database.read_now(
            lambda conn, life=life, at=at: events.has(conn, spec("i1"), life, at)  # type: ignore[misc]
        )
        assert has is known
    assert not database.read_now(lambda conn: events.has(conn, spec("i2"), Life("up"), NOW))


@pytest.mark.parametrize("statement", [update(dyno_events).values(state="up"), delete(dyno_events)])
def test_the_record_cannot_be_changed(database: Database, statement: object) -> None:
    record(database, spec("i1"), "crashed")
    with pytest.raises(Exception, match="append"):
        database.write_now(lambda conn: conn.execute(statement))  # type: ignore[call-overload]
