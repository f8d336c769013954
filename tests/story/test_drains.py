"""Drains as a user has them: a real platform, a real receiver, `oriel drains:*` as typed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.house.alone.test_drains import Receiver
from tests.story.platform import Platform, eventually, tree

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_a_drain_from_its_making_to_its_end(own_platform: Platform, receiver: Receiver) -> None:
    own_platform.more = ("--allow-egress", "127.0.0.1")
    own_platform.start()
    app = own_platform.set_up("rick@foobazco.com").app("foobaz")
    app.commit(tree("one"))
    app.push()
    app.settles("up", "web.1")
    url = f"syslog://127.0.0.1:{receiver.port}"
    made = app.oriel("drains:add", url).out
    token = made.split("done, ")[1].strip()
    # What is said from then on comes, the platform's own lines too.
    app.oriel("maintenance:on")
    assert receiver.has(b"heroku api - - Set maintenance mode on by rick@foobazco.com\n")
    assert app.oriel("drains:test").out.startswith(f"Sending a line to {token}... taken")
    assert receiver.has(b"Test of drain")
    own_platform.kill("logplex")
    app.oriel("maintenance:off")
    assert receiver.has(b"heroku api - - Set maintenance mode off by rick@foobazco.com\n")

    def is_up() -> bool:
        return bool(json.loads(app.oriel("drains:info", "--json").out)["oriel"]["state"] == "up")

    eventually(is_up, what="the drain is up again")
    # Again from the beginning: what was said before there was a drain comes too.
    assert " lines" in app.oriel("drains:replay", token, "--since", "v1").out
    assert receiver.has(b"Release v2 created by rick@foobazco.com")
    app.oriel("drains:remove", token)
    assert "foobaz has no drains." in app.oriel("drains").out
