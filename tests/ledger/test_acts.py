"""Who did what, newest first, in pages."""

from __future__ import annotations

from oriel.ledger import Act, acts
from oriel.lexicon import PLATFORM
from tests.ledger.world import NED, START, Ledger


def test_an_act_comes_back_as_it_was_written(ledger: Ledger) -> None:
    detail = {"keys": ["FOO"], "quantity": 4, "nothing": None, "ü": "🎈"}
    app_id = ledger.app.id
    id = ledger.write(lambda conn: acts.append(conn, NED, app_id, "config:set", detail, START))
    (newest, *_) = ledger.read(lambda conn: acts.of_app(conn, app_id))
    assert newest == Act(id, app_id, "config:set", NED, detail, START)


def test_pages_of_acts_and_those_of_no_app(ledger: Ledger) -> None:
    app_id = ledger.app.id

    def add(verb: str, app_id: str | None) -> int:
        return ledger.write(lambda conn: acts.append(conn, PLATFORM, app_id, verb, {}, START))

    ids = [add(str(number), app_id) for number in range(4)]
    add("login", None)
    add("elsewhere", "another app")
    assert ids == sorted(set(ids))
    page = ledger.read(lambda conn: acts.of_app(conn, app_id, 2))
    assert [act.verb for act in page] == ["3", "2"]
    page = ledger.read(lambda conn: acts.of_app(conn, app_id, 2, page[-1].id))
    assert [act.verb for act in page] == ["1", "0"]
