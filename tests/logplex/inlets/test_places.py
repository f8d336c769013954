"""Addresses as they are typed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oriel import faults
from oriel.logplex.inlets.places import KINDS, Place


@pytest.mark.parametrize(
    ("kind", "text", "host", "port"),
    [
        ("syslog", "0.0.0.0:514", "0.0.0.0", 514),
        ("syslog", ":6514", "127.0.0.1", 6514),
        ("http", "[::1]:8601", "::1", 8601),
        ("syslog-udp", "localhost:514=shop/redis", "localhost", 514),
    ],
)
def test_an_address(kind: str, text: str, host: str, port: int) -> None:
    place = Place.parse(kind, text)
    assert (place.host, place.port) == (host, port)
    assert (place.channel, place.name) == (("shop", "redis") if "=" in text else ("", ""))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("syslog", ""),
        ("syslog", "514"),
        ("syslog", "::1:514"),
        ("syslog", "host:99999"),
        ("syslog", "host:514=shop"),
        ("syslog", "host:514=../x/y"),
        ("syslog", "host:514=shop/a b"),
        ("http", ":80=shop/web"),
        ("unix", "relative"),
    ],
)
def test_what_is_no_address(kind: str, text: str) -> None:
    with pytest.raises(faults.Invalid):
        Place.parse(kind, text)


def test_a_path_may_have_an_equals_sign_only_before_a_source() -> None:
    place = Place.parse("unix-dgram", "/run/a=b/log=shop/redis")
    assert (str(place.path), place.channel, place.name) == ("/run/a=b/log", "shop", "redis")


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.text(max_size=40))
def test_any_text_is_an_address_or_refused(kind: str, text: str) -> None:
    with contextlib.suppress(faults.Invalid):
        Place.parse(kind, text)
