from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Reply, Stub, refusal

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


def test_a_wide_terminal_has_room_for_reasons(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        dyno("web.1", "crashed", "08:35:21", reason="exited with status 1"),
        dyno("web.2", "up", "08:35:20", reason="output was thrown away (L12): 3 messages"),
    ]
    stub.on("GET", "/apps/foobaz/dynos", rows)
    three = oriel("ps", "-a", "foobaz").out
    for columns, reason in (("99", ""), ("100", "  exited with status 1")):
        monkeypatch.setenv("COLUMNS", columns)
        assert oriel("ps", "-a", "foobaz").out.splitlines() == [
            *three.splitlines()[:2],
            three.splitlines()[2] + reason,
            three.splitlines()[3],
        ]


def test_a_wide_terminal_tells_of_the_next_try_where_there_is_room(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = {"crashes": 4, "next_try_at": "2011-06-19T08:35:37.2+00:00"}
    rows = [
        dyno("web.1", "crashed", "08:35:21", reason="exited with status 1", **tries),
        dyno("web.2", "crashed", "08:35:21", reason="exited with status 1", crashes=1),
        dyno("web.3", "up", "08:35:21", crashes=3),
    ]
    stub.on("GET", "/apps/foobaz/dynos", rows)
    three = oriel("ps", "-a", "foobaz").out.splitlines()
    why = "  exited with status 1"
    for columns, told in (("99", ("", "")), ("110", (why, why)), ("140", (f"{why}{TRIES}", why))):
        monkeypatch.setenv("COLUMNS", columns)
        assert oriel("ps", "-a", "foobaz").out.splitlines() == [
            *three[:2],
            *(line + behind for line, behind in zip(three[2:4], told, strict=True)),
            three[4],
        ]


TRIES = "; 4 crashes in a row, next try in 12s"


def test_a_release_column_only_where_two_run_at_once(oriel: Oriel, stub: Stub) -> None:
    old = {**dyno("web.1", "up", "08:35:20"), "release": {"version": 73}}
    rows = [dyno("web.1", "starting", "08:35:22"), old, dyno("web.2", "starting", "08:35:22")]
    stub.on("GET", "/apps/foobaz/dynos", rows)
    lines = [line.rstrip() for line in oriel("ps", "-a", "foobaz").out.splitlines()]
    assert lines[0] == "Process       State               Release  Command"
    assert [line[:41] for line in lines[2:]] == [
        "web.1         up for 5s           v73    ".rstrip().ljust(41),
        "web.1         starting for 3s     v74    ".rstrip().ljust(41),
        "web.2         starting for 3s     v74    ".rstrip().ljust(41),
    ]
    once = {**old, "name": "run.1", "type": "run"}
    stub.on("GET", "/apps/foobaz/dynos", [dyno("web.1", "up", "08:35:22"), once])
    assert "Release" not in oriel("ps", "-a", "foobaz").out


def test_of_a_type(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/dynos", CRASHED)
    out = oriel("ps", "worker", "-a", "foobaz").out
    assert out.splitlines() == [*SEED.splitlines()[:2], *SEED.splitlines()[4:]]
    ended = oriel("ps", "clock", "-a", "foobaz")
    assert ended.code == 4
    assert "what there is: web.1, web.2, worker.1, worker.2" in ended.err
    assert "oriel ps:scale" in oriel("ps", "scale", "web=2").err


CARD = {
    **dyno(
        "web.1",
        "crashed",
        "08:35:21",
        reason="exited with status 1",
        since="2011-06-19T08:35:21.500000Z",
        instance="i1",
        port=20101,
        crashes=4,
        next_try_at="2011-06-19T08:35:37.200000+00:00",
        restarts_last_hour=3,
        last_exit={
            "at": "2011-06-19T08:35:21Z",
            "reason": "exited with status 1",
            "release": {"version": 74},
            "state": "crashed",
        },
        usage={
            "memory_bytes": 600 << 20,
            "memory_quota_bytes": 512 << 20,
            "swap_bytes": 0,
            "cpu": 0.25,
            "cpu_s": 1.0,
            "processes": 4,
        },
        lines=[
            {
                "time": "2011-06-19T08:35:21.123456+00:00",
                "source": "app",
                "ps": "web.1",
                "text": "uninitialized constant Utils\x1b[2J",
            }
        ],
    ),
    "size": "Standard-1X",
}


def test_a_card(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/dynos", CRASHED)
    stub.on("GET", "/oriel/apps/foobaz/dynos/web.1", CARD)
    ended = oriel("ps", "web.1", "-a", "foobaz")
    assert ended.out == (
        "\n".join(SEED.splitlines()[:3])
        + """

=== web.1
State:       crashed for 3s
Since:       2011-06-19 08:35:21 +0000
Reason:      exited with status 1
Tries:       4 crashes in a row, next try in 12s
Release:     v74
Restarts:    3 in the last hour
Last exit:   exited with status 1, 4s ago (v74)
Memory:      600 MB of 512 MB (117 %, over its quota (R14))
CPU:         25 % of a core
Processes:   4
Size:        Standard-1X
Port:        20101
Instance:    i1
Command:     bundle exec thin start -p $PORT -e production
Last lines:
2011-06-19T08:35:21+00:00 app[web.1]: uninitialized constant Utils^[[2J
"""
    )
    assert json.loads(oriel("ps", "web.1", "-j", "-a", "foobaz").out) == [CARD]
    own = {**CARD["oriel"], "usage": None, "lines": None, "last_exit": None}
    stub.on("GET", "/oriel/apps/foobaz/dynos/web.1", {**CARD, "oriel": own})
    out = oriel("ps", "web.1", "-a", "foobaz").out
    assert "Memory" not in out
    assert out.endswith("Last lines:  the log cannot be read now\n")
    none = refusal(404, "not_found", "foobaz has no dyno web.9: it has web.1.")
    stub.on("GET", "/oriel/apps/foobaz/dynos/web.9", none)
    ended = oriel("ps", "web.9", "-a", "foobaz")
    assert (ended.code, ended.out) == (4, "")


def test_as_it_was(oriel: Oriel, stub: Stub) -> None:
    past = Reply(CRASHED, headers={"Oriel-At": "2011-06-19T08:35:25.000000Z"})
    stub.on("GET", "/apps/foobaz/dynos", past)
    ended = oriel("ps", "--at", "2011-06-19 08:35:25", "-a", "foobaz")
    assert (ended.out, ended.err) == (SEED, "As of 2011-06-19T08:35:25+00:00\n")
    assert stub.requests[-1].path.endswith("?at=2011-06-19T08%3A35%3A25%2B00%3A00")
    for typed, asked in (("2h", "2h"), ("v74", "v74")):
        oriel("ps", "web.1", "--at", typed, "-a", "foobaz")
        assert stub.requests[-1].path.endswith(f"?at={asked}")
    assert json.loads(oriel("ps", "--at", "2h", "-j", "-a", "foobaz").out)[0]["name"] == "web.1"
    stub.on("GET", "/apps/foobaz/dynos", Reply([], headers={"Oriel-At": "2011-06-19T08:00:00Z"}))
    assert oriel("ps", "--at", "2h", "-a", "foobaz").err.endswith("Nothing ran on foobaz then.\n")
    assert oriel("ps", "--at", "soon", "-a", "foobaz").code == 2
    assert oriel("ps", "--at", "2h", "--watch", "-a", "foobaz").code == 2
