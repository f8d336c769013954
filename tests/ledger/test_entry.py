"""The bytes that are signed: one spelling, every field in it, fixed for ever."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from oriel.ledger.entry import Release, Status, release_bytes, short, status_bytes
from tests.ledger.world import START

RELEASE = Release(
    id="r", app_id="a", version=74, kind="deploy", description="Deploy d706b4a", slug_id="s",
    commit="d706b4a", process_types={"web": "thin", "clock": "tick"}, config_sealed=b"\x01\x02",
    attachments=("addon",), stack="oriel-1", buildpacks=("python",), state=b"\x03", act_id=5,
    by_id="n", by_email="ned@foobazco.com", created_at=START, copy_of=None, previous_mac=b"\x04",
    previous_status_mac=b"\x05", mac=b"\x06", status="succeeded", status_reason="",
)  # fmt: skip

UNSIGNED = {"mac", "status", "status_reason"}


def test_the_spelling_is_fixed() -> None:
    """A change here makes every ledger in the world fail its verification: add a format."""
    data = release_bytes(RELEASE)
    assert data.startswith(b'{"0format":1,"act_id":5,"app_id":"a"')
    assert hashlib.sha256(data).hexdigest()[:16] == "cde6f8b822f6f30f"
    assert json.loads(data)["created_at"] == "2011-06-19T08:35:18.123456+00:00"


def _other(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return value + b"\0"
    if isinstance(value, tuple):
        return (*value, "more")
    if isinstance(value, dict):
        return {**value, "more": "x"}
    if value is None:
        return 7
    return value + (timedelta(microseconds=1) if value == START else "?")


@pytest.mark.parametrize("name", [f.name for f in fields(Release) if f.name not in UNSIGNED])
def test_every_field_is_signed(name: str) -> None:
    changed = replace(RELEASE, **{name: _other(getattr(RELEASE, name))})
    assert release_bytes(changed) != release_bytes(RELEASE)


def test_the_order_of_process_types_is_nothing() -> None:
    turned = replace(RELEASE, process_types={"clock": "tick", "web": "thin"})
    assert release_bytes(turned) == release_bytes(RELEASE)


def test_a_status_is_signed_with_its_release_and_the_entry_before() -> None:
    first = Status("r", 1, "pending", "", START, b"")
    last = Status("r", 2, "failed", "exit 1", START, b"")
    signed = {
        status_bytes(last, b"mac", (first,)),
        status_bytes(last, b"other", (first,)),
        status_bytes(last, b"mac", ()),
        status_bytes(replace(last, status="succeeded"), b"mac", (first,)),
        status_bytes(replace(last, reason=""), b"mac", (first,)),
        status_bytes(replace(last, ordinal=3), b"mac", (first,)),
        status_bytes(replace(last, at=START + timedelta(1)), b"mac", (first,)),
    }
    assert len(signed) == 7


def test_the_short_form() -> None:
    assert short(bytes(range(32))) == "000102030405"
