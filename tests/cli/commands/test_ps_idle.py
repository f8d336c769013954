"""`ps:idle`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub

PATH = "/oriel/apps/foobaz/idling"
NEVER: dict[str, Any] = {"app": "foobaz", "after_s": None, "asleep": False}
ASLEEP: dict[str, Any] = {"app": "foobaz", "after_s": 1800, "asleep": True}


def test_it_is_shown(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, NEVER)
    shown = oriel("ps:idle", "-a", "foobaz").out
    assert [line.split() for line in shown.splitlines()] == [
        ["Idle", "after:", "never"],
        ["Idle", "now:", "no"],
    ]
    stub.on("GET", PATH, ASLEEP)
    shown = oriel("ps:idle", "-a", "foobaz").out
    assert "30 minutes without a request" in shown
    assert shown.splitlines()[1].split() == ["Idle", "now:", "yes"]
    assert json.loads(oriel("ps:idle", "-a", "foobaz", "--json").out) == ASLEEP


def test_it_is_set_and_switched_off(oriel: Oriel, stub: Stub) -> None:
    stub.on("PUT", PATH, ASLEEP)
    said = oriel("ps:idle", "--after", "30m", "-a", "foobaz").out
    assert said.startswith("Setting idling of foobaz... done\n")
    assert stub.requests[-1].json == {"after_s": 1800}
    stub.on("DELETE", PATH, NEVER)
    assert "never" in oriel("ps:idle", "--off", "-a", "foobaz").out


@pytest.mark.parametrize("words", [("--after", "soon"), ("--after", "1h", "--off")])
def test_what_is_not_understood_is_not_sent(
    oriel: Oriel, stub: Stub, words: tuple[str, ...]
) -> None:
    assert oriel("ps:idle", *words, "-a", "foobaz").code != 0
    assert not stub.requests
