"""Over a reload: what an old worker carries, what it would begin, and what is known of both."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import time
from pathlib import Path

import pytest

from oriel.authority import Authority
from oriel.clock import SystemClock
from oriel.router import Certificate, Listen, Router, RouteTable, onward
from oriel.router.settings import Settings

from .conftest import House, app, free_port, table, until

pytestmark = pytest.mark.real

LONG = {"boot_hold_s": 20, "first_byte_timeout_s": 20, "idle_timeout_s": 20}


class Visit:
    """A request that is written when it is told to be, and read to its end."""

    def __init__(self, house: House, host: str, path: str = "/", tls_port: int = 0) -> None:
        self.rest = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        self.client = socket.create_connection(("127.0.0.1", tls_port or house.port), timeout=15)
        if tls_port:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.client = context.wrap_socket(self.client, server_hostname=host)

    def send(self, size: int | None = None) -> Visit:
        """The next so many bytes of it, or all that is left."""
        size = len(self.rest) if size is None else size
        self.client.sendall(self.rest[:size])
        self.rest = self.rest[size:]
        return self

    def answer(self) -> bytes:
        with self.client:
            return self.client.makefile("rb").read()


def holds(house: House, count: int) -> None:
    """So many requests are under way at the newest worker."""

    def open_now() -> int:
        names, values = (each.split(",") for each in house.ask("show stat web 1 -1").split()[-2:])
        return int(values[names.index("scur")])

    until(lambda: open_now() == count, f"{count} requests")


def old_workers(house: House) -> list[int]:
    text = house.ask_master("show proc").partition("# old workers")[2]
    return [int(each) for each in re.findall(r"^(\d+) +worker", text, re.MULTILINE)]


def running(house: House, routes: RouteTable) -> Settings:
    """HAProxy serves these routes, and nobody looks after it; what its configuration says."""

    async def story() -> Router:
        router = house.router()
        await router.start(routes)
        await asyncio.to_thread(house.start_proxy)
        await router.close()
        return router

    return asyncio.run(story())._settings


@pytest.mark.parametrize(("reloads", "host"), [(1, "127.0.0.1"), (3, "")])
def test_a_request_that_is_held_over_a_reload_meets_what_the_app_becomes(
    house: House, reloads: int, host: str
) -> None:
    async def story() -> None:
        router = house.router(**LONG, web=Listen(host, house.port))
        first = [app(name, mode="booting") for name in ("foo", "bar", "baz")]
        await router.start(table(*first))
        await asyncio.to_thread(house.start_proxy)
        visits = {name: Visit(house, f"{name}.localhost").send() for name in ("foo", "bar", "baz")}
        holds(house, 3)
        moments.append(time.monotonic())
        for _ in range(reloads):
            await asyncio.to_thread(house.reload)
            await asyncio.to_thread(holds, house, 3)
        until(lambda: len(old_workers(house)) == reloads, "each of them carries it")
        # Where the reload had not yet come about: a dyno of which no old worker has ever heard.
        server = house.server(house.dyno("awake"))
        moments.append(time.monotonic())
        await router.apply(table(app("foo", server), app("bar", mode="crashed")))
        answers = {name: await asyncio.to_thread(each.answer) for name, each in visits.items()}
        assert answers["foo"].startswith(b"HTTP/1.1 200 ")
        assert answers["foo"].lower().count(b"\r\nvia: ") == 1
        assert answers["foo"].endswith(b"awake")
        assert answers["bar"].startswith(b"HTTP/1.1 503 ")
        assert answers["baz"].startswith(b"HTTP/1.1 404 ")
        await router.close()

    moments: list[float] = []
    asyncio.run(story())
    lines = sorted(house.line() for _ in range(2))
    assert house.no_line()
    assert "code=H10" in lines[0]
    assert 'fwd="127.0.0.1" dyno=web.1 ' in lines[1]
    # From where it began, not from where it was handed over.
    service_ms = int(re.search(r"service=(\d+)ms", lines[1])[1])  # type: ignore[index]
    assert service_ms >= (moments[1] - moments[0]) * 1e3


def test_a_request_whose_head_was_under_way_meets_the_newest_routes(house: House) -> None:
    async def story() -> None:
        router = house.router(**LONG)
        gone = house.dyno("gone")
        await router.start(table(app("foo", house.server(gone))))
        await asyncio.to_thread(house.start_proxy)
        visit = Visit(house, "foo.localhost").send(20)
        holds(house, 1)
        await asyncio.to_thread(house.reload)
        await router.apply(table(app("foo", house.server(house.dyno("came")))))
        gone.close()
        answer = await asyncio.to_thread(visit.send().answer)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"came")
        await router.close()

    asyncio.run(story())


@pytest.mark.parametrize("reloads", [0, 1])
def test_a_client_that_leaves_while_it_is_held_is_no_app_that_did_not_boot(
    house: House, reloads: int
) -> None:
    house.serve(table(app("foo", mode="booting")), **LONG)
    visit = Visit(house, "foo.localhost").send()
    holds(house, 1)
    for _ in range(reloads):
        house.reload()
        holds(house, 1)
    visit.client.close()
    line = house.line()
    assert 'sock=client at=warning code=H27 desc="Client Request Interrupted"' in line
    assert " dyno= connect= service= status=499 " in line
    assert house.no_line()


def test_over_tls_it_stays_one_over_tls(house: House, tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "authority.pem", SystemClock())
    fallback = Certificate(authority.sign(frozenset(("apps.x",)))[0].decode(), ("apps.x",))
    port, dyno = free_port(), house.dyno("up")

    def routes(**changes: object) -> RouteTable:
        made = app("foo", *([house.server(dyno)] if not changes else []), **changes)  # type: ignore[arg-type]
        object.__setattr__(made, "https", True)
        return RouteTable((made,), (), fallback)

    async def story() -> None:
        router = house.router(**LONG, web_tls=Listen("127.0.0.1", port))
        await router.start(routes(mode="booting"))
        await asyncio.to_thread(house.start_proxy)
        visit = Visit(house, "foo.localhost", "/a", tls_port=port).send()
        holds(house, 1)
        await asyncio.to_thread(house.reload)
        await asyncio.to_thread(holds, house, 1)
        await router.apply(routes())
        assert (await asyncio.to_thread(visit.answer)).endswith(b"up")
        await router.close()

    asyncio.run(story())
    head = dyno.requests[-1].decode().lower()
    assert "x-forwarded-proto: https\r\n" in head
    assert f"x-forwarded-port: {port}\r\n" in head
    assert head.count("\r\nvia: ") == 1
    assert house.line().endswith(" protocol=http1.1 tls=true tls_version=tls1.3")


@pytest.mark.parametrize("key", ["", "0" * 32])
def test_who_has_not_the_key_is_no_worker(house: House, key: str) -> None:
    settings = running(house, table(app("foo", house.server(house.dyno("x")))))
    assert (house.directory / "onward.key").stat().st_mode & 0o777 == 0o600
    here, there = socket.inet_aton("6.6.6.6"), socket.inet_aton("127.0.0.1")
    body = here + there + bytes(4)
    head = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + len(body).to_bytes(2, "big") + body
    request = b"GET / HTTP/1.1\r\nHost: foo.localhost\r\nConnection: close\r\n"
    told = f"X-Oriel-Onward: {key}:1:-:1.1\r\n".encode()
    for source, sent in (
        (onward.source(settings), head + request + told + b"\r\n"),
        (onward.source(settings), head + request + b"\r\n"),
        (onward.source(settings), request + told + b"\r\n"),
        ("127.0.0.1", head + request + told + b"\r\n"),
    ):
        with socket.create_connection(
            ("127.0.0.1", house.port), timeout=10, source_address=(source, 0)
        ) as client:
            client.sendall(sent)
            try:
                answer = client.recv(65536)
            except ConnectionResetError:
                answer = b""
        # Bytes that are no HTTP are refused as such.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer
    house.log.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            assert b"6.6.6.6" not in house.log.recv(65536)


def test_which_port_it_came_to_is_told_beside_its_addresses(house: House) -> None:
    """In the PROXY protocol's header may stand what the kernel's connection tracking mistook."""
    dyno = house.dyno("x")
    settings = running(house, table(app("foo", house.server(dyno))))
    client = socket.inet_aton("6.6.6.6"), (1234).to_bytes(2, "big")
    body = client[0] * 2 + client[1] * 2
    head = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + len(body).to_bytes(2, "big") + body
    told = f"X-Oriel-Onward: {settings.onward_key}:1:-:1.1:443\r\n".encode()
    with socket.create_connection(
        ("127.0.0.1", house.port), timeout=10, source_address=(onward.source(settings), 0)
    ) as worker:
        worker.sendall(head + b"GET / HTTP/1.1\r\nHost: foo.localhost\r\n" + told + b"\r\n")
        assert worker.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert b"x-forwarded-for: 6.6.6.6\r\n" in dyno.requests[-1].lower()
    assert b"x-forwarded-port: 443\r\n" in dyno.requests[-1].lower()


def test_of_a_client_the_header_says_nothing_and_is_passed_on_as_any_other(house: House) -> None:
    dyno = house.dyno("x")
    key = running(house, table(app("foo", house.server(dyno)))).onward_key
    told = f"X-Oriel-Onward: {key}:1:tls:2.0\r\n".encode()
    visit = Visit(house, "foo.localhost")
    visit.rest = visit.rest.removesuffix(b"\r\n") + told + b"\r\n"
    assert visit.send().answer().startswith(b"HTTP/1.1 200 ")
    head = dyno.requests[-1].lower()
    assert told.lower() in head
    assert b"\r\nx-request-start: 1\r\n" not in head
    line = house.line()
    assert re.search(r" service=\d{1,4}ms ", line), line
    assert line.endswith(" protocol=http1.1 tls=false")


def test_a_dyno_that_leaves_is_waited_for_on_old_workers_too(house: House) -> None:
    async def story() -> None:
        router = house.router(**LONG)
        old, new = house.dyno("old"), house.dyno("new")
        server = house.server(old)
        await router.start(table(app("foo", server)))
        await asyncio.to_thread(house.start_proxy)
        visit = Visit(house, "foo.localhost", "/stall").send()
        until(lambda: old.requests, "it is under way")
        for _ in range(2):
            await asyncio.to_thread(house.reload)
            drained = asyncio.create_task(router.drained("id-foo", server.label))
            await router.apply(table(app("foo", house.server(new))))
            assert (await asyncio.to_thread(house.get, "foo.localhost")).body == "new"
            await asyncio.sleep(0.2)
            assert not drained.done()
        begun = time.monotonic()
        old._over.set()
        assert b"old" in await asyncio.to_thread(visit.answer)
        async with asyncio.timeout(2):
            await drained
        assert time.monotonic() - begun < 2
        await router.close()

    asyncio.run(story())


def test_a_haproxy_that_is_away_is_not_waited_for(house: House) -> None:
    async def story() -> None:
        router = house.router()
        server = house.server(house.dyno("x"))
        await router.start(table(app("foo", server)))
        async with asyncio.timeout(5):
            await router.drained("id-foo", server.label)
        await router.close()

    asyncio.run(story())


def test_a_worker_outlives_so_many_reloads_and_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onward, "WORKERS_MAX", 2)
    dyno = house.dyno("x")
    house.serve(table(app("foo", house.server(dyno))), **LONG)
    visit = Visit(house, "foo.localhost", "/stall").send()
    until(lambda: dyno.requests, "it is under way")
    first = house.worker()
    for _ in range(2):
        house.reload()
        until(lambda: old_workers(house) == [first], "the idle ones have gone")
    house.reload()
    until(lambda: old_workers(house) == [], "so has this one")
    # It is cut, and nothing is said of it: that is what the bound costs.
    assert visit.answer().endswith(b"x")
    assert house.no_line()
