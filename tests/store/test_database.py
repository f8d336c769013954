"""The database as its users see it: serial writes, reads of one moment, faults with a sentence."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text

from oriel.clock import SystemClock
from oriel.faults import Conflict, Invalid, Unavailable
from oriel.store import Database, Line, lanes, outbox
from oriel.store import database as module

CLOCK = SystemClock()


def line(text: str = "hello") -> Line:
    return Line("channel", "heroku", "api", text)


def post(conn: Connection, text: str = "hello") -> int:
    return outbox.post(conn, line(text), CLOCK.wall())


def texts(conn: Connection) -> list[str]:
    return [posted.line.text for posted in outbox.waiting(conn)]


def test_what_is_written_is_read_and_survives_reopening(database: Database, url: str) -> None:
    database.write_now(lambda conn: post(conn, "kept"))
    assert database.read_now(texts) == ["kept"]
    database.close()
    again = Database.open(url, CLOCK)
    assert again.read_now(texts) == ["kept"]
    again.close()


def test_a_failed_write_leaves_nothing(database: Database) -> None:
    def work(conn: Connection) -> None:
        post(conn)
        raise Conflict("no")

    with pytest.raises(Conflict, match="no"):
        database.write_now(work)
    assert database.read_now(texts) == []


def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        database.read_now(post)
    assert database.read_now(texts) == []


def test_a_read_sees_one_moment(database: Database) -> None:
    def work(conn: Connection) -> list[list[str]]:
        before = texts(conn)
        database.write_now(lambda other: post(other, "meanwhile"))
        return [before, texts(conn)]

    assert database.read_now(work) == [[], []]
    assert database.read_now(texts) == ["meanwhile"]


def test_writes_of_many_tasks_are_serial(database: Database) -> None:
    inside: list[int] = []

    def work(conn: Connection) -> int:
        inside.append(1)
        assert len(inside) == 1
        given = post(conn)
        inside.pop()
        return given

    async def many() -> list[int]:
        return await asyncio.gather(*[database.write(work) for _ in range(40)])

    ids = asyncio.run(many())
    assert ids == sorted(set(ids))
    assert asyncio.run(database.read(lambda conn: len(texts(conn)))) == 40


def test_the_listener_hears_of_commits_that_posted_only(database: Database) -> None:
    heard: list[str] = []

    def listen() -> None:
        heard.append(threading.current_thread().name)
        assert database.read_now(texts)  # committed already

    database.on_outbox = listen
    database.write_now(lambda conn: conn.execute(text("SELECT 1")).scalar())
    with pytest.raises(Conflict):
        database.write_now(_post_and_fail)
    assert heard == []
    database.write_now(post)
    database.write_now(texts)
    assert len(heard) == 1
    assert heard[0].startswith("oriel-writer")


def _post_and_fail(conn: Connection) -> None:
    post(conn)
    raise Conflict("no")


def test_a_listener_that_fails_does_not_undo_the_write(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def listen() -> None:
        raise RuntimeError("boom")

    database.on_outbox = listen
    database.write_now(post)
    assert database.read_now(texts) == ["hello"]
    assert "listener failed" in caplog.text


def test_a_cancelled_write_that_began_is_carried_out(database: Database) -> None:
    began, go_on = threading.Event(), threading.Event()

    def work(conn: Connection) -> None:
        began.set()
        assert go_on.wait(10)
        post(conn)

    async def story() -> None:
        task = asyncio.create_task(database.write(work))
        assert await asyncio.to_thread(began.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(story())
    assert database.write_now(texts) == ["hello"]


def test_the_queue_of_reads_is_bounded() -> None:
    go_on = threading.Event()
    lane = lanes.ReadLane("small", 1)
    lane._room = threading.BoundedSemaphore(2)
    first, second = lane.submit(go_on.wait), lane.submit(lambda: 2)
    with pytest.raises(Unavailable, match="Too much is waiting"):
        lane.submit(lambda: 3)
    go_on.set()
    assert (first.result(), second.result()) == (True, 2)
    assert lane.submit(lambda: 4).result() == 4
    lane.close()
    with pytest.raises(Unavailable, match="closed"):
        lane.submit(lambda: 5)


def test_the_queue_of_writes_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WAITING_MAX", 2)
    began, go_on = threading.Event(), threading.Event()

    def hold(conn: Connection) -> bool:
        began.set()
        return go_on.wait(10)

    async def story() -> list[object]:
        first = asyncio.ensure_future(database.write(hold))
        assert await asyncio.to_thread(began.wait, 10)
        waiting = [asyncio.ensure_future(database.write(lambda conn, n=n: n)) for n in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="Too much is waiting"):
            await database.write(lambda conn: 4)
        go_on.set()
        return [*await asyncio.gather(first, *waiting), await database.write(lambda conn: 5)]

    assert asyncio.run(story()) == [True, 2, 3, 5]
    database.close()
    with pytest.raises(Unavailable, match="closed"):
        database.write_now(lambda conn: 6)


def test_a_second_oriel_is_refused_and_told_by_whom(database: Database, url: str) -> None:
    with pytest.raises(Conflict, match=r"in use by .*process \d+") as caught:
        Database.open(url, CLOCK)
    assert "oriel down" in caught.value.hint
    database.write_now(post)
    database.close()
    Database.open(url, CLOCK).close()


def test_the_database_is_its_users_alone(tmp_path: Path) -> None:
    opened = Database.open(f"sqlite:///{tmp_path}/oriel.db", CLOCK)
    opened.write_now(post)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    opened.close()
    assert modes.keys() >= {"oriel.db", "oriel.db-wal", "oriel.db.lock"}
    assert set(modes.values()) == {0o600}


def test_sqlite_is_set_up_to_survive_power_cuts(tmp_path: Path) -> None:
    opened = Database.open(f"sqlite:///{tmp_path}/oriel.db", CLOCK)

    def pragmas(conn: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
        return [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert opened.write_now(pragmas) == ["wal", 2, 1, 1]
    opened.close()


@pytest.mark.parametrize(
    "bad", ["", "nonsense", "sqlite://", "sqlite:///relative.db", "mysql://u:hush@h/d", "x://hush@"]
)
def test_a_url_that_cannot_be_used_is_not_repeated(bad: str) -> None:
    with pytest.raises(Invalid) as caught:
        Database.open(bad, CLOCK)
    assert "hush" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    "given", ["postgres://h/d", "postgresql://h/d", "postgresql+psycopg://h/d"]
)
def test_each_spelling_of_postgresql_is_taken(given: str) -> None:
    assert module._parse(given) == make_url("postgresql+psycopg://h/d")


def test_a_server_that_is_away_is_a_sentence_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="database cannot be used") as caught:
        Database.open(f"postgresql://oriel:hush@/d?host={tmp_path}", CLOCK)
    assert "hush" not in str(caught.value)


def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    opened = Database.open(f"sqlite:///{tmp_path}/oriel.db", CLOCK)
    opened.write_now(lambda conn: post(conn, "before"))

    def fill(conn: Connection) -> None:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for _ in range(100):
            post(conn, "x" * 4000)

    with pytest.raises(Unavailable, match="full"):
        opened.write_now(fill)
    assert opened.read_now(texts) == ["before"]
    opened.write_now(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count = 1000000"))
    opened.write_now(lambda conn: post(conn, "after"))
    assert opened.read_now(texts) == ["before", "after"]
    opened.close()


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "oriel.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable):
        Database.open(f"sqlite:///{tmp_path}/oriel.db", CLOCK)
    # The lock was given back: putting the right file there is enough.
    (tmp_path / "oriel.db").unlink()
    Database.open(f"sqlite:///{tmp_path}/oriel.db", CLOCK).close()


@pytest.mark.real
def test_a_writer_whose_session_ended_takes_lock_and_work_up_again(tmp_path: Path) -> None:
    from tests.postgres import new_url, server

    url = new_url("postgresql", tmp_path)
    opened = Database.open(url, CLOCK)
    opened.write_now(lambda conn: post(conn, "before"))
    name = make_url(url).database
    server().execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    opened.write_now(lambda conn: post(conn, "after"))
    assert opened.read_now(texts) == ["before", "after"]
    with pytest.raises(Conflict):
        Database.open(url, CLOCK)
    opened.close()


@pytest.mark.real
def test_a_writer_that_lost_the_lock_to_another_cannot_write(tmp_path: Path) -> None:
    from tests.postgres import new_url, server

    url = new_url("postgresql", tmp_path)
    first = Database.open(url, CLOCK)
    name = make_url(url).database
    server().execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    second = Database.open(url, CLOCK)
    with pytest.raises(Conflict, match="another Oriel"):
        first.write_now(post)
    second.write_now(lambda conn: post(conn, "mine"))
    assert second.read_now(texts) == ["mine"]
    second.close()
    first.close()


WRITER = """
import sys
from oriel.clock import SystemClock
from oriel.store import Database, Line, outbox

