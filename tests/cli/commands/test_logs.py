from __future__ import annotations

import io
import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.cli.commands import logs
from oriel.cli.commands.logs import Writer, tame, whole_seconds
from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal, sse

STARTING = (
    b"2011-06-19T08:35:19.123456+00:00 heroku[web.1]: Starting process with command: "
    b"`bundle exec thin start -p 38180 -e production`"
)
BROKEN = (
    b"2011-06-19T08:35:21.000001+00:00 app[web.1]: /app/config/initializers/load_system.rb:12:in "
    b"`<top (required)>': uninitialized constant Utils (NameError)"
)

SEED = (
    "2011-06-19T08:35:19+00:00 heroku[web.1]: Starting process with command: "
    "`bundle exec thin start -p 38180 -e production`\n"
    "2011-06-19T08:35:21+00:00 app[web.1]: /app/config/initializers/load_system.rb:12:in "
    "`<top (required)>': uninitialized constant Utils (NameError)\n"
)


def session(stub: Stub) -> None:
    stub.on(
        "POST",
        "/apps/foobaz/log-sessions",
        {"logplex_url": "https://elsewhere.example.com/log-sessions/capability"},
    )


def test_the_seed_to_the_letter(oriel: Oriel, stub: Stub) -> None:
    session(stub)
    stub.on("GET", "/log-sessions/capability", sse(("1", [STARTING]), ("2", [BROKEN])))
    ended = oriel("logs", "--ps", "web.1", "-a", "foobaz")
    assert (ended.out, ended.err, ended.code) == (SEED, "", 0)
    assert stub.calls("POST")[0].json == {"dyno": "web.1", "lines": 100, "tail": False}


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ([], {"lines": 100, "tail": False}),
        (
            ["-n", "5", "-s", "heroku", "--ps", "api"],
            {"lines": 5, "source": "heroku", "dyno": "api"},
        ),
        (["--num", "7"], {"lines": 7}),
        (["--lines", "0", "-d", "web"], {"lines": 0, "dyno": "web"}),
        (["--dyno", "web.1", "-t"], {"dyno": "web.1", "tail": True}),
        (["--json"], {"format": "json"}),
        (["--ps", "web", "--ps", "worker.2"], {"dyno": "web,worker.2"}),
        (["--grep", "Name", "--regex"], {"grep": "Name", "regex": True}),
        (["--until", "30m", "--release", "74"], {"until": "30m", "release": "v74"}),
        (["--since", "v74", "-n", "5"], {"since": "v74", "lines": 5}),
        (["--raw"], {"raw": True}),
    ],
)
def test_what_is_asked_for(
    oriel: Oriel, stub: Stub, words: list[str], body: dict[str, object]
) -> None:
    stub.on(
        "POST", "/apps/foobaz/log-sessions", refusal(404, "not_found", "Couldn't find that app.")
    )
    assert oriel("logs", *words, "-a", "foobaz").code == 4
    assert stub.requests[0].json == {"lines": 100, "tail": False, **body}


def test_since_is_all_from_then_on(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/apps/foobaz/log-sessions", refusal(404, "not_found", "x"))
    oriel("logs", "--since", "2011-06-19 10:35 Europe/Berlin", "-a", "foobaz")
    assert stub.requests[0].json == {"since": "2011-06-19T08:35:00+00:00", "tail": False}


@pytest.mark.parametrize(
    "words", [["--regex"], ["--since", "soon"], ["-t", "--until", "2h"], ["-n", "-1"]]
)
def test_what_makes_no_sense_is_refused_here(oriel: Oriel, stub: Stub, words: list[str]) -> None:
    assert oriel("logs", *words, "-a", "foobaz").code == 2
    assert stub.requests == []


def test_local_times(oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        session(stub)
        stub.on("GET", "/log-sessions/capability", sse(("1", [STARTING, b"no time"])))
        out = oriel("logs", "--local", "-a", "foobaz").out
    finally:
        monkeypatch.undo()
        time.tzset()
    assert out.startswith("2011-06-19T10:35:19+02:00 heroku[web.1]: Starting")
    assert out.endswith("no time\n")


def test_json_lines_pass_as_they_are(oriel: Oriel, stub: Stub) -> None:
    line = json.dumps({"time": "2011-06-19T08:35:19.123456Z", "text": "a"}).encode()
    session(stub)
    stub.on("GET", "/log-sessions/capability", sse(("1", [line])))
    assert oriel("logs", "--json", "-a", "foobaz").out == line.decode() + "\n"


def test_ctrl_c_ends_a_tail_quietly(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> object:
        yield [STARTING]
        raise KeyboardInterrupt

    monkeypatch.setattr(logs, "follow", interrupted)
    ended = oriel("logs", "-t", "-a", "foobaz")
    assert (ended.code, ended.err) == (130, "")
    assert ended.out.endswith("production`\n")


def test_any_bytes_come_out_as_they_went_in(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"2011-06-19T08:35:19.1+00:00 app[web.1]: \xff\xfe \x1b[31mred\x1b[0m \x07\r"
    session(stub)
    stub.on("GET", "/log-sessions/capability", sse(("1", [raw])))
    bytes_out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, encoding="ascii"))
    oriel("logs", "-a", "foobaz")
    assert bytes_out.getvalue() == raw.replace(b".1+", b"+") + b"\n"


@given(st.binary(max_size=80))
def test_whole_seconds_changes_nothing_else(tail: bytes) -> None:
    assert whole_seconds(b"2011-06-19T08:35:19.123456+00:00 " + tail) == (
        b"2011-06-19T08:35:19+00:00 " + tail
    )
    assert whole_seconds(b"2011-06-19T08:35:19+00:00 " + tail) == (
        b"2011-06-19T08:35:19+00:00 " + tail
    )
    if tail[10:11] != b"T":
        assert whole_seconds(tail) == tail


def test_colours_by_process_type_in_order_of_appearance() -> None:
    writer = Writer(colour=True, careful=True)
    when = b"2011-06-19T08:35:19+00:00"

    def colour(source: bytes) -> bytes:
        line = writer.line(when + b" " + source + b": [x]: text")
        assert line.endswith(b"\x1b[0m [x]: text")
        return line[: line.index(b"m") + 1]

    assert [colour(b"app[web.1]"), colour(b"heroku[router]"), colour(b"heroku[web.2]")] == [
        b"\x1b[36m",
        b"\x1b[33m",
        b"\x1b[36m",
    ]
    others = [colour(b"app[t%d.1]" % number) for number in range(4)]
    assert others == [b"\x1b[32m", b"\x1b[35m", b"\x1b[31m", b"\x1b[36m"]
    for plain in (b"no header", b"", when, when + b" app: text", when + b" [x]:", b"a b]: c"):
        assert writer.line(plain) == plain


@given(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")))
def test_a_terminal_is_never_steered(line: bytes) -> None:
    tamed = tame(line, colour=False)
    assert not any(byte < 32 and byte != 9 for byte in tamed)
    assert b"\x7f" not in tamed


def test_only_colours_of_an_app_may_stay() -> None:
    line = b"\x1b[1;31mred\x1b[2J\x1b]0;title\x07\x08\xc2\x9b31m\t"
    assert tame(line, colour=True) == b"\x1b[1;31mred^[[2J^[]0;title^G^H?31m\t\x1b[0m"
    assert tame(line, colour=False) == b"red^[[2J^[]0;title^G^H?31m\t"
    assert tame(b"done\r", colour=False) == b"done"
    assert tame(b"a\rb", colour=False) == b"a^Mb"
