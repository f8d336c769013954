"""A drain's URL: schemes, ports, aliases, formats, and what is shown of it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel import faults
from oriel.logplex.drains.address import masked, parse


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target"),
    [
        ("syslog://a.example", "syslog", "a.example", 601, "/"),
        ("tcpsyslog://a.example", "syslog", "a.example", 601, "/"),
        ("syslog+tcp://a.example:1514", "syslog", "a.example", 1514, "/"),
        ("syslog+tls://a.example", "syslog+tls", "a.example", 6514, "/"),
        ("syslog+udp://a.example", "syslog+udp", "a.example", 514, "/"),
        ("udpsyslog://a.example:5", "syslog+udp", "a.example", 5, "/"),
        ("http://a.example", "http", "a.example", 80, "/"),
        ("HTTPS://a.example/in?x=1&y", "https", "a.example", 443, "/in?x=1&y"),
        ("https://[2001:db8::1]:8443/in", "https", "2001:db8::1", 8443, "/in"),
        ("https://a.example/?format=json", "https", "a.example", 443, "/"),
        ("http://a/in?format=rfc5424&k=%2F+", "http", "a", 80, "/in?k=%2F+"),
        ("http://a/in?format=xml", "http", "a", 80, "/in?format=xml"),
    ],
)
def test_what_a_url_means(url: str, scheme: str, host: str, port: int, target: str) -> None:
    found = parse(url)
    assert (found.scheme, found.host, found.port, found.target) == (scheme, host, port, target)


@pytest.mark.parametrize(
    "url",
    ["", "a.example", "ftp://a", "syslog://", "http://:80/", "http://a:0/", "http://a:99999/",
     "http://a b/", "http://a/\r\nX: y", "http://a/" + "x" * 3000, "syslog://a?format=json",
     "http://ü.example/", "http://[::1/", "javascript:alert(1)", "http://a\x00/"],
)  # fmt: skip
def test_what_is_no_drain(url: str) -> None:
    with pytest.raises(faults.Invalid):
        parse(url)


def test_what_goes_into_headers() -> None:
    found = parse("https://us%40er:p%3Ass@a.example:8443/in#insecure")
    assert found.authorization == "Basic dXNAZXI6cDpzcw=="
    assert (found.host_header, found.insecure) == ("a.example:8443", True)
    assert parse("https://a.example:443/").host_header == "a.example"
    assert parse("https://a/?format=rfc5424").format == "rfc5424"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@a/in", "https://user:****@a/in"),
        ("https://KEY@a/in", "https://****:****@a/in"),
        ("https://KEY:x@a/in", "https://****:****@a/in"),
        ("https://a/in?dd-api-key=abc&host=b", "https://a/in?dd-api-key=****&host=b"),
        ("syslog+tls://a:6514#insecure", "syslog+tls://a:6514#insecure"),
    ],
)
def test_secrets_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(st.text(max_size=60), st.text(alphabet="abc%:/@?#[]=&.0", max_size=60))
def test_no_text_breaks_it(any_text: str, like: str) -> None:
    for text in (any_text, f"https://{like}", f"https://u:{like}@h/"):
        with contextlib.suppress(faults.Invalid):
            found = parse(text)
            assert "\n" not in found.target + found.host_header + found.authorization
        masked(text)


@given(st.text(alphabet="abcdefXYZ0189", min_size=5, max_size=30))
def test_no_password_is_shown(word: str) -> None:
    shown = masked(f"https://user:{word}@h.invalid/?token={word}")
    assert word not in shown.replace("user", "").replace("h.invalid", "").replace("token=", "")
