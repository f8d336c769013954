"""Request bodies: what is read, and the sentence for what is not."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from oriel import faults
from oriel.api.bodies import Body, read
from oriel.api.faults import TooSlow

NOT_OBJECTS = [
    (b"hello", "not JSON"),
    (b'{"a": }', "not JSON"),
    (b"[1]", "not a JSON object"),
    (b'"text"', "not a JSON object"),
    (b"null", "not a JSON object"),
    (b'{"a": 1, "a": 2}', '"a" twice'),
    (b'{"a": NaN}', "NaN"),
    (b"\xff\xfe", "not UTF-8"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deeply"),
    (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
]


@pytest.mark.parametrize(("raw", "said"), NOT_OBJECTS)
def test_what_is_no_object_is_a_bad_request(raw: bytes, said: str) -> None:
    with pytest.raises(faults.BadRequest) as refused:
        Body.parse(raw)
    assert said in refused.value.message
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize("raw", [b"", b"  \n", b"{}"])
def test_nothing_is_an_empty_object(raw: bytes) -> None:
    assert Body.parse(raw).values == {}


@pytest.mark.parametrize("raw", [b'{"FOO": "a\\u0000b"}', b'{"FOO": {"x": ["\\ud800"]}}'])
def test_text_that_nobody_can_keep_is_refused_by_its_key(raw: bytes) -> None:
    with pytest.raises(faults.Invalid) as refused:
        Body.parse(raw)
    assert '"FOO"' in refused.value.message or '"x"' in refused.value.message


@pytest.mark.parametrize(
    ("reader", "value"),
    [("text", None), ("text", 3), ("optional_text", ["a"]), ("optional_flag", "yes"),
     ("optional_number", "-1"), ("optional_number", True), ("optional_number", 1.5),
     ("optional_texts", "a"), ("optional_texts", [1]), ("objects", None), ("objects", []),
     ("objects", ["a"]), ("reference", 7)],
)  # fmt: skip
def test_a_wrong_value_is_named_by_its_key(reader: str, value: object) -> None:
    with pytest.raises(faults.Invalid) as refused:
        getattr(Body({"weight": value}), reader)("weight")
    assert '"weight"' in refused.value.message


def test_numbers_come_as_text_too() -> None:
    assert Body({"expires_in": "3600"}).optional_number("expires_in") == 3600
    assert Body({"expires_in": 3600}).optional_number("expires_in") == 3600


def test_a_thing_is_named_by_text_or_by_object() -> None:
    assert Body({"release": "v7"}).reference("release") == "v7"
    assert Body({"stack": {"name": "oriel-1"}}).reference("stack") == "oriel-1"
    assert Body({}).reference("release") is None


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_refusal(raw: bytes) -> None:
    with contextlib.suppress(faults.Fault):
        assert isinstance(Body.parse(raw).values, dict)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_json_is_an_object_or_a_refusal(value: object) -> None:
    with contextlib.suppress(faults.Fault):
        Body.parse(json.dumps({"key": value}).encode())


def _reading(chunks: list[bytes], headers: dict[str, str], **limits: float) -> bytes:
    waiting = list(chunks)

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    raw = [(key.encode(), value.encode()) for key, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}
    return asyncio.run(read(Request(scope, receive), **limits))  # type: ignore[arg-type]


def test_a_body_over_the_limit_is_refused_at_once() -> None:
    with pytest.raises(faults.TooLarge):
        _reading([], {"content-length": "11"}, limit=10)
    with pytest.raises(faults.TooLarge):
        _reading([b"123456", b"123456"], {}, limit=10)


def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(TooSlow):
        _reading([b"{"], {}, wait_s=0.01)
