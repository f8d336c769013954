"""Parts of a channel, as typed."""

from __future__ import annotations

from oriel.cli import exits
from tests.house.alone.conftest import OPTIONS, Router, Say, door, post


def test_a_part_of_a_channel(router: Router, say: Say) -> None:
    router.start(*OPTIONS)
    say("logplex:create", "shop")
    token = say("logplex:tokens-add", "shop", "app").strip()
    for text in ("one", "two", "three"):
        assert post(door(say, "http"), token, text) == 204

    def texts(*words: str) -> list[str]:
        return [line.split(": ")[1] for line in say("logplex:logs", "shop", *words).splitlines()]

    assert texts("--grep", "t") == ["two", "three"]
    assert texts("--grep", "^t.o", "--regex") == ["two"]
    assert texts("--since", "1h") == ["one", "two", "three"]
    assert texts("--until", "2020-01-01") == []
    assert texts("--ps", "worker") == []
    for wrong in (["--regex"], ["--tail", "--until", "1h"], ["--since", "then"]):
        say("logplex:logs", "shop", *wrong, code=exits.USAGE)
