"""The status file, whole, torn and garbled."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.sandbox.status import Status, parse

OUTER = b'{"outer": 10, "outer-start": 111, "boot-id": "b"}\n'
CHILD = b'{ "child-pid": 11, "ipc-namespace": 4026532180, "pid-namespace": 4026532181 }\n'
CODE = b'{ "exit-code": 5 }\n'


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (b"", Status()),
        (OUTER, Status("b", 10, 111)),
        (OUTER + CHILD, Status("b", 10, 111, 11, None, 4026532181)),
        (OUTER + CHILD + CODE, Status("b", 10, 111, 11, None, 4026532181, 5)),
        (OUTER + CHILD + CODE[:-4], Status("b", 10, 111, 11, None, 4026532181)),
        (b"\xff\n[1]\nnull\n" + OUTER, Status("b", 10, 111)),
        (b'{"outer": true, "exit-code": "0", "boot-id": 3}', Status()),
        (b"[" * 60_000, Status()),
    ],
)
def test_what_a_status_file_says(text: bytes, known: Status) -> None:
    assert parse(text) == known


def test_a_record_adds_what_the_file_does_not_say() -> None:
    record = {**parse(OUTER + CHILD).as_record(), "child_start": 222}
    assert parse(OUTER, record).child_start == 222
    assert parse(b"", record).as_record() == record


def test_a_record_alone_never_tells_an_exit() -> None:
    assert parse(b"", {"exit_code": 0, "exit-code": 0}).exit_code is None


@given(st.binary(max_size=300))
def test_any_bytes_are_read(text: bytes) -> None:
    json.dumps(parse(text).as_record())
