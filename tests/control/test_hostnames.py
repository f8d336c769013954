"""Which texts are host names of an app, in DNS's form and in people's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.control import hostnames
from oriel.faults import Forbidden
from oriel.lexicon import Malformed
from oriel.router import pattern

BUECHER = "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("www.example.com", "www.example.com"),
        ("WWW.Example.COM.", "www.example.com"),
        ("*.example.com", "*.example.com"),
        ("Bücher.example", BUECHER),
        ("*.bücher.example", f"*.{BUECHER}"),
        ("bu\u0308cher.example", BUECHER),
        ("XN--bcher-kva.example", BUECHER),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("faß.example", "xn--fa-hia.example"),
        ("a1.b-c.d2e", "a1.b-c.d2e"),
    ],
)
def test_names_as_dns_has_them(typed: str, name: str) -> None:
    assert hostnames.ascii_of(typed) == name
    assert hostnames.ascii_of(name) == name
    assert hostnames.ascii_of(hostnames.unicode_of(name)) == name


@pytest.mark.parametrize(
    "typed",
    [
        "", ".", "*", "*.", "com", "*.com", "localhost", "1.2.3.4", "[::1]", "::1", "a..b", "-a.b",
        "a-.b", "a_b.c", "a b.c", "a.b/c", "http://a.b", "a.b:80", "*.*.b.c", "a.*.b", "**.a.b",
        "a.b\n", "a.b\0", "a.b;c", "a.b'", 'a.b"', "a.b\\", "$a.b", "a.b#", "a" * 64 + ".b",
        "a." * 127 + "aa", "xn--.com", "xn--a.com", "xn--www-.com", "☃\u202e.com", "\u2100.com",
        "ａ．.com", "xn--fa-hiaa\u00df.example", "a.1", "‮.com",
    ],
)  # fmt: skip
def test_what_is_none_is_refused(typed: str) -> None:
    with pytest.raises(Malformed) as refused:
        hostnames.ascii_of(typed)
    assert str(refused.value).isprintable()


@given(st.text(max_size=80) | st.text("abß.-*xn1 \n;", max_size=30))
def test_whatever_is_typed_is_refused_or_safe_in_a_map(text: str) -> None:
    try:
        name = hostnames.ascii_of(text)
    except Malformed:
        return
    assert pattern(name) == name
    assert set(name.removeprefix("*")) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert "." in name.removeprefix("*.")
    assert hostnames.unicode_of(name).isprintable()


def test_what_a_certificate_covers() -> None:
    covers = hostnames.covers
    assert covers("www.example.com", "www.example.com")
    assert covers("*.example.com", "www.example.com")
    assert covers("*.example.com", "*.example.com")
    assert covers("*.EXAMPLE.com", "www.example.com")
    for name, host in (
        ("*.example.com", "a.b.example.com"), ("*.example.com", "example.com"),
        ("www.example.com", "*.example.com"), ("*.com", "*.example.com"),
        ("example.com", "www.example.com"), ("*", "com"), ("", ""),
    ):  # fmt: skip
        assert not covers(name, host) or name == host == ""


def test_the_platforms_own_names_are_nobodys() -> None:
    reserved = ("*.apps.example.com", "apps.example.com", "api.example.org")
    for name in (
        "apps.example.com", "x.apps.example.com", "*.apps.example.com", "*.y.apps.example.com",
        "api.example.org", "x.api.example.org",
    ):  # fmt: skip
        with pytest.raises(Forbidden, match="platform's own"):
            hostnames.refuse_platforms(name, reserved)
    for name in ("example.com", "*.example.com", "xapps.example.com", "example.org"):
        hostnames.refuse_platforms(name, reserved)


def test_the_wildcards_above_a_name() -> None:
    assert hostnames.suffixes("a.b.c") == ["*.b.c", "*.c"]
    assert hostnames.suffixes("*.b.c") == ["*.c"]
