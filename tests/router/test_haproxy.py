"""The shell around HAProxy: its files, its socket, and what it is started with."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from oriel.clock import SystemClock
from oriel.router import haproxy, talk
from oriel.router.haproxy import HAProxy
from oriel.router.places import Places, Stamp
from oriel.router.render import Rendered, render
from oriel.router.settings import Settings
from oriel.router.table import Listen, RouteTable
from oriel.router.talk import Away

from .conftest import app, table

pytestmark = pytest.mark.real


def shell(directory: Path) -> HAProxy:
    return HAProxy(
        directory=directory / "router",
        runtime_socket=directory / "haproxy.sock",
        master_socket=directory / "master.sock",
        clock=SystemClock(),
    )


def rendered(directory: Path, routes: RouteTable, slots: int = 2) -> Rendered:
    settings = Settings(directory / "router", directory / "s", (Listen("127.0.0.1", 1),), 5140)
    places = Places(slots, {each.app_id: n for n, each in enumerate(routes.apps)})
    return render(routes, places, settings)


def test_how_it_is_started(tmp_path: Path) -> None:
    argv = haproxy.command(tmp_path, tmp_path / "m.sock")
    master = f"{tmp_path}/m.sock,mode,600"
    assert argv[1:] == ("-W", "-dMglobal", "-S", master, "-f", f"{tmp_path}/haproxy.cfg")
    assert os.access(argv[0], os.X_OK)


def test_what_an_haproxy_can_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's cannot; one that takes the trial's rule can. The rest of the trial is in order."""
    assert not asyncio.run(shell(tmp_path).can_roll())
    newer = tmp_path / "haproxy"
    newer.write_text(
        f"""#!/bin/sh
grep -v 'http-response set-timeout server' "$3" > "$0.cfg"
exec {haproxy.program()} -c -f "$0.cfg"
"""
    )
    newer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert asyncio.run(shell(tmp_path).can_roll())


def test_away_is_said_when_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(Away):
        asyncio.run(shell(tmp_path).process())
    with pytest.raises(Away):
        asyncio.run(shell(tmp_path).reload())


def test_what_is_written_is_whole_and_can_be_read_back(tmp_path: Path) -> None:
    proxy = shell(tmp_path)
    assert proxy.on_disk() is None
    routes = table(app("foo"), app("bar"))
    assert asyncio.run(proxy.write(rendered(tmp_path, routes))) == ""
    found = proxy.on_disk()
    assert found
    assert found[0] == rendered(tmp_path, routes).stamp
    assert found[1]["id-bar"] == "slot-0001|serve|channel-bar||||"
    assert not list((tmp_path / "router").glob("*.part"))


@pytest.mark.parametrize("damage", ["", "\xff", "description oriel-router v1 layout=x slots=1\n"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "haproxy.cfg").write_bytes(damage.encode("latin1"))
    assert shell(tmp_path).on_disk() is None
    assert asyncio.run(shell(tmp_path).write(rendered(tmp_path, table(app("foo"))))) == ""
    assert shell(tmp_path).on_disk()


def test_what_haproxy_refuses_is_not_committed(tmp_path: Path) -> None:
    proxy = shell(tmp_path)
    good = rendered(tmp_path, table(app("foo")))
    assert asyncio.run(proxy.write(good)) == ""
    bad = Rendered(good.config + "\nbogus\n", good.files, good.stamp)
    # The first line is what doctor shows.
    assert "bogus" in asyncio.run(proxy.write(bad)).splitlines()[0]
    assert (tmp_path / "router" / "haproxy.cfg").read_text() == good.config


def test_files_that_nothing_names_go_after_a_while(tmp_path: Path) -> None:
    proxy = shell(tmp_path)
    first, second = (rendered(tmp_path, table(app(name))) for name in ("foo", "bar"))
    asyncio.run(proxy.write(first))
    asyncio.run(proxy.write(second))
    directory = tmp_path / "router"
    assert all((directory / name).exists() for name in (*first.files, *second.files))
    for path in directory.iterdir():
        os.utime(path, (1, 1))
    asyncio.run(proxy.write(rendered(tmp_path, table(app("baz")))))
    assert not any(
        (directory / name).exists()
        for name in set(second.files) - set(first.files)
        if "hosts" in name
    )
    assert (directory / "haproxy.cfg").exists()


def test_the_last_layout_can_be_gone_back_to(tmp_path: Path) -> None:
    proxy = shell(tmp_path)
    first = rendered(tmp_path, table(app("foo")))
    asyncio.run(proxy.write(first))
    for path in (tmp_path / "router").iterdir():
        os.utime(path, (1, 1))
    asyncio.run(proxy.write(rendered(tmp_path, table(app("bar")), slots=9)))
    asyncio.run(proxy.restore())
    found = proxy.on_disk()
    assert found
    assert found[0] == Stamp(first.stamp.layout, 2)
    assert "id-foo" in found[1]


def test_commands_are_joined_as_far_as_a_line_holds() -> None:
    commands = [f"add map #1 key-{n} value" for n in range(2000)]
    lines = list(talk.lines(commands))
    assert ";".join(lines).split(";") == commands
    assert max(map(len, lines)) < 16_000
    assert list(talk.lines([])) == []
