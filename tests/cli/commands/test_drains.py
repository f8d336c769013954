from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from tests.cli.conftest import Oriel
from tests.client.stub import Reply, Stub, refusal

TOKEN = "d.80799d8b-2b8b-4b0e-9d8b-0c6f3f0a6f01"
URL = "https://user:****@logs.example.com/in"


def drain(**own: Any) -> dict[str, Any]:
    how = {
        "answer": "503 Busy",
        "answered_at": "2011-06-19T08:35:20.000000Z",
        "delivered": 12345,
        "lag": {"bytes": 1500, "lines": 12, "seconds": 3.2},
        "lost": 1,
        "retries": 4,
        "since": "2011-06-19T08:35:15.000000Z",
        "state": "retrying",
        **own,
    }
    return {
        "addon": None,
        "created_at": "2011-06-19T08:25:25Z",
        "id": "i",
        "token": TOKEN,
        "url": URL,
        "oriel": how,
    }


def test_the_list(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/log-drains", [drain()])
    ended = oriel("drains", "-a", "foobaz")
    rows = ended.out.splitlines()
    assert ended.code == 0
    assert rows[0].split() == ["Drain", "State", "Behind", "URL"]
    assert rows[2].split("  ")[0] == TOKEN
    assert rows[2].endswith(URL)
    assert "12 lines, 1.5 kB, 3s" in rows[2]
    assert json.loads(oriel("drains", "--json", "-a", "foobaz").out)[0]["token"] == TOKEN


def test_none_yet(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/log-drains", [])
    assert oriel("drains", "-a", "foobaz").out == "foobaz has no drains.\n"
    ended = oriel("drains:info", "-a", "foobaz")
    assert (ended.code, "drains:add" in ended.err) == (4, True)


def test_add_and_remove(oriel: Oriel, stub: Stub) -> None:
    url = "https://user:pw@logs.example.com/in?format=json#insecure"
    stub.on("POST", "/apps/foobaz/log-drains", drain())
    stub.on("DELETE", f"/apps/foobaz/log-drains/{quote(url, safe='@:~')}", drain())
    ended = oriel("drains:add", url, "-a", "foobaz")
    assert ended.out == f"Adding drain to foobaz... done, {TOKEN}\n"
    assert stub.calls("POST")[0].json == {"url": url}
    ended = oriel("drains:remove", url, "-a", "foobaz")
    assert (ended.out, ended.err, ended.code) == ("Removing drain from foobaz... done\n", "", 0)


def test_info(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/log-drains", [drain()])
    assert oriel("drains:info", "-a", "foobaz").out.splitlines() == [
        f"=== {TOKEN}",
        f"URL:         {URL}",
        "State:       retrying for 10s",
        "Answer:      503 Busy (5 seconds ago)",
        "Behind:      12 lines, 1.5 kB, 3s",
        "Delivered:   12,345 lines",
        "Lost:        1 line",
        "Retries:     4",
        "Added:       10 minutes ago",
    ]
    stub.on("GET", "/apps/foobaz/log-drains", [drain(), drain()])
    assert oriel("drains:info", "-a", "foobaz").code == 3


def test_test(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", f"/apps/foobaz/log-drains/{TOKEN}", drain())
    path = f"/oriel/apps/foobaz/log-drains/{TOKEN}/actions/test"
    stub.on("POST", path, {"taken": True, "answer": "204", "seconds": 0.011, "drain": drain()})
    ended = oriel("drains:test", TOKEN, "-a", "foobaz")
    assert (ended.out, ended.code) == (f"Sending a line to {TOKEN}... taken: 204 (0.01s)\n", 0)
    stub.on("POST", path, {"taken": False, "answer": "404\x1b[2J", "seconds": 1, "drain": drain()})
    ended = oriel("drains:test", TOKEN, "-a", "foobaz")
    assert (ended.code, "not taken: 404" in ended.out, "\x1b" in ended.out) == (1, True, False)


def test_replay(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/log-drains", [drain()])
    path = f"/oriel/apps/foobaz/log-drains/{TOKEN}/actions/replay"
    stub.on("POST", path, {"lines": 2, "drain": drain()})
    ended = oriel("drains:replay", "--since", "v74", "-a", "foobaz")
    assert ended.out == f"Replaying {TOKEN}... done, 2 lines\n"
    assert stub.calls("POST")[0].json == {"since": "v74"}
    assert oriel("drains:replay", "--since", "yesterdayish", "-a", "foobaz").code == 2


def test_refusals_are_told(oriel: Oriel, stub: Stub) -> None:
    no: Reply = refusal(409, "conflict", "There is a drain to that URL already.")
    stub.on("POST", "/apps/foobaz/log-drains", no)
    ended = oriel("drains:add", "http://a.example", "-a", "foobaz")
    assert (ended.code, "failed" in ended.out) == (5, True)
