from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal

THIN = "bundle exec thin start -p $PORT -e production"
JOBS = "bundle exec rake jobs:work"


def dyno(name: str, state: str, at: str, command: str = THIN, **own: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": name.split(".")[0],
        "state": state,
        "command": command,
        "updated_at": f"2011-06-19T{at}Z",
        "release": {"version": 74},
        "oriel": own,
    }


SEED = """\
Process       State               Command
------------  ------------------  ------------------------------
web.1         crashed for 4s      bundle exec thin start -p $PORT -e..
web.2         crashed for 2s      bundle exec thin start -p $PORT -e..
worker.1      crashed for 3s      bundle exec rake jobs:work
worker.2      crashed for 2s      bundle exec rake jobs:work
"""

CRASHED = [
    dyno("worker.2", "crashed", "08:35:23", JOBS),
    dyno("web.2", "crashed", "08:35:23"),
    dyno("web.1", "crashed", "08:35:21"),
    dyno("worker.1", "crashed", "08:35:22", JOBS),
]


def test_the_seed_to_the_letter(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/dynos", CRASHED)
    ended = oriel("ps", "-a", "foobaz")
    assert (ended.out, ended.err, ended.code) == (SEED, "", 0)


def test_under_watch_too(oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [dyno("web.1", "up", "08:35:25", "bundle exec rackup -p $PORT -E $RACK_ENV")]
    rows[0]["updated_at"] = "2011-06-18T16:00:00Z"
    stub.on("GET", "/apps/foobaz/dynos", rows)
    monkeypatch.setenv("COLUMNS", "72")
    lines = oriel("ps", "-a", "foobaz").out.splitlines()
    assert lines[2] == "web.1         up for 16h          bundle exec rackup -p $PORT -E $RA.."
    monkeypatch.setenv("COLUMNS", "50")
    lines = oriel("ps", "-a", "foobaz").out.splitlines()
    assert lines[2] == "web.1         up for 16h          bundle exec ra.."
    assert max(map(len, lines)) == 50
    monkeypatch.setenv("COLUMNS", "20")
    assert max(map(len, oriel("ps", "-a", "foobaz").out.splitlines())) == 20


def test_order_and_ages(oriel: Oriel, stub: Stub) -> None:
    rows = [
        dyno("run.7", "up", "08:35:20", "bash"),
        dyno("web.10", "starting", "08:35:22"),
        dyno("web.9", "up", "08:36:00"),
        dyno("clock.1", "down", "00:00:00", since="2011-06-17T08:35:20.123456Z"),
    ]
    stub.on("GET", "/apps/foobaz/dynos", rows)
    lines = [line[:32].rstrip() for line in oriel("ps", "-a", "foobaz").out.splitlines()[2:]]
    assert lines == [
        "clock.1       down for 48h",
        "web.9         up for 0s",
        "web.10        starting for 3s",
        "run.7         up for 5s",
    ]


def test_names_from_others_cannot_steer_the_terminal(oriel: Oriel, stub: Stub) -> None:
    stub.on(
        "GET", "/apps/foobaz/dynos", [dyno("web.1", "up", "08:35:20", "a\x1b[2Jb\nc\u202e漢字")]
    )
    assert oriel("ps", "-a", "foobaz").out.splitlines()[2].endswith("a?[2Jb c?漢字")


def test_extended_shows_release_and_reason(oriel: Oriel, stub: Stub) -> None:
    rows = [dyno("web.1", "crashed", "08:35:21", reason="exited with status 1")]
    stub.on("GET", "/apps/foobaz/dynos", rows)
    lines = oriel("ps", "-x", "-a", "foobaz").out.splitlines()
    assert lines[2] == (
        "web.1         crashed for 4s      v74      exited with status 1  "
        "bundle exec thin start -p $PORT -e.."
    )


def test_json_and_nothing(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/dynos", CRASHED)
    assert '"name": "web.1"' in oriel("ps", "-a", "foobaz", "--json").out
    stub.on("GET", "/apps/foobaz/dynos", [])
    ended = oriel("ps", "-a", "foobaz")
    assert ended.out == ""
    assert ended.err == "No processes on foobaz. Start one: oriel ps:scale web=1 -a foobaz\n"


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
