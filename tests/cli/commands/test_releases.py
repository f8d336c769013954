from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub

NED, RICK = "ned@foobazco.com", "rick@foobazco.com"


def release(version: int, said: str, at: str, by: str = NED, **more: Any) -> dict[str, Any]:
    return {
        "version": version,
        "description": said,
        "user": {"email": by},
        "created_at": f"2011-06-{at}Z",
        "status": "succeeded",
        "current": False,
        "addon_plan_names": [],
        **more,
    }


STORY = [
    release(76, "Deploy d706b4a", "19T08:34:20", current=True),
    release(75, "Rollback to v73", "19T08:20:50"),
    release(74, "Deploy 20a5742", "19T08:20:01"),
    release(73, "Deploy df7bb82", "19T06:30:00", RICK),
]

SEED = """\
Rel   Change                          By                    When
----  ----------------------          ----------            ----------
v76   Deploy d706b4a                  ned@foobazco.com      1 minute ago
v75   Rollback to v73                 ned@foobazco.com      14 minutes ago
v74   Deploy 20a5742                  ned@foobazco.com      15 minutes ago
v73   Deploy df7bb82                  rick@foobazco.com     2 hours ago
"""

PATH = "/apps/foobaz/releases"


@pytest.mark.parametrize("columns", ["", "80", "200"])
def test_the_seed_to_the_letter(
    oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    stub.on("GET", PATH, STORY)
    ended = oriel("releases", "-a", "foobaz")
    assert (ended.out, ended.err, ended.code) == (SEED, "", 0)
    assert stub.requests[0].headers["Range"] == "version ..; max=15, order=desc"


def test_marks_for_what_is_not_simply_in_force(oriel: Oriel, stub: Stub) -> None:
    found = [
        release(
            6, "Deploy 1234567 with a description that is long", "19T08:35:20", status="pending"
        ),
        release(5, "Config add A_VERY_LONG_KEY, AND_MORE", "19T08:35:05", status="failed"),
        release(4, "Deploy 20a5742", "19T08:33:00", current=True),
        release(3, "Deploy df7bb82", "18T08:35:26", "somebody.with.a.long.name@foobazco.com"),
        release(2, "Initial release", "18T08:35:25"),
    ]
    stub.on("GET", PATH, found)
    assert oriel("releases", "-a", "foobaz").out.splitlines()[2:] == [
        "v6    Deploy 1234567 wit.. (pending)  ned@foobazco.com      5 seconds ago",
        "v5    Config add A_VERY_L.. (failed)  ned@foobazco.com      20 seconds ago",
        "v4    Deploy 20a5742 (current)        ned@foobazco.com      2 minutes ago",
        "v3    Deploy df7bb82                  somebody.with.a.lo..  23 hours ago",
        "v2    Initial release                 ned@foobazco.com      2011-06-18 08:35:25 +0000",
    ]


def test_narrow_screens(oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.on("GET", PATH, [release(2, "Deploy d706b4a", "17T08:00:00", current=True)])
    monkeypatch.setenv("COLUMNS", "80")
    lines = oriel("releases", "-a", "foobaz").out.splitlines()
    assert lines[2].endswith("ned@foobazco.com      2011-06-17 08:00:00")
    for columns in (70, 60, 40, 10):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert max(map(len, oriel("releases", "-a", "foobaz").out.splitlines())) <= columns


def test_a_current_one_further_down_is_told(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, [release(6, "Deploy 1", "19T08:00:00", status="failed")])
    assert "oriel releases -n 4" in oriel("releases", "-n", "1", "-a", "foobaz").err


def test_json_is_what_the_api_said(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, STORY)
    assert json.loads(oriel("releases", "--json", "-a", "foobaz").out) == STORY


def test_info(oriel: Oriel, stub: Stub) -> None:
    found = release(74, "Deploy 20a5742", "19T08:20:01", status="failed")
    found["oriel"] = {"commit": "20a5742f", "reason": "release command exited with status 1"}
    stub.on("GET", f"{PATH}/74", found)
    stub.on("GET", f"{PATH}/74/config-vars", {"LONGER_KEY": "b", "A": "1"})
    assert oriel("releases:info", "v74", "-a", "foobaz").out == (
        "=== Release v74\n"
        "Change:      Deploy 20a5742\n"
        "By:          ned@foobazco.com\n"
        "When:        15 minutes ago\n"
        "Commit:      20a5742f\n"
        "Status:      failed: release command exited with status 1\n"
        "Config:\n"
        "  A          => 1\n"
        "  LONGER_KEY => b\n"
    )


def test_info_without_a_number_is_of_the_newest(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, STORY[:1])
    stub.on("GET", f"{PATH}/76", STORY[0])
    stub.on("GET", f"{PATH}/76/config-vars", {})
    assert "Status:      current" in oriel("releases:info", "-a", "foobaz").out
    stub.on("GET", PATH, [])
    assert oriel("releases:info", "-a", "foobaz").code == 4


def test_diff(oriel: Oriel, stub: Stub) -> None:
    found = {
        "commits": {"before": "df7bb82", "after": "20a5742"},
        "process_types": {"added": {"clock": "tick"}, "removed": {}, "changed": {}},
        "config": {
            "added": {},
            "removed": {"OLD": "****"},
            "changed": {"FOO": {"before": "****", "after": "****"}},
        },
    }
    path = "/oriel/apps/foobaz/releases/73/diff/74"
    stub.on("GET", path, found)
    expected = (
        "=== v73 to v74\nCommit:\n  df7bb82 -> 20a5742\nProcess types:\n  + clock => tick\n"
        "Config:\n  - OLD => ****\n  - FOO => ****\n  + FOO => ****\n"
    )
    assert oriel("releases:diff", "v73", "v74", "-a", "foobaz").out == expected
    assert oriel("releases:diff", "74", "-a", "foobaz").out == expected
    oriel("releases:diff", "73", "74", "--reveal", "-a", "foobaz")
    assert stub.requests[-1].path == f"{path}?reveal=true"
    stub.on("GET", path, {"commits": None, "process_types": {}, "config": {}})
    assert "same code and config" in oriel("releases:diff", "73", "74", "-a", "foobaz").err


def test_verify(oriel: Oriel, stub: Stub) -> None:
    path = "/oriel/apps/foobaz/verification"
    stub.on("GET", path, {"ok": True, "releases": 76, "problems": []})
    ended = oriel("releases:verify", "-a", "foobaz")
    assert (ended.out, ended.code) == ("foobaz: 76 releases, each as it was made.\n", 0)
    stub.on("GET", path, {"ok": False, "releases": 75, "problems": ["v3 was removed."]})
    ended = oriel("releases:verify", "-a", "foobaz")
    assert (ended.out, ended.code) == ("v3 was removed.\n", 10)
    assert " !    The releases of foobaz are not what they were.\n" in ended.err


ROLLED = release(75, "Rollback to v73", "19T08:35:25", oriel={"previous": 74, "copy_of": 73})


def test_rollback_as_the_seed_has_it(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", PATH, ROLLED)
    ended = oriel("rollback", "-a", "foobaz")
    assert ended.out == "-----> Rolling back to v73... done, v75\n"
    assert ended.err == "       To undo: oriel rollback v74 -a foobaz\n"
    assert stub.requests[0].json == {}
    assert len(stub.requests) == 1


def test_rollback_to_one(oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIEL_APP", "foobaz")
    stub.on("POST", PATH, ROLLED)
    ended = oriel("releases:rollback", "73")
    assert ended.out == "-----> Rolling back to v73... done, v75\n"
    assert ended.err == "       To undo: oriel rollback v74\n"
    assert stub.requests[0].json == {"release": "v73"}


def test_a_rollback_whose_release_command_failed(oriel: Oriel, stub: Stub) -> None:
    failed = {**ROLLED, "status": "failed", "oriel": {"reason": "release command was killed"}}
    stub.on("POST", PATH, failed)
    ended = oriel("rollback", "v73", "-a", "foobaz")
    assert ended.out == "-----> Rolling back to v73... failed, v75\n"
    assert "Release v75 failed: release command was killed." in ended.err
    assert "oriel logs --release v75" in ended.err
    assert ended.code == 11


@pytest.mark.parametrize("word", ["x", "v", "v0", "0", "-", "v1.2", "vv1", "٣", "v1234567890"])
def test_what_is_no_release(oriel: Oriel, stub: Stub, word: str) -> None:
    assert oriel("rollback", word, "-a", "foobaz").code == 2
    assert stub.requests == []
