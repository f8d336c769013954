"""The table of statuses, and what a refusal looks like."""

from __future__ import annotations

import json
import logging

import pytest

from oriel import faults
from oriel.api import faults as table
from oriel.lexicon import AppName, Malformed


def _all(kind: type[faults.Fault]) -> list[type[faults.Fault]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in _all(sub))]


EXPECTED = {
    "bad_request": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404, "conflict": 409,
    "release_pending": 409, "invalid_params": 422, "too_large": 413, "rate_limit": 429,
    "confirmation_required": 423, "unavailable": 503, "internal_error": 500, "fault": 500,
    "method_not_allowed": 405, "unsupported_media_type": 415, "request_timeout": 408,
    "misdirected_request": 421,
}  # fmt: skip


def test_every_fault_has_its_status() -> None:
    ours = [kind for kind in _all(faults.Fault) if kind.__module__ in (
        "oriel.faults", "oriel.api.faults")]  # fmt: skip
    assert {kind.id: table.status_of(kind) for kind in ours} == EXPECTED


def test_a_fault_unknown_to_the_table_answers_as_its_parent() -> None:
    class NewConflict(faults.ReleasePending):
        id = "new"

    assert table.status_of(NewConflict) == 409
    assert table.status_of(KeyError) == 500


def test_a_refusal_says_all_it_has() -> None:
    fault = faults.NotFound("No such app.", hint="oriel apps", resource="app", app="demo")
    assert table.describe(fault, "r") == {
        "id": "not_found", "message": "No such app.", "hint": "oriel apps", "resource": "app",
        "app": {"name": "demo"},
    }  # fmt: skip


def test_a_malformed_name_is_invalid() -> None:
    with pytest.raises(Malformed) as malformed:
        AppName("A")
    answer = table.answer(malformed.value, "r")
    assert answer.status_code == 422
    assert json.loads(answer.body)["id"] == "invalid_params"


def test_what_nobody_foresaw_tells_neither_the_user_nor_the_log_its_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def inner() -> None:
        raise KeyError("hunter2")

    try:
        try:
            inner()
        except KeyError as cause:
            raise RuntimeError("password hunter2") from cause
    except RuntimeError as problem:
        with caplog.at_level(logging.ERROR):
            answer = table.answer(problem, "req-12345678")
    assert answer.status_code == 500
    assert "req-12345678" in json.loads(answer.body)["message"]
    assert "hunter2" not in caplog.text + answer.body.decode()
    assert "KeyError" in caplog.text
    assert "at inner" in caplog.text


def test_a_401_says_how_to_come() -> None:
    assert table.answer(faults.Unauthorized("Who?"), "r").headers["www-authenticate"]
