"""Whatever comes, only the grammar enters a configuration, a map or a command; whatever HAProxy
says is read. Texts of any kind, and good ones with something wrong in them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hypothesis import example, given, settings
from hypothesis import strategies as st

from oriel.control.hostnames import ascii_of, unicode_of
from oriel.lexicon import Malformed
from oriel.logplex.frame import channel_of
from oriel.logplex.requests import whole
from oriel.router import Listen, changes, seen, tls
from oriel.router.frontend import bind_addresses
from oriel.router.maps import MAPS, page_entries
from oriel.router.pages import one_line
from oriel.router.places import Places, Stamp
from oriel.router.render import render
from oriel.router.seen import Process, Seen
from oriel.router.settings import Settings
from oriel.router.table import AppRoute, RouteTable, Server, check_page, hostname, pattern

HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
WORD = re.compile(r"[!-~]+")
NASTY = "\n\r\t ;|<>\\#'\"%$`*.:[]{}()\x00\x7f\x85\u2028\u212a\uff0e²٣ß\ud800"
ANY = st.text(st.characters() | st.sampled_from(NASTY), max_size=80)


def near(*good: str) -> st.SearchStrategy[str]:
    """Good texts, and good ones into which something was put; and anything."""
    put = st.tuples(st.sampled_from(good), st.integers(0, 80), ANY)
    return st.sampled_from(good) | put.map(lambda p: p[0][: p[1]] + p[2] + p[0][p[1] :]) | ANY


HOSTS = near(
    "foo.localhost", "*.foo.example.com", "xn--bcher-kva.example", "bücher.example", "a.b."
)
SERVERS = st.tuples(
    near("web.1", "web.12"),
    near("0123456789abcdef" * 2, "01234567-89ab"),
    near("127.0.0.1", "::1", "fe80::1%eth0", "10.1.2.3"),
    st.integers(-5, 70_000),
)
GOOD: dict[str, object] = {
    "app_id": "id-1",
    "app": "foo",
    "channel": "channel-1",
    "hosts": ("foo.localhost", "*.foo.example.com"),
    "servers": [("web.1", "0123456789abcdef" * 2, "127.0.0.1", 5000)],
    "mode": "serve",
    "challenges": {("foo.localhost", "token_1-x"): "token.print"},
    "error_page": "<p>Sorry; see <<us>> </p>",
}
WRONG: dict[str, st.SearchStrategy[object]] = {
    "app_id": near("id-1", "9b1c"),
    "app": near("foo", "foo-bar-1"),
    "channel": near("channel-1"),
    "hosts": st.lists(HOSTS, max_size=3).map(tuple),
    "servers": st.lists(SERVERS, max_size=3),
    "mode": near("serve", "booting", "idle"),
    "challenges": st.dictionaries(st.tuples(HOSTS, near("token_1-x")), near("token.print")),
    "error_page": near("<p>Sorry; see <<us>> </p>", ""),
}
ROUTES = st.sampled_from(sorted(WRONG)).flatmap(
    lambda name: WRONG[name].map(lambda value: {**GOOD, name: value})
)


@given(HOSTS)
@example("\u212aelvin.example")
@example("*.*.example")
def test_a_host_name(text: str) -> None:
    for made in (hostname, pattern, ascii_of):
        try:
            name = made(text)
        except Malformed:
            continue
        assert HOST.fullmatch(name)
        assert len(name) <= 255
        assert made(name) == name
        unicode_of(name)


@given(near("127.0.0.1:80", "[::1]:80", ":80", "80", "localhost:80", "*:80"))
def test_where_it_listens(text: str) -> None:
    try:
        listen = Listen.parse(text)
    except Malformed:
        return
    for each in bind_addresses(listen):
        assert re.fullmatch(
            r"(?:\[[0-9a-f:.]+\]|[0-9a-z.-]*):([0-9]{1,5}) name \1(?: v6only)?", each
        )


@settings(max_examples=200)
@given(near("<p>Sorry; see <<us>> \\ %41</p>", "<"))
@example("<<")
@example("a" * 20480)
@example("\ud800")
def test_a_page_arrives_as_it_is_or_not_at_all(text: str) -> None:
    for page in (text, one_line(text)):
        try:
            check_page(page)
        except Malformed:
            continue
        route = AppRoute("id", "foo", "c", (), (), "none", error_page=page)
        entries = page_entries(RouteTable((route,)))
        for key, value in entries.items():
            assert WORD.fullmatch(key)
            assert WORD.fullmatch(value)
            assert ";" not in value
            assert not value.startswith("<<")
            assert len(value) < 30_000
        before = [unquote(value) for key, value in entries.items() if ":before:" in key]
        assert before == ([f"{page} <!-- request "] if page else [])


SETTINGS = Settings(Path("/d"), Path("/s"), (Listen("", 80),), 514)
EMPTY = len(render(RouteTable(), Places(4, {}), SETTINGS).config.split("\n"))


@given(ROUTES)
@example({**GOOD, "hosts": ("a.b\n",)})
@example({**GOOD, "channel": "c|d"})
@example({**GOOD, "app_id": "a;b"})
@example({**GOOD, "servers": [("web.1", "0" * 32, "fe80::1%eth0", 1)]})
def test_what_enters_a_configuration_a_map_or_a_command(parts: dict[str, Any]) -> None:
    try:
        servers = tuple(Server(*each) for each in parts["servers"])
        routes = [AppRoute(**{**parts, "servers": servers})]
        table = RouteTable(tuple(routes))
    except Malformed:
        return
    places = Places(4, {each.app_id: number for number, each in enumerate(routes)})
    full = render(table, places, SETTINGS)
    # Nothing but lines for servers has come.
    lines = [line for line in full.config.split("\n") if "  server " in line]
    assert len(full.config.split("\n")) == EMPTY + len(lines)
    for line in lines:
        assert re.fullmatch(
            r"  server [a-z0-9]+\.[0-9]+:[0-9a-f-]{8}"
            r" (?:[0-9.]+|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}",
            line,
        )
    for name, entries in MAPS.items():
        wanted = entries(table, places)
        text = next(text for file, text in full.files.items() if file.startswith(f"{name}."))
        assert text.count("\n") == len(wanted)
        for key, value in wanted.items():
            assert WORD.fullmatch(key)
            assert WORD.fullmatch(value)
    for entry in MAPS["apps"](table, places).values():
        assert changes.held({"x": entry})
        assert entry.count("|") == 6
    have = Seen(
        Process(1, Stamp("0" * 16, 4)),
        {name: f"#{number}" for number, name in enumerate(MAPS)},
        {name: {} for name in MAPS},
        (),
    )
    for command in changes.plan(table, have, "0" * 16, Path("/d")).commands:
        assert all(WORD.fullmatch(word) for word in command.split(" "))
        assert ";" not in command
        assert not command.split(" ")[-1].startswith("<<")


INFO = "Name: HAProxy\nPid: 16742\nUptime_sec: 0\ndescription: oriel-router v4 layout=%s slots=20\n"
SAID = (
    INFO % ("0" * 16),
    "# id (file) description\n14 (/d/hosts.7ddcffe865a087fc.map) pattern loaded from file\n",
    "0x55 foo.localhost id-1\n",
    "1\n# be_id be_name srv_name srv_addr srv_op_state srv_admin_state"
    " srv_time_since_last_change srv_port\n4 slot-0000 web.1:abcdef00 127.0.0.1 2 0 17 39100\n",
    "# pxname,svname,scur,lastsess,\nslot-0001,BACKEND,2,7,\n",
    "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max\n"
    "slot-0000/web.1:00000001 4/1 127.0.0.1 39819 - 5000 1 1\n",
    "#<PID> <type> <reloads>\n1 master 1\n# workers\n2 worker 0\n# old workers\n3 worker 1\n"
    "# programs\n",
    "/d/certs.0123456789abcdef.list\n",
    "/d/cert.0123456789abcdef.pem foo.localhost\n*/d/cert.0123456789abcdef.pem\n",
    "SHA1 FingerPrint: " + "0A" * 20 + "\n",
)
BYTES = st.binary(max_size=60) | st.sampled_from([b"9" * 5000, "²".encode(), b"\xff", b"\0", b"-1"])


@settings(max_examples=500)
@given(st.sampled_from(SAID), st.integers(0, 300), st.integers(0, 20), BYTES)
@example(SAID[6], SAID[6].index("3 worker"), 1, "²".encode())
@example(SAID[5], len(SAID[5]) - 4, 1, "²".encode())
@example(SAID[5], len(SAID[5]) - 4, 1, b"9" * 5000)
@example(SAID[0], SAID[0].index("20\n"), 2, b"9" * 5000)
@example(SAID[0], SAID[0].index("16742"), 2, b"9" * 5000)
@example(SAID[4], SAID[4].index("7,\n"), 1, b"9" * 5000)
@example(SAID[3], SAID[3].index("39100"), 1, b"9" * 5000)
def test_whatever_haproxy_says_is_read(text: str, at: int, cut: int, put: bytes) -> None:
    good = text.encode()
    said = (good[:at] + put + good[at + cut :]).decode("utf-8", "replace")
    seen.read_process(said)
    seen.read_map_ids(said)
    seen.read_map(said)
    seen.read_servers(said)
    seen.read_uptime(said)
    seen.read_activity(said, 1.0)
    seen.read_in_use(said, "slot-0000/web.1:00000001")
    seen.read_old_workers(said)
    changes.held({"x": said, "y": None})
    tls.read_list(said)
    tls.read_entries(said)
    tls.read_stores(said)
    tls.read_print(said)


LINE = (
    b'<158>1 2026-11-27T18:17:00+00:00 oriel router 1 - [oriel channel="c" server="web.1:00"'
    b' ts="SD" own="-" n="7"] at=info method=GET path="/a" host=foo.localhost request_id=1-2'
    b' fwd="127.0.0.1" dyno=web.1 connect=1ms service=2ms status=200 bytes=4 protocol=http1.1'
    b" tls=false"
)


@settings(max_examples=500)
@given(st.integers(0, 400), st.integers(0, 30), BYTES)
@example(LINE.index(b"200"), 3, b"9" * 5000)
@example(LINE.index(b"web.1:00"), 0, b"\x80")
@example(LINE.index(b"SD"), 0, b"\xff")
@example(LINE.index(b' n="7"') - 2, 1, b"503:1:\xff")
@example(280, 0, b'" at=error code=H99 desc="x')
def test_a_router_line_of_any_bytes_stays_one_line(at: int, cut: int, put: bytes) -> None:
    line = (LINE[:at] + put + LINE[at + cut :]).replace(b"\n", b"")
    channel_of(line)
    stored = whole(line)
    assert stored.count(b"\n") == 1
    assert stored.endswith(b"\n")


@given(BYTES)
def test_no_path_ends_its_field(path: bytes) -> None:
    line = LINE.replace(b'path="/a"', b'path="/' + path.replace(b"\n", b"") + b'"')
    stored = whole(line)
    field = re.search(rb' path="([^"]*)" host=foo\.localhost ', stored)
    assert field, stored
    assert re.fullmatch(rb"[!-~]*", field[1])
    assert stored.count(b" code=") == 1
