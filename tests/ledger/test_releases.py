"""The order and immutability of releases, and where a rollback goes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text

from oriel.faults import Conflict, Invalid, NotFound, ReleasePending
from oriel.ledger import App, Release, acts, apps, drafts, releases
from oriel.store import Database, engines
from tests.ledger.world import NED, PROCFILE, START, Ledger, slug_of


def test_the_seeds_ledger(ledger: Ledger) -> None:
    """Push, break, roll back, fix: every line of `oriel releases` as the seed has it."""
    ledger.deploy("df7bb82" + "0" * 33)
    good = ledger.head()
    ledger.deploy("20a5742" + "0" * 33)
    back = ledger.roll_back()
    ledger.deploy("d706b4a" + "0" * 33)
    ledger.configure(FOO="baz")
    ledger.configure(FOO="1", BAR="2")
    ledger.configure(FOO=None)
    assert ledger.descriptions() == [
        "v8 Config remove FOO",
        "v7 Config add FOO, BAR",
        "v6 Config add FOO",
        "v5 Deploy d706b4a",
        "v4 Rollback to v2",
        "v3 Deploy 20a5742",
        "v2 Deploy df7bb82",
        "v1 Initial release",
    ]
    assert good is not None
    assert (back.slug_id, back.commit, back.process_types, back.state) == (
        good.slug_id,
        good.commit,
        good.process_types,
        good.state,
    )
    assert (back.copy_of, back.by_email, back.kind) == (2, "ned@foobazco.com", "rollback")
    assert ledger.verify().ok


def test_a_release_comes_back_as_it_was_appended(ledger: Ledger) -> None:
    made = ledger.deploy("abcdef0")
    ledger.read(lambda conn: _same(conn, ledger.app, made))
    assert made.process_types == PROCFILE
    assert made.created_at == ledger.now
    assert len(made.mac) == 32
    assert made.previous_mac == ledger.all()[0].mac
    assert made.short == made.mac.hex()[:12]


def _same(conn: Connection, app: App, made: Release) -> None:
    assert releases.get(conn, app.id, made.version) == made
    assert releases.by_id(conn, app.id, made.id) == made
    assert releases.newest(conn, app.id, 1) == [made]
    assert releases.head(conn, app.id) == made
    assert releases.last_version(conn, app.id) == made.version


def test_code_and_config_come_along_with_what_does_not_touch_them(ledger: Ledger) -> None:
    ledger.configure(A="1", B="ü 🎈 \n lines")
    ledger.deploy("abc")
    ledger.configure(A=None, C="3")
    state = ledger.head_state()
    assert state.config == {"B": "ü 🎈 \n lines", "C": "3"}
    assert state.commit == "abc"
    assert state.process_types == PROCFILE


def test_config_is_sealed_in_its_row(ledger: Ledger) -> None:
    made = ledger.configure(SECRET_KEY="hush-hush-hush")
    assert b"hush" not in made.config_sealed
    assert releases.config(ledger.vault, ledger.app, made) == {"SECRET_KEY": "hush-hush-hush"}


def test_an_equal_tree_keeps_the_commit_it_was_pushed_from(ledger: Ledger) -> None:
    """A slug is known by its content: two commits of the same tree share one."""
    first = slug_of(ledger.app.id, "aaaaaaa")
    again = slug_of(ledger.app.id, "aaaaaaa")
    ledger.append(drafts.deploy(ledger.head_state(), first))
    other = type(first)(**{f: getattr(again, f) for f in first.__slots__} | {"commit": "bbbbbbb"})
    made = ledger.append(drafts.deploy(ledger.head_state(), other))
    assert (made.commit, made.description) == ("bbbbbbb", "Deploy bbbbbbb")
    assert ledger.configure(A="1").commit == "bbbbbbb"


def test_pages_of_releases(ledger: Ledger) -> None:
    for number in range(5):
        ledger.configure(N=str(number))

    def versions(limit: int, before: int | None = None) -> list[int]:
        found = ledger.read(lambda conn: releases.newest(conn, ledger.app.id, limit, before))
        return [each.version for each in found]

    assert versions(2) == [6, 5]
    assert versions(2, before=5) == [4, 3]
    assert versions(9, before=3) == [2, 1]
    assert versions(9, before=1) == []


def test_what_is_not_there(ledger: Ledger) -> None:
    for find in (
        lambda conn: releases.get(conn, ledger.app.id, 99),
        lambda conn: releases.by_id(conn, ledger.app.id, "nothing"),
        lambda conn: releases.get(conn, "no-app", 1),
    ):
        with pytest.raises(NotFound) as caught:
            ledger.read(find)
        assert caught.value.resource == "release"
    assert ledger.read(lambda conn: releases.head(conn, "no-app")) is None
    assert ledger.read(lambda conn: releases.last_version(conn, "no-app")) == 0


def test_one_apps_release_is_not_anothers(ledger: Ledger) -> None:
    made = ledger.deploy("abc")
    other = ledger.write(lambda conn: ledger.create(conn, "other"))
    with pytest.raises(NotFound):
        ledger.read(lambda conn: releases.by_id(conn, other.id, made.id))


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_pending_release_holds_off_others_until_it_is_settled(
    ledger: Ledger, status: str
) -> None:
    before = ledger.deploy("aaa")
    pending = ledger.deploy("bbb", "pending")
    assert ledger.head() == before
    assert ledger.read(lambda conn: releases.pending(conn, ledger.app.id)) == pending
    assert ledger.read(releases.all_pending) == [pending]
    with pytest.raises(ReleasePending, match="v3 of foobaz is still under way") as caught:
        ledger.configure(A="1")
    assert caught.value.app == "foobaz"

    settled = ledger.settle(pending, status, "it said so")
    assert (settled.status, settled.status_reason) == (status, "it said so")
    assert ledger.head() == (settled if status == "succeeded" else before)
    assert ledger.read(releases.all_pending) == []
    with pytest.raises(Conflict, match=f"already {status}"):
        ledger.settle(pending, "succeeded")
    ledger.configure(A="1")
    assert ledger.all()[2] == settled
    assert ledger.verify().ok


def test_a_destroyed_app_gets_no_more_releases_and_has_none_to_settle(ledger: Ledger) -> None:
    pending = ledger.deploy("bbb", "pending")
    ledger.write(lambda conn: apps.destroy(conn, ledger.app, START))
    assert ledger.read(releases.all_pending) == []
    with pytest.raises(NotFound, match="Couldn't find that app"):
        ledger.append(drafts.initial())
    with pytest.raises(NotFound):
        ledger.settle(pending, "failed")


def test_the_failed_change_leaves_no_act(ledger: Ledger) -> None:
    before = ledger.read(lambda conn: acts.of_app(conn, ledger.app.id))
    with pytest.raises(Invalid, match="BIG"):
        ledger.configure(BIG="x" * 70_000)
    assert ledger.read(lambda conn: acts.of_app(conn, ledger.app.id)) == before


# A history is what happened, in words; the number is where a bare rollback then goes.
# d X: deploy X; c X: config to X; f: the next deploy fails; r: rollback; r N: rollback to vN
ROLLBACKS = {
    "the last deploy": ("d A, d B", 2),
    "twice goes two back": ("d A, d B, d C, r", 2),
    "three times goes three back": ("d A, d B, d C, d D, r, r", 2),
    "a copy of a copy": ("d A, d B, d C, d D, r 3, r 6", 2),
    "past the mistake, the fix and the rollback": ("d A, d B, d C, r, d D", 5),
    "then to before what that was a copy of": ("d A, d B, d C, r, d D, r", 2),
    "a config change": ("d A, c X", 2),
    "config is part of the state": ("d A, c X, c Y, r", 2),
    "failed ones are no place to go": ("d A, f B, d C", 2),
    "the head is the newest that succeeded": ("d A, d B, f C", 2),
    "equal states are skipped": ("d A, d B, d B, d B", 2),
    "a state that came back": ("d A, d B, d A", 3),
    "without code only where there is none": ("c X, c Y", 2),
    "the initial one, while there is no code": ("c X", 1),
    "explicitly, then bare": ("d A, d B, d C, r 2, d D", 5),
}


@pytest.mark.parametrize("history", ROLLBACKS)
def test_where_a_bare_rollback_goes(ledger: Ledger, history: str) -> None:
    steps, expected = ROLLBACKS[history]
    _play(ledger, steps)
    target = ledger.read(lambda conn: releases.rollback_target(conn, ledger.app.id))
    assert target.version == expected


NOWHERE = ["", "d A", "d A, r 2", "c X, d A", "d A, d B, r", "f A", "d A, d A", "d A, f B"]


@pytest.mark.parametrize("steps", NOWHERE)
def test_nowhere_to_roll_back_to(ledger: Ledger, steps: str) -> None:
    _play(ledger, steps)
    with pytest.raises(Invalid, match="nothing to roll back to") as caught:
        ledger.read(lambda conn: releases.rollback_target(conn, ledger.app.id))
    assert "oriel releases" in caught.value.hint


def test_no_release_at_all_is_a_sentence(ledger: Ledger) -> None:
    with pytest.raises(Invalid, match="no release"):
        ledger.read(lambda conn: releases.rollback_target(conn, "another app"))


def _play(ledger: Ledger, steps: str) -> None:
    for step in filter(None, steps.split(", ")):
        verb, _, name = step.partition(" ")
        if verb == "d":
            ledger.deploy(name)
        elif verb == "f":
            ledger.settle(ledger.deploy(name, "pending"), "failed")
        elif verb == "c":
            ledger.configure(X=name)
        else:
            ledger.roll_back(int(name) if name else None)


def test_appends_from_many_threads_make_one_chain(ledger: Ledger) -> None:
    def change(number: int) -> Release:
        def work(conn: Connection) -> Release:
            head = releases.head(conn, ledger.app.id)
            assert head is not None
            state = releases.state(conn, ledger.vault, ledger.app, head)
            return ledger.append_in(conn, drafts.configure(state, {f"N{number}": "1"}))

        return ledger.database.write_now(work)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(change, range(12)))
    assert sorted(each.version for each in made) == list(range(2, 14))
    # Each began from the head at its own moment: no change was lost.
    assert ledger.head_state().config == {f"N{number}": "1" for number in range(12)}
    assert ledger.verify().ok


@pytest.mark.real
def test_two_sessions_of_postgresql_cannot_follow_the_same_release(tmp_path: Path) -> None:
    """Past the one writer: the row of the app makes the second wait for the first."""
    from oriel.clock import SystemClock
    from tests.postgres import new_url

    url = new_url("postgresql", tmp_path)
    opened = Database.open(url, SystemClock())
    ledger = Ledger(opened)
    engine = engines.writer(make_url(url).set(drivername="postgresql+psycopg"))
    appended, go_on = threading.Event(), threading.Event()

    def first() -> Release:
        with engine.connect() as conn, conn.begin():
            made = ledger.append_in(conn, drafts.configure(drafts.NOTHING, {"A": "1"}))
            appended.set()
            assert go_on.wait(10)
            return made

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert appended.wait(10)
        draft = drafts.configure(drafts.NOTHING, {"B": "1"})
        two = pool.submit(lambda: opened.write_now(lambda conn: ledger.append_in(conn, draft)))
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        for _ in range(1000):  # until the second session waits for the first
            if opened.read_now(lambda conn: conn.execute(waits).scalar_one()):
                break
            threading.Event().wait(0.01)
        go_on.set()
        versions = (one.result().version, two.result().version)
    engine.dispose()
    assert versions == (2, 3)
    assert ledger.verify().ok
    opened.close()


def test_an_act_is_part_of_the_same_change(ledger: Ledger) -> None:
    made = ledger.deploy("abc")
    (act, *_) = ledger.read(lambda conn: acts.of_app(conn, ledger.app.id))
    assert act.id == made.act_id
    assert act.actor == NED