clock = SystemClock()
database = Database.open(sys.argv[1], clock)
number = 0
while True:
    def work(conn):
        for half in "ab":
            outbox.post(conn, Line("c", "heroku", "api", f"{number}{half}"), clock.wall())
    database.write_now(work)
    print(number, flush=True)
    number += 1
"""


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Kill in the middle of writes, three times over the same file, then read it all back."""
    url = f"sqlite:///{tmp_path}/oriel.db"
    expected = 0
    for acknowledged_at_least in (1, 40, 7):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(acknowledged_at_least)]
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(number) for number in writer.stdout.read().split("\n")[:-1]]
        writer.wait()
        writer.stdout.close()
        opened = Database.open(url, CLOCK)
        kept = opened.write_now(texts)
        # Whole transactions only: all that were acknowledged, and at most the one under way.
        whole = [f"{number}{half}" for number in range(len(kept) // 2) for half in "ab"]
        assert kept == whole
        assert len(said) <= len(kept) // 2 <= len(said) + 1
        assert (
            opened.write_now(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"
        )
        last = opened.write_now(lambda conn: outbox.waiting(conn, 100_000)[-1].id)
        assert last > expected
        opened.write_now(lambda conn, last=last: outbox.delivered(conn, last))
        expected = last
        opened.close()
