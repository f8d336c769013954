"""`features` and `checks`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub

PREBOOT: dict[str, Any] = {
    "name": "preboot",
    "description": "New before old.",
    "enabled": True,
    "state": "general",
}
FEATURES = "/apps/foobaz/features"
CHECK = "/oriel/apps/foobaz/check"
CHECKED: dict[str, Any] = {
    "app": "foobaz",
    "path": "/health",
    "boot_timeout_s": 90,
    "is_default": False,
}


def test_features_are_listed(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", FEATURES, [PREBOOT, {**PREBOOT, "name": "daily-cycling", "enabled": False}])
    lines = oriel("features", "-a", "foobaz").out.splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["preboot", "on"], ["daily-cycling", "off"]]


def test_one_feature(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", f"{FEATURES}/preboot", PREBOOT)
    ended = oriel("features:info", "preboot", "-a", "foobaz")
    assert ended.out == "=== preboot\nDescription: New before old.\nState:       on\n"


@pytest.mark.parametrize(
    ("command", "word", "enabled"),
    [("features:enable", "Enabling", True), ("features:disable", "Disabling", False)],
)
def test_a_feature_is_switched(
    oriel: Oriel, stub: Stub, command: str, word: str, enabled: bool
) -> None:
    stub.on("PATCH", f"{FEATURES}/preboot", PREBOOT)
    ended = oriel(command, "preboot", "-a", "foobaz")
    assert (ended.code, ended.out) == (0, f"{word} preboot for foobaz... done\n")
    assert stub.requests[-1].json == {"enabled": enabled}


def test_a_check_is_shown(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", CHECK, CHECKED)
    assert oriel("checks", "-a", "foobaz").out.splitlines() == [
        "Up when:     GET /health is answered with 2xx or 3xx",
        "Boot timeout: 90 seconds",
    ]
    stub.on("GET", CHECK, {**CHECKED, "path": None, "boot_timeout_s": 60})
    assert "its port accepts" in oriel("checks", "-a", "foobaz").out


def test_a_check_is_set_and_unset(oriel: Oriel, stub: Stub) -> None:
    stub.on("PATCH", CHECK, CHECKED)
    stub.on("DELETE", CHECK, CHECKED)
    words = ("checks:set", "--path", "/health", "--boot-timeout", "90s", "-a", "foobaz")
    ended = oriel(*words)
    assert ended.out.splitlines()[0] == "Setting check of foobaz... done"
    assert stub.requests[-1].json == {"path": "/health", "boot_timeout_s": 90}
    assert oriel("checks:unset", "-a", "foobaz").code == 0


@pytest.mark.parametrize("words", [(), ("--boot-timeout", "soon")])
def test_a_check_that_says_nothing_is_refused(oriel: Oriel, words: tuple[str, ...]) -> None:
    assert oriel("checks:set", *words, "-a", "foobaz").code == 2
