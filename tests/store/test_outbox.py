"""Lines owed to the channels: each id once and ascending, each text fit to be stored."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings, strategies

from oriel.store import Database, Line, Posted, outbox

NOW = datetime(2011, 6, 19, 8, 35, 18, 123456, tzinfo=UTC)


def test_a_line_comes_back_as_it_was_posted(database: Database) -> None:
    line = Line("c", "heroku", "web.1", "State changed", 3, 74, "instance", {"a": "b"})
    given_id = database.write_now(lambda conn: outbox.post(conn, line, NOW))
    assert database.read_now(outbox.waiting) == [Posted(given_id, NOW, line)]


def test_oldest_first_and_only_so_many(database: Database) -> None:
    ids = [
        database.write_now(
            lambda conn, n=n: outbox.post(conn, Line("c", "heroku", "api", str(n)), NOW)
        )
        for n in range(5)
    ]
    assert ids == sorted(set(ids))
    assert [each.line.text for each in database.read_now(lambda c: outbox.waiting(c, 3))] == [
        "0",
        "1",
        "2",
    ]


def test_delivered_lines_go_and_their_ids_never_return(database: Database, url: str) -> None:
    """Logplex skips an id it has seen: one given twice would be a line lost."""
    line = Line("c", "heroku", "api", "x")
    ids = []
    for _ in range(3):
        ids.append(database.write_now(lambda conn: outbox.post(conn, line, NOW)))
        database.write_now(lambda conn: outbox.delivered(conn, ids[-1]))
        assert database.read_now(outbox.waiting) == []
    database.close()
    again = Database.open(url, _clock())
    ids.append(again.write_now(lambda conn: outbox.post(conn, line, NOW)))
    again.close()
    assert ids == sorted(set(ids))


def test_delivered_keeps_what_is_younger(database: Database) -> None:
    line = Line("c", "heroku", "api", "x")
    first, second = (
        database.write_now(lambda conn: outbox.post(conn, line, NOW)) for _ in range(2)
    )
    database.write_now(lambda conn: outbox.delivered(conn, first))
    assert [each.id for each in database.read_now(outbox.waiting)] == [second]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=strategies.text(strategies.characters(categories=None), max_size=40))
def test_any_text_can_be_posted_and_stays_one_line(database: Database, text: str) -> None:
    line = Line("c", "heroku", "api", text, data={"k": text})

    def work(conn: object) -> str:
        outbox.post(conn, line, NOW)
        return outbox.waiting(conn, 10_000)[-1].line.text

    kept = database.write_now(work)
    assert len(kept.splitlines()) <= 1 or not any(c in kept for c in "\r\n\x0b\x0c\x85\u2028\u2029")
    assert "\0" not in kept
    kept.encode()


def test_a_line_cannot_be_two(database: Database) -> None:
    forged = "Deploy x\r\n2011-06-19T08:35:19+00:00 heroku[api]: Release v9 created by ned"
    line = Line("c", "heroku", "api", forged)
    database.write_now(lambda conn: outbox.post(conn, line, NOW))
    (posted,) = database.read_now(outbox.waiting)
    assert posted.line.text == forged.replace("\r\n", " ")


def _clock() -> object:
    from oriel.clock import SystemClock

    return SystemClock()


def test_ids_go_on_above_what_the_logs_have(database: Database) -> None:
    def post(text: str, at: datetime) -> int:
        line = Line("c", "heroku", "api", text, 3, 7, "", {"a": "b"})
        return database.write_now(lambda conn: outbox.post(conn, line, at))

    assert database.read_now(outbox.last_id) == 0
    old = post("old", NOW)
    later = NOW.replace(year=2012)
    post("new", later)
    assert database.read_now(outbox.last_id) == old + 1
    assert database.write_now(lambda conn: outbox.raise_above(conn, 500, later)) == 1
    assert [(each.id, each.line.text) for each in database.read_now(outbox.waiting)] == [
        (old, "old"),
        (501, "new"),
    ]
    assert database.read_now(outbox.waiting)[1].line.data == {"a": "b"}
    assert post("newer", later) == 502
    # Where it is above already, nothing changes.
    assert database.write_now(lambda conn: outbox.raise_above(conn, 400, NOW)) == 0
    assert post("newest", later) == 503


def test_ids_of_an_outbox_that_never_had_a_line_are_raised_too(database: Database) -> None:
    database.write_now(lambda conn: outbox.raise_above(conn, 9, NOW))
    line = Line("c", "heroku", "api", "first")
    assert database.write_now(lambda conn: outbox.post(conn, line, NOW)) == 10
