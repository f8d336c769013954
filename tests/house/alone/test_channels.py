"""What a channel of the log router alone keeps, and whether it is whole, as typed."""

from __future__ import annotations

import json

from oriel.cli import exits
from tests.house.alone.conftest import OPTIONS, Router, Say, door, post


def test_retention_is_shown_and_set_and_survives(router: Router, say: Say) -> None:
    router.start(*OPTIONS)
    say("logplex:create", "shop")
    assert "1 GB" in say("logplex:keep", "shop")
    assert "5 GB" in say("logplex:keep", "shop", "--size", "5GB", "--age", "90d", "--rate", "1MB")
    router.end()
    router.start(*OPTIONS)
    policy = json.loads(say("logplex:keep", "shop", "--json"))["policy"]
    assert (policy["max_bytes"], policy["max_age_s"]) == (5 << 30, 90 * 86400)
    assert policy["rate_bytes"] == 1 << 20
    say("logplex:keep", "shop", "--size", "much", code=exits.USAGE)


def test_asking_for_a_channel_does_not_make_it(router: Router, say: Say) -> None:
    router.start(*OPTIONS)
    for command in (["keep", "nope"], ["check", "nope"], ["logs", "nope"], ["drains", "nope"]):
        said = say(f"logplex:{command[0]}", *command[1:], code=exits.code_of("not_found"))
        assert "no log channel nope" in said
    assert say("logplex:channels") == ""


def test_a_sound_channel_is_told_so(router: Router, say: Say) -> None:
    router.start(*OPTIONS)
    say("logplex:create", "shop")
    assert post(door(say, "http"), say("logplex:tokens-add", "shop", "app").strip(), "hi") == 204
    assert say("logplex:check", "shop") == "Nothing is damaged in 0 finished segments.\n"
