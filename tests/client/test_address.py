from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.client.address import Address, below, target_of
from oriel.client.refusal import Refusal


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://127.0.0.1:5050", "http://127.0.0.1:5050"),
        ("http://127.0.0.1:5050/", "http://127.0.0.1:5050"),
        ("HTTPS://Oriel.Example.COM:443", "https://oriel.example.com"),
        ("http://[::1]:5050", "http://[::1]:5050"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("127.0.0.1:5050", "http://127.0.0.1:5050"),
        ("localhost:80", "http://localhost"),
        ("[::1]:5050", "http://[::1]:5050"),
        (" oriel.example.com ", "https://oriel.example.com"),
    ],
)
def test_one_form_for_each_place(text: str, origin: str) -> None:
    assert Address.parse(text).origin == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://a",
        "http://a/path",
        "http://a?q",
        "http://a#f",
        "http://a:0",
        "http://a:99999",
        "http://[::1",
        "http://a b",
        "http://ned:pass@a",
        "http://a\nb",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_address_says_what_to_type(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        Address.parse(text)
    assert "ORIEL_API" in refused.value.hint
    assert "pass@" not in refused.value.message


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_refusal(text: str) -> None:
    try:
        place = Address.parse(text)
    except Refusal:
        return
    assert Address.parse(place.origin).origin == place.origin


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4))
def test_a_segment_stays_one_segment(segments: list[str]) -> None:
    path = below(*segments)
    assert path.count("/") == len(segments)
    assert path.isascii()
    assert path.isprintable()
    assert not {"..", "."} & set(path.split("/"))


def test_loopback() -> None:
    assert Address.parse("http://127.0.0.1:5050").loopback
    assert Address.parse("http://[::1]:5050").loopback
    assert not Address.parse("http://oriel.example.com").loopback


def test_a_url_of_the_api_is_asked_where_the_api_was_found() -> None:
    assert target_of("https://oriel.example.com/log-sessions/abc?x=1") == "/log-sessions/abc?x=1"
    assert target_of("https://oriel.example.com") == "/"
