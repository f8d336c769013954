from __future__ import annotations

from typing import Any

import pytest

from oriel.cli.commands import logs_policy
from tests.cli.conftest import Oriel
from tests.client.stub import Stub

POLICY: dict[str, Any] = {
    "app": "foobaz",
    "max_bytes": 1 << 30,
    "max_age_s": 30 * 86400,
    "flood": "drop",
    "rate_bytes": 128 << 20,
    "bytes": 1_572_864,
    "segments": 1,
    "since_us": 1_308_472_519_000_000,
}
DAMAGE = {
    "what": "its data file cannot be opened, No such file or directory",
    "segment": 3,
    "lines": 120,
    "bytes": 13411,
    "first_us": 1_308_472_519_000_000,
    "last_us": 1_308_472_524_000_000,
}
PATH = "/oriel/apps/foobaz/log-policy"


def test_the_policy_is_shown(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, POLICY)
    assert _fields(oriel("logs:policy", "-a", "foobaz").out) == {
        "Policy": "drop",
        "Rate": "128 MB a second",
    }
    assert _fields(oriel("logs:retention", "-a", "foobaz").out) == {
        "Keeps at most": "1 GB",
        "For at most": "30 days",
        "Kept now": "1.5 MB",
        "Since": "2011-06-19 08:35:19 +0000",
    }


def _fields(out: str) -> dict[str, str]:
    pairs = [line.partition(":") for line in out.splitlines()]
    return {name: value.strip() for name, _, value in pairs}


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        (("logs:policy", "block"), {"flood": "block"}),
        (("logs:policy", "drop", "--rate", "16MB"), {"flood": "drop", "rate_bytes": 16 << 20}),
        (("logs:retention", "--size", "5gb"), {"max_bytes": 5 << 30}),
        (("logs:retention", "--age", "8w"), {"max_age_s": 8 * 7 * 86400}),
    ],
)
def test_settings_are_changed(
    oriel: Oriel, stub: Stub, words: tuple[str, ...], wish: dict[str, Any]
) -> None:
    stub.on("PATCH", PATH, POLICY)
    assert oriel(*words, "-a", "foobaz").code == 0
    assert stub.requests[-1].json == wish


@pytest.mark.parametrize(
    "words",
    [
        ("logs:policy", "perhaps"),
        ("logs:policy", "--rate", "fast"),
        ("logs:retention", "--size", "-1"),
        ("logs:retention", "--age", "30"),
    ],
)
def test_what_is_no_setting_is_refused(oriel: Oriel, words: tuple[str, ...]) -> None:
    assert oriel(*words, "-a", "foobaz").code == 2


def test_a_sound_log_is_said_to_be_so(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/oriel/apps/foobaz/log-checks", {"segments": 4, "damage": []})
    ended = oriel("logs:check", "-a", "foobaz")
    assert (ended.code, ended.out) == (0, "Nothing is damaged in 4 finished segments.\n")


def test_damage_is_told_and_is_a_failure(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/oriel/apps/foobaz/log-checks", {"segments": 4, "damage": [DAMAGE]})
    ended = oriel("logs:check", "-a", "foobaz")
    assert ended.code == 1
    assert ended.out == (
        "Lost: 120 lines (13411 bytes) from 2011-06-19 08:35:19 to 2011-06-19 08:35:24: "
        "segment 3, its data file cannot be opened, No such file or directory.\n"
    )


@pytest.mark.parametrize(
    ("size", "shown"),
    [(5, "5 bytes"), (1024, "1 kB"), (1536 * 1024, "1.5 MB"), (1 << 40, "1 TB")],
)
def test_sizes_are_short(size: int, shown: str) -> None:
    assert logs_policy.shown_size(size) == shown
