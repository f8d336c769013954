"""The configuration as text. After a change on purpose: ORIEL_GOLDEN=1 writes it anew."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.router import Listen, Server
from oriel.router.frontend import bind_addresses
from oriel.router.haproxy import program
from oriel.router.places import Places, Stamp
from oriel.router.render import render
from oriel.router.settings import Settings
from oriel.router.table import RouteTable

from .conftest import app, table

GOLDEN = Path(__file__).with_name("golden")
SETTINGS = Settings(
    directory=Path("/data/router"),
    runtime_socket=Path("/data/run/haproxy.sock"),
    web=(Listen("", 8080), Listen("127.0.0.1", 8081), Listen("::1", 8081)),
    log_port=5140,
    user="haproxy",
    onward_key="0123456789abcdef" * 2,
)
TABLE = table(
    app(
        "foo",
        Server("web.1", "0123456789abcdef" * 2, "127.0.0.1", 20101),
        Server("web.2", "fedcba9876543210" * 2, "::1", 20102),
        hosts=("foo.localhost", "WWW.example.com."),
    ),
    app("bar", mode="crashed"),
)
PLACES = Places(4, {"id-foo": 2, "id-bar": 0})


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("ORIEL_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_the_configuration_as_text() -> None:
    rendered = render(TABLE, PLACES, SETTINGS)
    golden("haproxy.cfg", rendered.config)
    for name, text in rendered.files.items():
        if name.split(".")[0] in ("hosts", "apps"):
            golden(f"{name.split('.')[0]}.map", text)
        assert f"/data/router/{name}" in rendered.config


def test_routes_change_no_layout_and_settings_do() -> None:
    stamp = render(TABLE, PLACES, SETTINGS).stamp
    assert render(RouteTable(), Places(0, {}), SETTINGS).stamp.layout == stamp.layout
    assert Stamp.find(render(TABLE, PLACES, SETTINGS).config) == stamp
    other = Settings(
        directory=SETTINGS.directory,
        runtime_socket=SETTINGS.runtime_socket,
        web=SETTINGS.web,
        log_port=5141,
    )
    assert render(TABLE, PLACES, other).stamp.layout != stamp.layout


def test_an_haproxy_that_can_has_a_limit_of_its_own_once_an_answer_begins() -> None:
    rule = "  http-response set-timeout server 55000ms\n"
    plain = render(TABLE, PLACES, SETTINGS)
    newer = render(TABLE, PLACES, replace(SETTINGS, rolling=True))
    assert newer.stamp != plain.stamp
    told = newer.config.replace(str(newer.stamp), str(plain.stamp))
    assert told.count(rule) == 1
    assert told.replace(rule, "") == plain.config


@pytest.mark.parametrize("path", ["relative", "/with space", "/quote'", '/quote"', "/a#b", "/a\nb"])
def test_a_path_that_would_need_quoting_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        Settings(Path(path), Path("/x"), (Listen("", 1),), 1)


@pytest.mark.parametrize("network", ["10.0.0.0/8 }", "10.0.0.1/8", "::%} or { always_true/64", ""])
def test_a_proxy_that_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match="scope|host bits|appear"):
        Settings(Path("/d"), Path("/x"), (Listen("", 1),), 1, trusted=(network,))


def test_where_it_binds() -> None:
    assert bind_addresses(Listen("", 80)) == ("0.0.0.0:80 name 80", "[::]:80 name 80 v6only")
    assert bind_addresses(Listen("localhost", 80)) == ("127.0.0.1:80 name 80",)
    assert bind_addresses(Listen("::1", 80)) == ("[::1]:80 name 80",)


@pytest.mark.real
def test_haproxy_takes_it_without_a_warning(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path / "sock", SETTINGS.web, 5140)
    rendered = render(TABLE, PLACES, settings)
    for name, text in {**rendered.files, "haproxy.cfg": rendered.config}.items():
        (tmp_path / name).write_text(text)
    checked = subprocess.run(
        [program(), "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (
        0,
        "Configuration file is valid\n",
    )
