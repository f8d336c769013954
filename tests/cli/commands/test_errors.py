from __future__ import annotations

from typing import Any

from tests.cli.conftest import Oriel
from tests.client.stub import Stub

FOUND: dict[str, Any] = {
    "app": "foobaz",
    "since": "2011-06-18T08:35:19+00:00",
    "whole": True,
    "errors": [
        {
            "code": "H12",
            "description": "Request timeout",
            "count": 1204,
            "first": "2011-06-19T08:00:00.000000+00:00",
            "last": "2011-06-19T08:35:00.000000+00:00",
            "dynos": {"web.1": 1000, "web.2": 204},
            "path": "/slow",
        }
    ],
}


def test_errors_are_summed_up(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/oriel/apps/foobaz/errors", FOUND)
    out = oriel("errors", "-a", "foobaz", "--since", "2h").out.splitlines()
    assert stub.requests[-1].path == "/oriel/apps/foobaz/errors?since=2h"
    assert out[0].split() == ["Code", "Count", "What", "Last", "Where"]
    assert out[2].startswith("H12   1,204  Request timeout ")
    assert " web.1, web" in out[2]


def test_no_errors_are_said_too(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/oriel/apps/foobaz/errors", {**FOUND, "errors": []})
    assert oriel("errors", "-a", "foobaz").out.startswith("No errors since 2011-06-18 ")


def test_errors_as_json(oriel: Oriel, stub: Stub) -> None:
    import json

    stub.on("GET", "/oriel/apps/foobaz/errors", FOUND)
    assert json.loads(oriel("errors", "-a", "foobaz", "--json").out) == FOUND
