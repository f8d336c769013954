"""What a reader may ask for."""

from __future__ import annotations

import pytest

from oriel import faults
from oriel.logplex.query import Query, from_request


def test_a_request_becomes_a_query() -> None:
    request = {"lines": 5, "tail": True, "after": "1.2.3", "sources": ["app"], "ps": ["web"]}
    assert from_request(request) == Query(5, True, "1.2.3", ("app",), ("web",))
    assert from_request({}) == Query()


@pytest.mark.parametrize(
    "request_",
    [
        {"lines": -1},
        {"lines": "5"},
        {"lines": True},
        {"lines": 10**9},
        {"after": 3},
        {"format": "xml"},
        {"ps": "web"},
        {"ps": [1]},
        {"sources": ["a"] * 101},
    ],
)
def test_what_cannot_be_asked_is_refused(request_: dict[str, object]) -> None:
    with pytest.raises(faults.Invalid):
        from_request(request_)


def test_several_processes_are_either_of_them() -> None:
    query = Query(ps=("web.1", "worker"))
    assert query.wants("app", "worker.3")
    assert not query.wants("app", "web.2")
    assert not query.wants("app", "web.10")
