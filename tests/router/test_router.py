"""The router with a real HAProxy: what requests meet, and what survives what."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from oriel.router import Listen, Router, RouteTable
from oriel.router import router as router_module
from oriel.router.haproxy import REFUSED

from .conftest import House, app, free_port, table, until

pytestmark = pytest.mark.real

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def play(
    house: House, first: RouteTable, story: Callable[[Router], Awaitable[None]], **options: object
) -> None:
    """Start the router, then HAProxy as `oriel up` would, then the story."""

    async def whole() -> None:
        router = house.router(**options)
        await router.start(first)
        await asyncio.to_thread(house.start_proxy)
        try:
            await story(router)
        finally:
            await router.close()

    asyncio.run(whole())


def served(house: House, first: RouteTable, **options: object) -> None:
    """For tests that only ask: the files alone must do."""

    async def write() -> None:
        router = house.router(**options)
        await router.start(first)
        await router.close()

    asyncio.run(write())
    house.start_proxy()


def test_a_request_reaches_its_app_and_is_told_of_in_herokus_form(house: House) -> None:
    dyno = house.dyno("hello")
    served(house, table(app("foo", house.server(dyno)), app("bar", house.server(house.dyno("b")))))
    answer = house.get("Foo.LocalHost.:8080", "/a?b=1", X_Forwarded_For="1.2.3.4")
    assert (answer.status, answer.body) == (200, "hello")
    assert answer.headers["via"] == "1.1 oriel-router"
    expected = (
        r'\[oriel channel="channel-foo" server="web\.1:[0-9a-f]{8}" ts="--"\] '
        rf'at=info method=GET path="/a\?b=1" host=foo\.localhost request_id={UUID} '
        r'fwd="1\.2\.3\.4, 127\.0\.0\.1" dyno=web\.1 connect=\d+ms service=\d+ms status=200 '
        r"bytes=\d+ protocol=http1\.1 tls=false"
    )
    assert re.fullmatch(expected, house.line())


def test_a_dyno_is_told_who_asked(house: House) -> None:
    dyno = house.dyno("x")
    served(house, table(app("foo", house.server(dyno))))
    house.get("foo.localhost", X_Request_Id="my-own-id-0123456789", X_Forwarded_Proto="https")
    head = dyno.requests[0].decode().lower()
    assert "x-request-id: my-own-id-0123456789\r\n" in head
    assert "x-forwarded-for: 127.0.0.1\r\n" in head
    assert "x-forwarded-proto: http\r\n" in head
    assert f"x-forwarded-port: {house.port}\r\n" in head
    assert "via: 1.1 oriel-router\r\n" in head
    started_ms = int(re.search(r"x-request-start: (\d+)\r\n", head)[1])  # type: ignore[index]
    assert abs(started_ms / 1000 - time.time()) < 10
    assert "request_id=my-own-id-0123456789 " in house.line()


@pytest.mark.parametrize(
    ("mode", "status", "said", "message"),
    [
        ("maintenance", 503, 'at=info code=H80 desc="Maintenance mode"', "maintenance"),
        ("blank", 502, 'at=info code=H81 desc="Blank app"', "Nothing"),
        ("crashed", 503, 'at=error code=H10 desc="App crashed"', "Application error"),
        ("none", 503, 'at=error code=H14 desc="No web processes running"', "Application error"),
        ("booting", 503, 'at=error code=H20 desc="App boot timeout"', "starting"),
    ],
)
def test_each_mode_has_its_page_and_its_line(
    house: House, mode: str, status: int, said: str, message: str
) -> None:
    served(house, table(app("foo", house.server(house.dyno("x")), mode=mode)))
    page = house.get("foo.localhost")
    assert page.status == status
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-oriel-own"] is None
    assert message.lower() in page.body.lower()
    line = house.line()
    request_id = re.search(rf"request_id=({UUID})", line)[1]  # type: ignore[index]
    assert request_id in page.body
    assert line.startswith(f'[oriel channel="channel-foo" server="<NOSRV>" ts="LR"] {said} ')
    assert f" dyno= connect= service= status={status} bytes=" in line

    answer = house.get("foo.localhost", Accept="application/json, text/plain, */*")
    told = json.loads(answer.body)
    assert set(told) == {"id", "message", "request_id"}
    assert answer.headers["content-type"] == "application/json"
    assert told["request_id"] in house.line()


@pytest.mark.parametrize(
    ("host", "reached", "shown"),
    [
        ("www.example.com", "foo", "www.example.com"),
        ("WWW.Example.COM", "foo", "www.example.com"),
        ("www.example.com.", "foo", "www.example.com"),
        ("www.example.com:8080", "foo", "www.example.com"),
        ("WWW.example.com.:443", "foo", "www.example.com"),
        ("Any.Example.com.:80", "bar", "any.example.com"),
        ("xn--bcher-kva.example", "foo", "xn--bcher-kva.example"),
        ("example.com", "", ""),
        ("[::1]", "", ""),
        ("[::1]:8080", "", ""),
        ("[2001:DB8::1]:8080", "", ""),
        ("127.0.0.1:8080", "", ""),
        ("www.example.com..", "foo", "www.example.com"),
        ("-", "", ""),
        ("*.example.com", "bar", "*.example.com"),
        ("www.example.com:0:1", "", ""),
    ],
)
def test_a_host_however_it_is_written(names: House, host: str, reached: str, shown: str) -> None:
    answer = names.get(host)
    if not reached:
        assert answer.status in (400, 404), answer.body
        return
    assert (answer.status, answer.body) == (200, reached)
    assert f" host={shown} " in names.line()


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One HAProxy for many hosts."""
    house = House(tmp_path_factory.mktemp("names"))
    hosts = ("www.example.com", "xn--bcher-kva.example")
    foo = app("foo", house.server(house.dyno("foo")), hosts=hosts)
    bar = app("bar", house.server(house.dyno("bar")), hosts=("*.example.com",))
    try:
        served(house, table(foo, bar))
        yield house
    finally:
        house.close()


