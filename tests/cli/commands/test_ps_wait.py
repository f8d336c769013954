from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.commands.test_ps import dyno
from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal

PATH = "/oriel/apps/foobaz/dynos"


def seen(tag: str, *dynos: dict[str, Any], release: int = 74, **newest: Any) -> dict[str, Any]:
    return {
        "app": "foobaz",
        "at": "2011-06-19T08:35:25.000000Z",
        "tag": tag,
        "dynos": list(dynos),
        "release": release,
        "newest": {"version": release, "status": "succeeded", **newest},
    }


def web(state: str, release: int = 74, name: str = "web.1", **own: Any) -> dict[str, Any]:
    return {**dyno(name, state, "08:35:20", **own), "release": {"version": release}}


def test_it_comes_back_when_all_are_up(oriel: Oriel, stub: Stub) -> None:
    once = {**web("up", 1, "run.1"), "type": "run"}
    stub.on(
        "GET",
        PATH,
        seen("a", web("up", 73), web("starting", name="web.2"), once),
        seen("b", web("starting"), web("up", name="web.2"), once),
        seen("c", web("up"), web("up", name="web.2"), once),
    )
    ended = oriel("ps:wait", "-a", "foobaz")
    assert ended.out == "Waiting for every process to run v74... 0/2, 1/2, 2/2, done\n"
    assert (ended.code, ended.err) == (0, "")
    assert [each.path.partition("?")[2] for each in stub.requests] == [
        "wait_s=0", "after=a&wait_s=20", "after=b&wait_s=20"]  # fmt: skip


def test_of_one_type_and_as_json(oriel: Oriel, stub: Stub) -> None:
    worker = {**web("starting", name="worker.1"), "type": "worker"}
    stub.on("GET", PATH, seen("a", web("up"), worker))
    ended = oriel("ps:wait", "--type", "web", "-a", "foobaz")
    assert ended.out == "Waiting for every web process to run v74... 1/1, done\n"
    told = json.loads(oriel("ps:wait", "--type", "web", "-j", "-a", "foobaz").out)
    assert (told["release"], [each["name"] for each in told["dynos"]]) == (74, ["web.1"])


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("crashed", "exited with status 1", "web.1 crashed on v74: exited with status 1."),
        ("down", "stopped by kate", "web.1 is down on v74: stopped by kate."),
    ],
)
def test_it_does_not_wait_for_what_will_not_be(
    oriel: Oriel, stub: Stub, state: str, reason: str, said: str
) -> None:
    stub.on("GET", PATH, seen("a", web(state, 73)), seen("b", web(state, reason=reason)))
    ended = oriel("ps:wait", "-a", "foobaz")
    assert ended.code == 12
    assert ended.out == "Waiting for every process to run v74... 0/1, failed\n"
    assert ended.err == f" !    {said}\n !    See why: oriel why web.1 -a foobaz\n"


def test_time_runs_out(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, seen("a", web("starting"), web("up", name="web.2")))
    ended = oriel("ps:wait", "--timeout", "0", "-a", "foobaz")
    assert ended.code == 12
    assert "Not every process of foobaz runs v74 after 0 s: web.1 is starting." in ended.err
    for wrong in ("soon", "5x", "-1"):
        assert oriel("ps:wait", "--timeout", wrong, "-a", "foobaz").code == 2


def test_a_release_under_way_is_waited_for_and_may_fail(oriel: Oriel, stub: Stub) -> None:
    pending = seen("a", web("up"), version=75, status="pending")
    stub.on("GET", PATH, pending, seen("b", web("up", 75), release=75))
    ended = oriel("ps:wait", "-a", "foobaz")
    assert (ended.code, ended.out) == (
        0, "Waiting for every process to run v75... 0/1, 1/1, done\n")  # fmt: skip
    stub.on("GET", PATH, pending, seen("b", web("up"), version=75, status="failed"))
    ended = oriel("ps:wait", "-a", "foobaz")
    assert ended.code == 11
    assert "Release v75 of foobaz failed; v74 goes on." in ended.err


def test_a_server_that_goes_away_is_waited_for(oriel: Oriel, stub: Stub) -> None:
    away = refusal(503, "unavailable", "A part is away.")
    stub.on("GET", PATH, seen("a", web("starting")), away, away, seen("b", web("up")))
    ended = oriel("ps:wait", "-a", "foobaz")
    assert (ended.code, ended.out) == (
        0, "Waiting for every process to run v74... 0/1, 1/1, done\n")  # fmt: skip
    assert ended.err == "\nA part is away. Waiting for it.\n"
    stub.on("GET", PATH, away)
    assert oriel("ps:wait", "-a", "foobaz").code == 7


def test_nothing_to_wait_for(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, seen("a"))
    ended = oriel("ps:wait", "-a", "foobaz")
    assert (ended.code, ended.out) == (
        0, "Waiting for every process to run v74... there is none, done\n")  # fmt: skip
    empty = {**seen("a"), "release": None, "newest": None}
    stub.on("GET", PATH, empty)
    assert oriel("ps:wait", "-a", "foobaz").code == 0
