from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Reply, Request, Stub

PATH = "/oriel/apps/foobaz/dyno-events"


def event(id: int, at: str, before: str | None, after: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "at": f"2011-06-19T{at}Z",
        "dyno": "web.1",
        "from": before,
        "to": after,
        "lasted_s": 2.04,
        "cause": "",
        "folded": 0,
        "release": {"version": 74},
        **more,
    }


STORY = [
    event(4, "08:35:21.5", "starting", "crashed", cause="exited with status 1", folded=57),
    event(3, "08:35:19", "crashed", "starting", lasted_s=1800),
    event(2, "08:05:19", "up", "crashed", cause="exited with status 1", lasted_s=59.9),
    event(1, "08:04:19", None, "starting", lasted_s=None),
]


def test_what_became_of_processes(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, STORY)
    ended = oriel("ps:history", "-a", "foobaz")
    assert ended.out == (
        "Time (UTC)           Process     Rel   Change                After  Cause\n"
        "-------------------  ----------  ----  --------------------  -----  --------------------\n"
        "2011-06-19 08:35:21  web.1       v74   starting -> crashed   2.0s   "
        "exited with status 1 (and 57 crashes before)\n"
        "2011-06-19 08:35:19  web.1       v74   crashed -> starting   30m\n"
        "2011-06-19 08:05:19  web.1       v74   up -> crashed         59s    exited with status 1\n"
        "2011-06-19 08:04:19  web.1       v74   starting\n"
    )
    assert stub.requests[0].path == f"{PATH}?limit=20"
    assert json.loads(oriel("ps:history", "-j", "-a", "foobaz").out) == STORY
    stub.on("GET", PATH, [])
    assert "Nothing became of any" in oriel("ps:history", "-a", "foobaz").err


def test_on_a_narrow_terminal_the_day_is_told_once(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.on("GET", PATH, [*STORY[:2], event(9, "08:00:00", "starting", "starting", cause="(R10)")])
    monkeypatch.setenv("COLUMNS", "80")
    assert oriel("ps:history", "-a", "foobaz").out == (
        "2011-06-19  Process     Rel   Change                After  Cause\n"
        "----------  ----------  ----  --------------------  -----  --------------------\n"
        "08:35:21    web.1       v74   starting -> crashed   2.0s   exited with status ..\n"
        "08:35:19    web.1       v74   crashed -> starting   30m\n"
        "08:00:00    web.1       v74   starting              2.0s   (R10)\n"
    )
    other = {**event(1, "", "up", "crashed"), "at": "2011-06-18T08:00:00Z"}
    stub.on("GET", PATH, [*STORY, other])
    assert "2011-06-18 08:00:00" in oriel("ps:history", "-a", "foobaz").out


def test_a_part_of_it(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, STORY)
    oriel("ps:history", "web", "--since", "v74", "--until", "2011-06-19 08:40", "-a", "foobaz")
    assert stub.requests[0].path == (
        f"{PATH}?ps=web&since=v74&until=2011-06-19T08%3A40%3A00%2B00%3A00&limit=20"
    )
    assert oriel("ps:history", "--since", "soon", "-a", "foobaz").code == 2
    assert "Time (local)" in oriel("ps:history", "--local", "-a", "foobaz").out


def test_more_than_a_page(oriel: Oriel, stub: Stub) -> None:
    def page(request: Request) -> Reply:
        limit = int(request.path.partition("limit=")[2].partition("&")[0])
        last = request.path.partition("before=")[2]
        first = int(last) - 1 if last else 3000
        return Reply([event(first - each, "08:00:00", "up", "crashed") for each in range(limit)])

    stub.on("GET", PATH, page)
    found = json.loads(oriel("ps:history", "-n", "1500", "-j", "-a", "foobaz").out)
    assert [each["id"] for each in found] == list(range(3000, 1500, -1))
    assert len(stub.requests) == 2