def test_a_host_of_no_app_gets_a_page_and_no_line(house: House) -> None:
    served(house, table(app("foo", house.server(house.dyno("x")))))
    for host in ("bar.localhost", "foo.localhost.example.com", "127.0.0.1", ""):
        answer = house.get(host)
        assert answer.status == 404
        assert "No such app" in answer.body
    assert house.raw(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 404")
    assert house.no_line()


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/hang", 503, 'at=error code=H12 desc="Request timeout"'),
        ("/close", 503, 'at=error code=H13 desc="Connection closed without response"'),
        ("/garbage", 503, 'at=error code=H17 desc="Poorly formatted HTTP response"'),
        ("/heads", 502, 'at=error code=H25 desc="HTTP restriction: oversized header"'),
        ("/503", 503, 'ts="--"] at=info method'),
        ("/cut", 200, 'sock=backend at=error code=H18 desc="Server Request Interrupted"'),
        ("/chunk", 503, 'at=error code=H17 desc="Poorly formatted HTTP response"'),
        ("/stall", 200, 'at=error code=H15 desc="Idle connection"'),
    ],
)
def test_a_dyno_that_misbehaves(house: House, path: str, status: int, said: str) -> None:
    served(house, table(app("foo", house.server(house.dyno("x")))))
    request = f"GET {path} HTTP/1.1\r\nHost: foo.localhost\r\nConnection: close\r\n\r\n"
    answer = house.raw(request.encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"x-oriel-own" not in answer.lower()
    line = house.line()
    assert said in line
    assert " dyno=web.1 connect=" in line
    if "code=" in said and status >= 500:
        is_a_page(house, answer.split(b"\r\n\r\n", 1)[1].decode(), line, path)


def is_a_page(house: House, body: str, line: str, path: str = "/") -> None:
    """What the visitor got is the router's page for an error, and programs get it as JSON."""
    request_id = re.search(r"request_id=(\S+)", line)[1]  # type: ignore[index]
    assert "<h1>Application error</h1>" in body
    assert f"<code>{request_id}</code>" in body
    told = json.loads(house.get("foo.localhost", path, Accept="application/json").body)
    assert told["id"] == "application_error"
    assert f"request_id={told['request_id']} " in house.line()


def test_a_dyno_that_is_gone_is_quarantined_and_tried_again(house: House) -> None:
    gone = house.dyno("x")
    server = house.server(gone)
    served(house, table(app("foo", server), app("bar")), quarantine_s=0.3)
    assert house.get("foo.localhost").status == 200
    assert "at=info" in house.line()
    gone.close()
    begun = time.monotonic()
    refused = house.get("foo.localhost")
    assert refused.status == 503
    assert time.monotonic() - begun < 1
    line = house.line()
    assert 'at=error code=H21 desc="Backend connection refused"' in line
    assert re.search(r"dyno=web\.1 connect=\d+ms service= status=503 ", line)
    is_a_page(house, refused.body, line)
    assert house.get("foo.localhost").status == 503
    line = house.line()
    assert 'at=error code=H99 desc="Platform error"' in line
    assert " dyno= connect= service= status=503 " in line
    back = socket.create_server((gone.host, gone.port), reuse_port=False)
    house.adopt(back, "back")
    until(lambda: house.get("foo.localhost").status == 200, "it is tried again")


def test_a_dyno_that_stops_accepting_is_H19(house: House) -> None:
    with house.deaf(full=False) as (server, fill):
        served(house, table(app("foo", server)), connect_timeout_s=0.3)
        fill()
        answer = house.get("foo.localhost")
        assert answer.status == 503
        line = house.line()
        is_a_page(house, answer.body, line)
    assert 'at=error code=H19 desc="Backend connection timeout"' in line
    assert re.search(r"dyno=web\.1 connect=[3-9]\d\dms service= status=503 ", line)


def test_a_client_that_goes_away(house: House) -> None:
    served(house, table(app("foo", house.server(house.dyno("x")))), first_byte_timeout_s=10)
    with socket.create_connection(("127.0.0.1", house.port)) as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: foo.localhost\r\n\r\n")
    line = house.line()
    assert 'sock=client at=warning code=H27 desc="Client Request Interrupted"' in line
    assert " dyno=web.1 " in line
    assert " status=499 " in line


def test_several_dynos_share_the_requests_and_a_dead_one_loses_none(house: House) -> None:
    one, two, three = (house.dyno(each) for each in "123")
    servers = [house.server(dyno, f"web.{n}") for n, dyno in enumerate((one, two, three), 1)]
    served(house, table(app("foo", *servers)))
    seen = Counter(house.get("foo.localhost").body for _ in range(30))
    assert seen == {"1": 10, "2": 10, "3": 10}
    two.close()
    seen = Counter(house.get("foo.localhost").body for _ in range(20))
    assert set(seen) == {"1", "3"}


def test_nothing_in_a_request_can_forge_a_field(house: House) -> None:
    served(house, table(app("foo", house.server(house.dyno("x")))), first_byte_timeout_s=5)
    hostile = [
        (b'GET /"x\\y"%0aat=error HTTP/1.1', b""),
        (b"GET / HTTP/1.1", b'X-Forwarded-For: 1.2.3.4" at=error code="H99\r\n'),
        (b"GET / HTTP/1.1", b'X-Request-Id: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n'),
        (b"GET / HTTP/1.1", b"X-Request-Id: aaaaaaaaaaaaaaaaaaaaaa at=error\r\n"),
        (b"GET / HTTP/1.1", b"X-Request-Id: " + b"a" * 300 + b"\r\n"),
        (b"GET /" + b'"' * 5000 + b" HTTP/1.1", b""),
        (b"BREW!#$%&'*+-.^_`|~x HTTP/1.1", b""),
    ]
    form = re.compile(
        r'\[oriel channel="channel-foo" server="web\.1:\w+" ts="--"\] '
        r'at=info method=[^ "]+ path="[^" \\]*" host=foo\.localhost request_id=[\w.~+/=-]+ '
        r'fwd="[0-9a-f.:, ]+" dyno=web\.1 connect=\d+ms service=\d+ms status=200 bytes=\d+ '
        r"protocol=http1\.[01] tls=false"
    )
    for first, header in hostile:
        request = first + b"\r\nHost: foo.localhost\r\nConnection: close\r\n" + header + b"\r\n"
        if not house.raw(request).startswith(b"HTTP/1.1 200"):
            frame = house.log.recv(65536).decode()
            assert 'channel="-"' in frame, (first, frame)
            continue
        line = house.line()
        assert form.fullmatch(line), line
        assert len(line) < 10_000


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: foo.localhost\r\nHost: bar.localhost\r\n\r\n",
        b"GET http://foo.localhost/ HTTP/1.1\r\nHost: bar.localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: foo.localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: foo.localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /\x01\x02 HTTP/1.1\r\nHost: foo.localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: foo.localhost\nX-Y\n\r\n",
    ],
)
def test_requests_that_mean_two_things_are_refused(house: House, request_: bytes) -> None:
    dyno = house.dyno("x")
    served(house, table(app("foo", house.server(dyno)), app("bar", house.server(dyno))))
    assert house.raw(request_).split(b"\r\n")[0].startswith(b"HTTP/1.1 4")
    assert not dyno.requests


