"""Values as Heroku's JSON: what the command line reads is there (heroku-cli-contract section 2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from oriel.api import representations as shown
from oriel.people import Account, Token

AT = datetime(2011, 6, 19, 8, 35, 19, 123456, tzinfo=UTC)
NED = Account("i", "ned@foobazco.com", "", True, AT, True)


@pytest.mark.parametrize(
    ("name", "size"),
    [("standard-1x", "Standard-1X"), ("performance-m", "Performance-M"), ("eco", "Eco"),
     ("private-l", "Private-L"), ("performance-l-ram", "Performance-L-RAM")],
)  # fmt: skip
def test_sizes_are_written_as_heroku_does(name: str, size: str) -> None:
    assert shown.size(name) == size


def test_times_are_utc() -> None:
    east = AT.astimezone(timezone(timedelta(hours=5)))
    assert shown.moment(east) == "2011-06-19T08:35:19Z"
    assert shown.exact(east) == "2011-06-19T08:35:19.123456Z"


def test_made_ids_are_the_same_again_and_only_for_the_same() -> None:
    assert shown.made_id("a", "b") == shown.made_id("a", "b")
    assert shown.made_id("a", "b") != shown.made_id("b", "a")


def test_a_token_is_whole_only_for_who_has_it() -> None:
    token = Token("t", "i", "ci", "abcdefgh", ("global",), AT, AT + timedelta(seconds=9.5), None)
    other = shown.authorization(token, NED, AT)
    assert other["access_token"]["token"] == "oriel-abcdefgh**********"
    assert other["access_token"]["expires_in"] == 10
    mine = shown.authorization(token, NED, AT + timedelta(hours=1), "oriel-abcdefgh-secret")
    assert mine["access_token"] == {"expires_in": 0, "id": "t", "token": "oriel-abcdefgh-secret"}
