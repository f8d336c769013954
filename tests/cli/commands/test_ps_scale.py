from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal

FORMATION = [
    {"type": "web", "quantity": 2, "size": "Standard-1X"},
    {"type": "worker", "quantity": 1, "size": "Standard-1X"},
    {"type": "release", "quantity": 0, "size": "Standard-1X"},
]


def test_scale_says_a_line_for_each_type(oriel: Oriel, stub: Stub) -> None:
    stub.on("PATCH", "/apps/foobaz/formation", FORMATION)
    ended = oriel("ps:scale", "web=2", "worker+1:standard-2x", "-a", "foobaz")
    assert ended.out == (
        "Scaling web processes... done, now running 2\n"
        "Scaling worker processes... done, now running 1\n"
    )
    assert stub.requests[0].json == {
        "updates": [
            {"type": "web", "quantity": "2"},
            {"type": "worker", "quantity": "+1", "size": "standard-2x"},
        ]
    }


@pytest.mark.parametrize(
    ("word", "update"),
    [
        ("my-worker=4", {"type": "my-worker", "quantity": "4"}),
        ("my-worker-1", {"type": "my-worker", "quantity": "-1"}),
        ("my_w2+3", {"type": "my_w2", "quantity": "+3"}),
        ("web=standard-2x", {"type": "web", "size": "standard-2x"}),
    ],
)
def test_words_of_scale(oriel: Oriel, stub: Stub, word: str, update: dict[str, str]) -> None:
    stub.on("PATCH", "/apps/foobaz/formation", FORMATION)
    oriel("scale", word, "-a", "foobaz")
    assert stub.requests[0].json == {"updates": [update]}


@pytest.mark.parametrize(
    "word", ["web", "web=", "=2", "web=-1", "web+x", "web=1:", "web=1x", "-1", "web=:x", "web=٣"]
)
def test_wrong_words_of_scale(oriel: Oriel, stub: Stub, word: str) -> None:
    ended = oriel("ps:scale", "-a", "foobaz", "--", word)
    assert ended.code == 2
    assert "web=2 worker+1" in ended.err
    assert stub.requests == []


