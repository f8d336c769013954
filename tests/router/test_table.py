"""What may enter a configuration, a map or a command, and what may not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.lexicon import Malformed
from oriel.router.table import AppRoute, Listen, RouteTable, Server, hostname

SAFE = re.compile(r"[A-Za-z0-9.:_\[\]-]*")


def route(**changes: object) -> AppRoute:
    parts: dict[str, object] = {
        "app_id": "id-1",
        "app": "foo",
        "channel": "channel-1",
        "hosts": ("foo.localhost",),
        "servers": (),
        "mode": "serve",
    }
    return AppRoute(**{**parts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("foo.localhost", "foo.localhost"),
        ("FOO.Example.COM.", "foo.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a", "a"),
        ("1.example", "1.example"),
    ],
)
def test_a_host_name_has_one_matched_form(text: str, name: str) -> None:
    assert hostname(text) == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "-a.b", "a-.b", "a b", "a;b", "a\nb", "a|b", "*.a.b", "bücher.example"]
    + [
        "a_b.c",
        "a:80",
        "127.0.0.1",
        "a.1",
        "x" * 64,
        "a." * 127 + "bc",
        "a\x00",
        "foo..",
        '"',
        "%a",
    ]
    + ["\u212aelvin.example", "a.b\n", "#a"],
)
def test_what_is_no_host_name_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        hostname(text)


@given(st.text())
def test_no_text_becomes_a_dangerous_host_name(text: str) -> None:
    try:
        name = hostname(text)
    except Malformed:
        return
    assert re.fullmatch(r"[a-z0-9.-]{1,253}", name)
    assert hostname(name) == name


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:8080", "::1", 8080),
        ("[::]:80", "::", 80),
        (":8080", "", 8080),
        ("8080", "", 8080),
        ("*:8080", "", 8080),
        ("localhost:1", "localhost", 1),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
    ],
)
def test_places_to_listen(text: str, host: str, port: int) -> None:
    assert Listen.parse(text) == Listen(host, port)
    assert Listen.parse(str(Listen(host, port))) == Listen(host, port)


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:b", "::1:8080", "[::1]", "[::1", "[127.0.0.1]:1", "[x]:1", "a b:1", "a:65536"]
    + ["a:-1", "[fe80::1%eth0]:1", "a:1 user root", "[::1]:1\n", "a\n:1", "a:٣"],
)
def test_what_is_no_place_to_listen(text: str) -> None:
    with pytest.raises(Malformed):
        Listen.parse(text)


@given(st.text())
def test_a_place_to_listen_is_safe_to_write(text: str) -> None:
    try:
        listen = Listen.parse(text)
    except Malformed:
        return
    assert SAFE.fullmatch(str(listen))
    assert Listen.parse(str(listen)) == listen


@pytest.mark.parametrize(
    "parts",
    [
        ("web", "0" * 32, "127.0.0.1", 1),
        ("web.1;quit", "0" * 32, "127.0.0.1", 1),
        ("web.1", "short", "127.0.0.1", 1),
        ("web.1", "0" * 32 + " x", "127.0.0.1", 1),
        ("web.1", "0" * 32, "localhost", 1),
        ("web.1", "0" * 32, "127.0.0.1 check", 1),
        ("web.1", "0" * 32, "fe80::1%eth0", 1),
        ("web.1", "0" * 32, "127.0.0.1", 0),
        ("web.1", "0" * 32, "127.0.0.1", 70000),
    ],
)
def test_what_is_no_server(parts: tuple[str, str, str, int]) -> None:
    with pytest.raises(Malformed):
        Server(*parts)


def test_a_servers_label_tells_two_instances_of_one_name_apart() -> None:
    assert Server("web.1", "0123456789abcdef" * 2, "::0001", 80).label == "web.1:01234567"
    assert Server("web.1", "0123456789abcdef" * 2, "::0001", 80).host == "::1"


@pytest.mark.parametrize(
    "change",
    [
        {"app_id": "a b"},
        {"app_id": ""},
        {"app_id": "a|b"},
        {"channel": 'x"]'},
        {"channel": "x\n"},
        {"app": "Foo Bar"},
        {"mode": "gone"},
        {"hosts": ("a b",)},
        {"servers": (Server("web.1", "0" * 32, "::1", 1), Server("web.1", "0" * 32, "::1", 2))},
    ],
)
def test_what_is_no_route(change: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        route(**change)


def test_a_routes_hosts_come_in_their_matched_form_each_once() -> None:
    assert route(hosts=("Foo.localhost.", "foo.LOCALHOST")).hosts == ("foo.localhost",)


def test_a_host_leads_to_one_app_only() -> None:
    one, two = route(), route(app_id="id-2", app="bar", hosts=("FOO.localhost",))
    with pytest.raises(Malformed, match=r"foo\.localhost"):
        RouteTable((one, two))
    with pytest.raises(Malformed):
        RouteTable((one, route(hosts=("bar.localhost",))))