def test_a_request_of_a_booting_app_waits_for_what_it_becomes(house: House) -> None:
    server = house.server(house.dyno("up"))

    async def story(router: Router) -> None:
        for after, status, said in (
            (table(app("foo", server)), 200, "at=info method"),
            (table(app("foo", mode="crashed")), 503, "code=H10"),
            (table(), 404, ""),
        ):
            await router.apply(table(app("foo", mode="booting")))
            waiting = asyncio.create_task(asyncio.to_thread(house.get, "foo.localhost"))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await router.apply(after)
            assert (await asyncio.wait_for(waiting, 2)).status == status
            assert not said or said in house.line()

    play(house, table(), story, boot_hold_s=20)


def test_an_app_comes_changes_and_goes_without_a_reload(house: House) -> None:
    old, new, other = house.dyno("old"), house.dyno("new"), house.dyno("other")
    one = house.server(old)

    async def story(router: Router) -> None:
        worker = house.worker()
        await router.apply(table(app("foo", one)))
        assert (await ask("foo.localhost")).body == "old"
        two = house.server(new)
        await router.apply(table(app("foo", two), app("bar", house.server(other))))
        assert (await ask("foo.localhost")).body == "new"
        assert (await ask("bar.localhost")).body == "other"
        await router.apply(table(app("foo", two, mode="maintenance")))
        assert (await ask("foo.localhost")).status == 503
        assert (await ask("bar.localhost")).status == 404
        await router.apply(table(app("foo", one, hosts=("foo.localhost", "www.example.com"))))
        assert (await ask("www.example.com")).body == "old"
        await router.apply(table(app("bar", one, hosts=("www.example.com",))))
        assert (await ask("www.example.com")).body == "old"
        assert (await ask("foo.localhost")).status == 404
        assert house.worker() == worker
        assert router.status().reloads == 0

    async def ask(host: str) -> object:
        return await asyncio.to_thread(house.get, host)

    play(house, RouteTable(), story)  # type: ignore[arg-type]