def test_bare_scale_shows_the_formation(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/formation", FORMATION)
    assert oriel("ps:scale", "-a", "foobaz").out == "web=2:Standard-1X worker=1:Standard-1X\n"


def test_a_refused_step_says_failed_and_why(oriel: Oriel, stub: Stub) -> None:
    no = refusal(422, "invalid_params", "web cannot be scaled to 101: use 0 to 100.", hint="Less.")
    stub.on("PATCH", "/apps/foobaz/formation", no)
    ended = oriel("ps:scale", "web=101", "-a", "foobaz")
    assert ended.out == "Scaling web processes... failed\n"
    assert ended.err == " !    web cannot be scaled to 101: use 0 to 100.\n !    Less.\n"
    assert ended.code == 3


@pytest.mark.parametrize(
    ("words", "method", "path", "said"),
    [
        (["ps:restart"], "DELETE", "/apps/foobaz/dynos", "Restarting processes... done\n"),
        (
            ["restart", "web.1"],
            "DELETE",
            "/apps/foobaz/dynos/web.1",
            "Restarting web.1 process... done\n",
        ),
        (
            ["ps:restart", "-p", "web"],
            "DELETE",
            "/apps/foobaz/formations/web",
            "Restarting web processes... done\n",
        ),
        (
            ["ps:stop", "-d", "web.1"],
            "POST",
            "/apps/foobaz/dynos/web.1/actions/stop",
            "Stopping web.1 process... done\n",
        ),
        (
            ["stop", "worker"],
            "POST",
            "/apps/foobaz/formations/worker/actions/stop",
            "Stopping worker processes... done\n",
        ),
    ],
)
def test_restart_and_stop(
    oriel: Oriel, stub: Stub, words: list[str], method: str, path: str, said: str
) -> None:
    stub.on(method, path, {})
    assert oriel(*words, "-a", "foobaz").out == said
    assert [(each.method, each.path) for each in stub.requests] == [(method, path)]


def test_stop_wants_to_know_what(oriel: Oriel, stub: Stub) -> None:
    ended = oriel("ps:stop", "-a", "foobaz")
    assert ended.code == 2
    assert "oriel ps:stop web.1" in ended.err
    assert stub.requests == []


def test_restart_says_which_they_were(oriel: Oriel, stub: Stub) -> None:
    stub.on("DELETE", "/apps/foobaz/dynos", {"oriel": {"dynos": ["web.1", "worker.1"]}})
    assert (
        oriel("ps:restart", "-a", "foobaz").out == "Restarting processes... done, web.1, worker.1\n"
    )
    told = json.loads(oriel("ps:restart", "-a", "foobaz", "--json").out)
    assert told["oriel"]["dynos"] == ["web.1", "worker.1"]


def test_stop_says_how_to_start_it_again(oriel: Oriel, stub: Stub) -> None:
    path = "/apps/foobaz/dynos/web.1/actions/stop"
    stub.on("POST", path, {"oriel": {"dynos": ["web.1"]}})
    ended = oriel("ps:stop", "web.1", "-a", "foobaz")
    assert ended.out == "Stopping web.1 process... done\n"
    assert ended.err == "       To start it again: oriel ps:restart web.1 -a foobaz\n"
    assert json.loads(oriel("ps:stop", "web.1", "-j", "-a", "foobaz").out)
    stub.on("POST", path, refusal(404, "not_found", "foobaz has no dyno web.1."))
    ended = oriel("ps:stop", "web.1", "-a", "foobaz")
    assert (ended.code, ended.out) == (4, "Stopping web.1 process... failed\n")


SIZES = [
    {"name": "Eco", "memory": 0.5},
    {"name": "Standard-1X", "memory": 0.5},
    {"name": "Performance-M", "memory": 2.5},
]


def test_type_alone_shows_sizes(oriel: Oriel, stub: Stub) -> None:
    formation = [{**each, "command": "run it"} for each in FORMATION]
    stub.on("GET", "/apps/foobaz/formation", formation)
    stub.on("GET", "/dyno-sizes", SIZES)
    ended = oriel("ps:type", "-a", "foobaz")
    assert ended.out == (
        "Type          Size            Run   Memory      Command\n"
        "------------  --------------  ----  ----------  ------------------------------\n"
        "web           Standard-1X     2     512 MB      run it\n"
        "worker        Standard-1X     1     512 MB      run it\n"
    )
    assert ended.err == "Sizes: Eco 512 MB, Standard-1X 512 MB, Performance-M 2.5 GB\n"
    assert json.loads(oriel("ps:type", "-j", "-a", "foobaz").out) == formation
    stub.on("GET", "/apps/foobaz/formation", [])
    assert "No process types" in oriel("ps:type", "-a", "foobaz").err


@pytest.mark.parametrize(
    ("words", "updates", "said"),
    [
        (["web=Standard-2X"], [("web", "Standard-2X")], "Sizing web to standard-2x"),
        (
            ["web=basic", "worker=eco"],
            [("web", "basic"), ("worker", "eco")],
            "Sizing web to basic, worker to eco",
        ),
        (
            ["basic"],
            [("web", "basic"), ("worker", "basic")],
            "Sizing web to basic, worker to basic",
        ),
    ],
)
def test_another_size(
    oriel: Oriel, stub: Stub, words: list[str], updates: list[tuple[str, str]], said: str
) -> None:
    stub.on("GET", "/apps/foobaz/formation", FORMATION)
    stub.on("PATCH", "/apps/foobaz/formation", FORMATION)
    ended = oriel("ps:type", *words, "-a", "foobaz")
    assert ended.out == f"{said}... done, restarting its processes\n"
    [asked] = stub.calls("PATCH")
    assert asked.json == {"updates": [{"type": type_, "size": size} for type_, size in updates]}


@pytest.mark.parametrize("words", [["=basic"], ["web="], ["web=2"], ["basic", "web=eco"]])
def test_wrong_words_of_type(oriel: Oriel, stub: Stub, words: list[str]) -> None:
    assert oriel("ps:type", *words, "-a", "foobaz").code == 2
    assert stub.requests == []
