"""Writes that wait together are one commit: each is still a transaction of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import IntegrityError

from oriel.clock import SystemClock
from oriel.faults import Conflict, Unavailable
from oriel.store import Database, Line, group, outbox

CLOCK = SystemClock()
Work = Callable[[Connection], object]


def posts(text: str) -> Work:
    return lambda conn: outbox.post(conn, Line("channel", "heroku", "api", text), CLOCK.wall())


def texts(conn: Connection) -> list[str]:
    return [posted.line.text for posted in outbox.waiting(conn, 100_000)]


def fails(error: Exception) -> Work:
    def work(conn: Connection) -> None:
        posts("never")(conn)
        raise error

    return work


def breaks_a_rule(conn: Connection) -> None:
    posts("never")(conn)
    conn.exec_driver_sql("INSERT INTO outbox (id) VALUES (1)")  # its other columns may not be null


def ends_the_transaction(conn: Connection) -> None:
    """As SQLite does by itself when a disk is full at the wrong moment."""
    conn.exec_driver_sql("ROLLBACK")
    raise Unavailable("the disk is full")


async def together(
    database: Database, works: Sequence[Work], before: Callable[[], object] = lambda: None
) -> list[object]:
    """What becomes of writes that all wait for one that takes its time; `before` is called when
    they wait.
    """
    began, go_on = threading.Event(), threading.Event()

    def hold(conn: Connection) -> None:
        began.set()
        assert go_on.wait(10)

    held = asyncio.ensure_future(database.write(hold))
    assert await asyncio.to_thread(began.wait, 10)
    waiting = [asyncio.ensure_future(database.write(work)) for work in works]
    await asyncio.sleep(0)  # in which each asks
    before()
    go_on.set()
    await held
    return await asyncio.gather(*waiting, return_exceptions=True)


@pytest.fixture
def commits(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """One entry for each commit of the writer, however slow this machine is."""
    monkeypatch.setattr(group, "GROUP_S", 60.0)
    found: list[Connection] = []
    event.listen(database._write_engine, "commit", found.append)
    return found


def test_those_that_wait_are_one_commit_in_the_order_in_which_they_asked(
    database: Database, commits: list[Connection]
) -> None:
    ids = asyncio.run(together(database, [posts(f"{number}") for number in range(30)]))
    assert ids == sorted(int(str(each)) for each in ids)
    assert database.read_now(texts) == [f"{number}" for number in range(30)]
    assert len(commits) == 2  # with the one that they waited for


def test_one_that_waits_alone_needs_no_savepoint(database: Database) -> None:
    said: list[str] = []
    event.listen(
        database._write_engine, "before_cursor_execute", lambda *told: said.append(told[2])
    )
    database.write_now(posts("alone"))
    assert said
    assert not [each for each in said if "SAVEPOINT" in each]


def test_each_sees_what_those_before_it_wrote(database: Database) -> None:
    works = [posts("one"), texts, posts("two"), texts]
    assert asyncio.run(together(database, works))[1::2] == [["one"], ["one", "two"]]


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (fails(Conflict("no")), Conflict),
        (fails(ValueError("a mistake")), ValueError),
        (breaks_a_rule, IntegrityError),
    ],
)
def test_the_fault_of_one_is_its_own(
    database: Database, commits: list[Connection], at: int, wrong: Work, error: type[Exception]
) -> None:
    works = [posts(f"{number}") for number in range(4)]
    works.insert(at, wrong)
    found = asyncio.run(together(database, works))
    assert isinstance(found.pop(at), error)
    assert [type(each) for each in found] == [int] * 4
    assert database.read_now(texts) == ["0", "1", "2", "3"]
    assert len(commits) == 2


def test_the_listener_hears_of_a_group_in_which_a_line_was_posted_and_stayed(
    database: Database,
) -> None:
    heard: list[int] = []
    database.on_outbox = lambda: heard.append(len(database.read_now(texts)))
    wrong = fails(Conflict("no"))
    asyncio.run(together(database, [wrong, texts, wrong]))
    assert heard == []
    asyncio.run(together(database, [posts("a"), wrong, posts("b"), texts]))
    assert heard == [2]  # once, behind the commit


def test_nobody_is_answered_before_the_commit(database: Database) -> None:
    answered: list[str] = []
    seen: list[str] = []

    async def ask(name: str, work: Work) -> None:
        try:
            await database.write(work)
        except Conflict:
            name += " failed"
        answered.append(name)

    async def story() -> None:
        loop = asyncio.get_running_loop()

        def look(conn: Connection) -> None:
            for _ in range(5):  # turns of the loop, in which it could be told
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
            seen.extend(answered)

        asked = {"a": posts("a"), "b": fails(Conflict("no")), "c": look}
        tasks: list[asyncio.Task[None]] = []

        def begin() -> None:
            tasks.extend(asyncio.create_task(ask(*each)) for each in asked.items())

        # They ask in the loop's next turn, while the one that is held still is.
        await together(database, [], begin)
        await asyncio.gather(*tasks)

    asyncio.run(story())
    assert seen == []
    assert answered == ["a", "b failed", "c"]


def test_a_group_that_cannot_be_committed_is_nobodys(database: Database) -> None:
    commits: list[Connection] = []

    def at_commit(conn: Connection) -> None:
        commits.append(conn)
        if len(commits) == 2:
            raise Unavailable("the disk is full")

    event.listen(database._write_engine, "commit", at_commit)
    works = [posts("a"), fails(Conflict("no")), posts("b")]
    found = asyncio.run(together(database, works))
    assert [type(each) for each in found] == [Unavailable, Conflict, Unavailable]
    assert database.read_now(texts) == []
    database.write_now(posts("after"))
    assert database.read_now(texts) == ["after"]


def test_what_is_undone_for_anothers_sake_is_carried_out_again(database: Database) -> None:
    works = [posts("a"), fails(Conflict("no")), ends_the_transaction, posts("b"), posts("c")]
    found = asyncio.run(together(database, works))
    assert [type(each) for each in found] == [int, Conflict, Unavailable, int, int]
    assert database.read_now(texts) == ["a", "b", "c"]


def test_those_that_have_waited_long_enough_are_answered_before_more_join(
    database: Database, commits: list[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "GROUP_S", 0.0)
    works = [posts(f"{number}") for number in range(5)]
    assert [type(each) for each in asyncio.run(together(database, works))] == [int] * 5
    assert database.read_now(texts) == ["0", "1", "2", "3", "4"]
    assert len(commits) == 6


def test_one_that_is_called_off_while_it_waits_is_not_begun(database: Database) -> None:
    async def called_off() -> list[object]:
        began, go_on = threading.Event(), threading.Event()

        def hold(conn: Connection) -> None:
            began.set()
            assert go_on.wait(10)

        held = asyncio.create_task(database.write(hold))
        assert await asyncio.to_thread(began.wait, 10)
        waiting = [asyncio.create_task(database.write(posts(each))) for each in "abc"]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.wait({waiting[1]})
        go_on.set()
        return await asyncio.gather(held, *waiting, return_exceptions=True)

    found = asyncio.run(called_off())
    assert isinstance(found[2], asyncio.CancelledError)
    assert database.read_now(texts) == ["a", "c"]


def test_a_mistake_of_the_writers_own_is_an_answer_and_not_its_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*told: object) -> None:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(group, "carry_out", wrong)
        for ask in (database.write_now, lambda work: asyncio.run(database.write(work))):
            with pytest.raises(RuntimeError, match="a mistake"):
                ask(posts("never"))
    database.write_now(posts("after"))
    assert database.read_now(texts) == ["after"]


def test_readers_do_not_wait_for_a_group(database: Database) -> None:
    async def story() -> None:
        began, go_on = threading.Event(), threading.Event()

        def hold(conn: Connection) -> None:
            began.set()
            assert go_on.wait(30)

        async def look() -> None:
            assert await asyncio.to_thread(began.wait, 10)
            async with asyncio.timeout(20):
                assert [await database.read(texts) for _ in range(20)] == [[]] * 20
            go_on.set()

        await asyncio.gather(together(database, [posts("a"), hold, posts("b")]), look())
        assert await database.read(texts) == ["a", "b"]

    asyncio.run(story())


def test_readers_have_their_turn_beside_a_flood_of_writes(database: Database) -> None:
    async def story() -> list[int]:
        flood = asyncio.gather(*[database.write(posts(f"{number}")) for number in range(900)])
        seen = []
        while not flood.done():
            seen.append(await database.read(lambda conn: len(texts(conn))))
        await flood
        return seen

    seen = asyncio.run(story())
    # What is read is what was committed, whole groups of it, and more each time.
    assert seen == sorted(seen)
    assert len(set(seen)) > 3


def test_one_too_large_for_the_disk_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/oriel.db", CLOCK)

    def limit(conn: Connection) -> None:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

    database.write_now(limit)
    works = [posts("a"), posts("x" * 100_000), posts("b")]
    found = asyncio.run(together(database, works))
    assert [type(each) for each in found] == [int, Unavailable, int]
    assert database.read_now(texts) == ["a", "b"]
    database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "oriel-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only who may mount can make a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_where_there_is_no_room_for_all_there_may_be_for_some(small_disk: Path) -> None:
    database = Database.open(f"sqlite:///{small_disk}/oriel.db", CLOCK)

    def fill() -> None:
        with contextlib.suppress(OSError), open(small_disk / "full", "wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        os.truncate(small_disk / "full", (small_disk / "full").stat().st_size - 200_000)

    works = [posts("a"), posts("x" * 500_000), posts("b")]
    found = asyncio.run(together(database, works, fill))
    assert [type(each) for each in found] == [int, Unavailable, int]
    assert "full" in str(found[1])
    assert database.read_now(texts) == ["a", "b"]
    (small_disk / "full").unlink()
    assert database.write_now(posts("after"))
    assert database.read_now(texts) == ["a", "b", "after"]
    database.close()


FULL = """
import asyncio, os, resource, signal, sys
from oriel.clock import SystemClock
from oriel.store import Database
from tests.store.test_group import posts, texts, together

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = sys.argv[1]
database = Database.open(f"sqlite:///{path}", SystemClock())
database.write_now(posts("before"))
works = [posts("a"), posts("b"), posts("c")]
full = lambda: limit(os.stat(path + "-wal").st_size)
found = asyncio.run(together(database, works, full))
limit(resource.RLIM_INFINITY)
print([type(each).__name__ for each in found], database.read_now(texts), sep="\\n")
found = asyncio.run(together(database, works))
print([type(each).__name__ for each in found], database.read_now(texts), sep="\\n")
database.close()
"""


def test_a_group_that_finds_no_room_loses_nothing_that_was_there(tmp_path: Path) -> None:
    """The log of a database may not grow: what a full disk does to a commit."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, f"{tmp_path}/oriel.db"], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "['Unavailable', 'Unavailable', 'Unavailable']",
        "['before']",
        "['int', 'int', 'int']",
        "['before', 'a', 'b', 'c']",
    ], done.stderr


