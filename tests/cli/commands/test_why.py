from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal

PATH = "/oriel/apps/foobaz/dynos/web.1/why"
WHY: dict[str, Any] = {
    "title": "web.1: crashed for 4s (v74)",
    "state": "crashed",
    "kind": "exit",
    "was": "up for 2h on v73, then replaced by v74",
    "changed": ["3s before: v74 Deploy 20a5742 by ned@foobazco.com"],
    "ended": "exited with status 1, 2s after its start",
    "also": "",
    "said": ["uninitialized constant Utils (NameError)"],
    "steps": [{"kind": "undo", "command": "oriel rollback v73"}],
}


def test_ten_lines_at_most(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, WHY)
    ended = oriel("why", "web.1", "-a", "foobaz")
    assert ended.out == (
        "=== web.1: crashed for 4s (v74)\n"
        "Was:         up for 2h on v73, then replaced by v74\n"
        "Changed:     3s before: v74 Deploy 20a5742 by ned@foobazco.com\n"
        "Ended:       exited with status 1, 2s after its start\n"
        "Said:        uninitialized constant Utils (NameError)\n"
        "To undo:     oriel rollback v73 -a foobaz\n"
    )
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(oriel("why", "web.1", "-j", "-a", "foobaz").out) == WHY
    much = {**WHY, "said": [f"line {each}" for each in range(20)]}
    stub.on("GET", PATH, much)
    lines = oriel("why", "web.1", "-a", "foobaz").out.splitlines()
    assert (len(lines), lines[-1]) == (10, "To undo:     oriel rollback v73 -a foobaz")


def test_the_app_is_named_only_where_it_had_to_be(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.on("GET", PATH, WHY)
    monkeypatch.setenv("ORIEL_APP", "foobaz")
    assert oriel("why", "web.1").out.endswith("To undo:     oriel rollback v73\n")


def test_a_name_that_never_was(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, refusal(404, "not_found", "There is, or was, web.2."))
    ended = oriel("why", "web.1", "-a", "foobaz")
    assert (ended.code, ended.err) == (4, " !    There is, or was, web.2.\n")


@pytest.mark.parametrize(
    ("word", "known"), [("web", "web.1"), ("../x", "web.1"), ("a/b.1", "web.1"), (".1", "web.1")]
)
def test_what_is_no_name(oriel: Oriel, stub: Stub, word: str, known: str) -> None:
    ended = oriel("why", word, "-a", "foobaz")
    assert ended.code == 2
    assert f"oriel why {known}" in ended.err
    assert stub.requests == []