def test_a_slow_request_ends_on_the_dyno_that_it_began_on(house: House) -> None:
    old, new = house.dyno("old"), house.dyno("new")
    one, two = house.server(old), house.server(new)

    async def story(router: Router) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(b"GET /stall HTTP/1.1\r\nHost: foo.localhost\r\n\r\n")
        assert b"200" in await reader.readuntil(b"\r\n\r\n")
        await router.apply(table(app("foo", two)))
        assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "new"
        await router.apply(table())
        old._over.set()
        assert (await reader.read()).startswith(b"old")
        writer.close()

    play(house, table(app("foo", one)), story, first_byte_timeout_s=10)


def test_when_the_spares_are_used_up_one_reload_brings_all(house: House) -> None:
    dyno = house.dyno("x")
    few = [app("first", house.server(dyno))]
    many = few + [app(f"app-{n}", house.server(dyno)) for n in range(30)]

    async def story(router: Router) -> None:
        slots = router.status().slots
        for size in range(2, len(many) + 1):
            task = asyncio.create_task(router.apply(table(*many[:size])))
            await asyncio.sleep(0)
            if size == len(many):
                await task
        await wait(lambda: house.get("app-29.localhost").status == 200)
        assert router.status().slots > slots
        assert 1 <= router.status().reloads <= 2
        for each in many:
            assert (await asyncio.to_thread(house.get, each.hosts[0])).status == 200

    async def wait(holds: Callable[[], object]) -> None:
        await asyncio.to_thread(until, holds, "the last app is served")

    play(house, table(*few), story)


def test_a_thousand_changes_at_once_become_a_few_rounds(house: House) -> None:
    dynos = [house.dyno("even"), house.dyno("odd")]
    servers = [house.server(dyno) for dyno in dynos]

    async def story(router: Router) -> None:
        begun = time.monotonic()
        await asyncio.gather(
            *(router.apply(table(app("foo", servers[n % 2]))) for n in range(1000))
        )
        assert time.monotonic() - begun < 5
        assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "odd"
        assert router.status().reloads == 0

    play(house, table(), story)


def test_haproxy_killed_comes_back_with_the_right_routes_at_once(house: House) -> None:
    one, two = house.dyno("one"), house.dyno("two")
    first, second = house.server(one), house.server(two)

    async def story(router: Router) -> None:
        await router.apply(table(app("foo", second)))
        await asyncio.to_thread(house.kill_proxy)
        worker = await asyncio.to_thread(house.start_proxy)
        assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "two"
        await router.apply(table(app("foo", first)))
        assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "one"
        assert house.worker() == worker

    play(house, table(app("foo", first)), story)