KILLED = """
import asyncio, os, signal, sys
from oriel.clock import SystemClock
from oriel.store import Database
from tests.store.test_group import posts, together

url, where = sys.argv[1:]
database = Database.open(url, SystemClock())
database.write_now(posts("before"))
die = lambda *told: os.kill(os.getpid(), signal.SIGKILL)
works = [posts("a"), posts("b"), posts("c")]
if where == "before the commit":
    works.append(die)
begin = lambda: setattr(database, "on_outbox", die)  # called between the commit and the answers
print("answered", asyncio.run(together(database, works, begin)))
"""


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("before the commit", ["before"]),
        ("behind the commit", ["before", "a", "b", "c"]),
    ],
)
def test_a_kill_keeps_the_whole_group_or_none_of_it(url: str, where: str, kept: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, where], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, ""), done.stderr
    database = Database.open(url, CLOCK)
    assert database.read_now(texts) == kept
    database.close()


WRITERS = """
import asyncio, sys
from oriel.clock import SystemClock
from oriel.store import Database
from tests.store.test_group import posts

async def write(name):
    number = 0
    while True:
        await database.write(posts(f"{name} {number}"))
        print(name, number, flush=True)
        number += 1

async def main():
    await asyncio.gather(*[write(name) for name in "abcdefgh"])

database = Database.open(sys.argv[1], SystemClock())
asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 60, 400])
def test_a_killed_writer_of_many_loses_nothing_that_it_acknowledged(
    tmp_path: Path, lines: int
) -> None:
    url = f"sqlite:///{tmp_path}/oriel.db"
    command = [sys.executable, "-c", WRITERS, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        os.kill(writer.pid, signal.SIGKILL)
        said += writer.stdout.readlines()
    database = Database.open(url, CLOCK)
    kept = database.read_now(texts)
    database.close()
    for name in "abcdefgh":
        mine = [each for each in kept if each.startswith(name)]
        acknowledged = sum(each.startswith(name) and each.endswith("\n") for each in said)
        assert mine == [f"{name} {number}" for number in range(len(mine))]
        assert acknowledged <= len(mine) <= acknowledged + 1
