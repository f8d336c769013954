"""Whose turn it is to boot."""

from __future__ import annotations

import pytest

from oriel.manifold.turns import ASKED, Ask, Turns


def own(who: str, app: str = "a") -> Ask:
    return Ask(who, app, asked=False)


def asked(who: str, app: str = "a") -> Ask:
    return Ask(who, app, asked=True)


def test_no_more_than_the_bound_boot_and_the_next_follows_each() -> None:
    turns = Turns(2)
    assert [turns.ask(own(str(each))) for each in range(5)] == [True, True, False, False, False]
    assert turns.is_waited_for
    order = ["0", "1"]
    for _ in range(5):
        order += turns.end(order[-2] if order[-2] in turns.held else order[-1])
        assert len(turns.held) <= 2
    assert order == ["0", "1", "2", "3", "4"]
    assert not turns.is_waited_for


def test_what_a_person_asked_for_goes_first_and_further() -> None:
    turns = Turns(1)
    assert turns.ask(own("old"))
    assert not turns.ask(own("next"))
    deploys = [f"deploy {each}" for each in range(ASKED)]
    for each in deploys[:-1]:
        assert turns.ask(asked(each)), "it waits for no queue"
    assert not turns.ask(asked(deploys[-1])), "and yet there is a bound"
    assert turns.end("old") == [deploys[-1]]
    assert [turns.end(each) for each in deploys] == [[], [], [], ["next"]]


def test_the_app_with_the_fewest_booting_comes_first() -> None:
    turns = Turns(3)
    for each in range(6):
        turns.ask(own(f"big.{each}", "big"))
    turns.ask(own("small.1", "small"))
    turns.ask(own("other.1", "other"))
    assert turns.end("big.0") == ["small.1"], "behind the third, before the fourth"
    assert turns.end("big.1") == ["other.1"]
    assert turns.end("small.1") == ["big.3"]


@pytest.mark.parametrize("bound", [0, -3])
def test_a_bound_that_is_none_still_lets_one_go(bound: int) -> None:
    assert Turns(bound).ask(own("a"))


def test_one_that_waits_can_leave_and_one_that_boots_already_counts() -> None:
    turns = Turns(1)
    turns.hold(own("adopted"))
    turns.hold(own("adopted too"))
    assert not turns.ask(own("new"))
    assert turns.end("new") == []
    assert not turns.is_waited_for
    assert not turns.ask(own("newer"))
    assert turns.end("adopted") == []
    assert turns.end("adopted too") == ["newer"]
    assert turns.end("nobody") == []