@pytest.mark.parametrize("said", ["Reloading HAProxy", "New worker", "Loading success"])
def test_a_master_that_dies_in_the_middle_of_a_reload_is_one_start_more(
    house: House, said: str
) -> None:
    """Its workers end with it; what `oriel up` starts at once has all that was asked for."""
    dyno = house.dyno("x")
    few = [app("first", house.server(dyno))]
    many = few + [app(f"app-{n}", house.server(dyno)) for n in range(30)]
    words = house.run / "haproxy.err"

    async def story(router: Router) -> None:
        before = words.stat().st_size
        applied = asyncio.create_task(router.apply(table(*many)))
        await asyncio.to_thread(until, lambda: said in words.read_text()[before:], said)
        assert house.proxy is not None
        resource.prlimit(house.proxy.pid, resource.RLIMIT_CORE, (0, 0))
        house.proxy.send_signal(signal.SIGSEGV)
        assert await asyncio.to_thread(house.proxy.wait, 5) == -signal.SIGSEGV
        await asyncio.to_thread(house.start_proxy)
        await applied
        await asyncio.to_thread(
            until, lambda: house.get("app-29.localhost").status == 200, "all are served"
        )
        for each in many:
            assert (await asyncio.to_thread(house.get, each.hosts[0])).status == 200
        # It is no refusal: nobody is told of a configuration that was not taken.
        assert router.status().refused == ""
        assert not (house.directory / REFUSED).exists()

    play(house, table(*few), story)


def test_changes_while_haproxy_is_away_wait_for_it_and_nobody_waits_long(house: House) -> None:
    one, two = house.dyno("one"), house.dyno("two")

    async def story(router: Router) -> None:
        await asyncio.to_thread(house.kill_proxy)
        begun = time.monotonic()
        await router.apply(table(app("foo", house.server(two)), app("bar", house.server(one))))
        assert time.monotonic() - begun < 1.5
        await asyncio.to_thread(house.start_proxy)
        assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "two"
        assert (await asyncio.to_thread(house.get, "bar.localhost")).body == "one"

    play(house, table(app("foo", house.server(one))), story)


def test_what_another_hand_changed_is_set_right(house: House) -> None:
    dyno = house.dyno("mine")
    server = house.server(dyno)

    async def story(router: Router) -> None:
        slot = house.ask("show servers state").split("slot-")[1][:4]
        house.ask(f"set server slot-{slot}/{server.label} state maint")
        hosts = re.search(r"^(\d+) \(\S*/hosts\.", house.ask("show map"), re.MULTILINE)[1]  # type: ignore[index]
        house.ask(f"add map #{hosts} foo.localhost id-nobody")
        house.ask(f"add map #{hosts} evil.localhost id-foo")
        await router.apply(table(app("foo", server)))
        assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "mine"
        assert (await asyncio.to_thread(house.get, "evil.localhost")).status == 404

    play(house, table(app("foo", server)), story)


def test_a_fresh_router_takes_over_what_runs_without_a_reload(house: House) -> None:
    one, two = house.dyno("one"), house.dyno("two")
    foo, bar = app("foo", house.server(one)), app("bar", house.server(two))

    async def story(router: Router) -> None:
        await router.apply(table(foo, bar))
        await router.close()
        # Control was killed after it told HAProxy and before it wrote the files.
        (house.directory / "haproxy.cfg").unlink()
        worker = house.worker()
        fresh = house.router()
        await fresh.start(table(bar))
        assert (await asyncio.to_thread(house.get, "bar.localhost")).body == "two"
        assert (await asyncio.to_thread(house.get, "foo.localhost")).status == 404
        assert house.worker() == worker
        assert "bar.localhost" in _hosts(house.directory)
        await fresh.close()

    play(house, table(foo), story)


def test_another_layout_takes_one_reload(house: House) -> None:
    dyno = house.dyno("x")
    foo = app("foo", house.server(dyno))

    async def story(router: Router) -> None:
        await router.close()
        fresh = house.router(web=(Listen("127.0.0.1", house.port), Listen("::1", free_port())))
        await fresh.start(table(foo))
        await fresh.apply(table(foo))
        assert fresh.status().reloads == 1
        assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "x"
        await fresh.close()

    play(house, table(foo), story)


def test_a_refused_configuration_leaves_the_last_good_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = house.dyno("one"), house.dyno("two")
    foo = app("foo", house.server(one))

    async def story(router: Router) -> None:
        good = (house.directory / "haproxy.cfg").read_text()
        real = router_module.render

        def broken(*args: object) -> object:
            rendered = real(*args)  # type: ignore[arg-type]
            object.__setattr__(rendered, "config", rendered.config + "\nnonsense here\n")
            return rendered

        monkeypatch.setattr(router_module, "render", broken)
        await router.apply(table(app("foo", house.server(two))))
        assert "nonsense" in router.status().refused
        assert (house.directory / "haproxy.cfg").read_text() == good
        # What needs no configuration goes on.
        assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "two"
        monkeypatch.undo()
        await router.apply(table(foo))
        assert router.status().refused == ""

    play(house, table(foo), story)


def test_a_reload_that_fails_leaves_what_runs_and_what_it_would_start_from(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_module, "_RELOAD_WAIT_S", 3)
    one, two = house.server(house.dyno("one")), house.server(house.dyno("two"))

    async def story(router: Router) -> None:
        await router.close()
        good = (house.directory / "haproxy.cfg").read_text()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            web = (Listen("127.0.0.1", house.port), Listen("127.0.0.1", taken.getsockname()[1]))
            fresh = house.router(web=web)
            await fresh.start(table(app("foo", one)))
            assert "did not take over" in fresh.status().refused
            assert (house.directory / "haproxy.cfg").read_text() == good
            await fresh.apply(table(app("foo", two)))
            # HAProxy pauses the old worker's port for 2 s, in case that is what is in the way.
            await asyncio.to_thread(until, house.listens, "it resumes")
            assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "two"
            await asyncio.to_thread(house.kill_proxy)
            await asyncio.to_thread(house.start_proxy)
        await fresh.close()

    play(house, table(app("foo", one)), story)


def test_a_websocket_is_spliced_through_and_survives_a_change(house: House) -> None:
    upgrade = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = house.server(house.dyno("x"))
        object.__setattr__(server, "port", listener.getsockname()[1])

        async def story(router: Router) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(
                b"GET /chat HTTP/1.1\r\nHost: foo.localhost\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            dyno, _ = await asyncio.to_thread(listener.accept)
            with dyno:
                await asyncio.to_thread(dyno.recv, 65536)
                dyno.sendall(upgrade)
                assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
                await router.apply(table(app("foo", house.server(house.dyno("new")))))
                writer.write(b"ping")
                assert await asyncio.to_thread(dyno.recv, 4) == b"ping"
                dyno.sendall(b"pong")
                assert await reader.readexactly(4) == b"pong"
            writer.close()

        play(house, table(app("foo", server)), story)
    assert " status=101 " in house.line()


def test_requests_on_one_connection_each_have_a_line_and_find_their_own_app(house: House) -> None:
    foo, bar = house.dyno("foo"), house.dyno("bar")
    served(house, table(app("foo", house.server(foo)), app("bar", house.server(bar))), threads=2)
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=5)
    for n in range(10):
        name = ("foo", "bar")[n % 2]
        connection.request("GET", f"/{n}", headers={"Host": f"{name}.localhost"})
        assert connection.getresponse().read().decode() == name
        line = house.line()
        assert f'channel="channel-{name}"' in line
        assert f'path="/{n}"' in line
    connection.close()


def test_it_listens_and_forwards_over_ipv6(house: House) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    dyno = house.dyno("six", "::1")
    served(house, table(app("foo", house.server(dyno))), web=Listen("", house.port))
    with socket.create_connection(("::1", house.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\nHost: foo.localhost\r\n\r\n")
        assert client.makefile("rb").read().endswith(b"six")
    assert 'fwd="::1"' in house.line()
    assert house.get("foo.localhost").body == "six"


def test_the_sockets_and_files_are_for_the_owner_only(house: House) -> None:
    served(house, table(app("foo")))
    for path in (house.run / "haproxy.sock", house.run / "master.sock"):
        assert path.stat().st_mode & 0o777 == 0o600
    for path in house.directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0


def _hosts(directory: Path) -> str:
    named = re.search(r"\S*/hosts\.\w+\.map", (directory / "haproxy.cfg").read_text())
    assert named
    return Path(named[0].split("(")[-1]).read_text()
