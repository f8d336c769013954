"""TLS at the web's edge: certificates come and go without a handshake that meets none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.authority import Authority
from oriel.clock import SystemClock
from oriel.lexicon import Malformed
from oriel.router import AppRoute, Certificate, Listen, Router, RouteTable, tls
from oriel.router.haproxy import program
from oriel.router.places import Places
from oriel.router.render import render
from oriel.router.settings import Settings

from .conftest import House, app, free_port, table

HERE = Path("/d")


@cache
def authority(where: str) -> Authority:
    return Authority.open(Path(where) / "authority.pem", SystemClock())


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(str(tmp_path_factory.mktemp("authority")))


def certificate(by: Authority, *hosts: str, names: tuple[str, ...] = ()) -> Certificate:
    pem, _ = by.sign(frozenset(names or hosts))
    return Certificate(pem.decode(), hosts)


def test_only_a_pem_is_a_certificate() -> None:
    good = "-----BEGIN A KEY-----\nabc=\n-----END A KEY-----\n"
    assert Certificate(good, ("*.Foo.x.",)).hosts == ("*.foo.x",)
    assert "abc" not in repr(Certificate(good, ()))
    for wrong in ("", good + "\n", good + "show info\n", good.replace("abc=", "a\n\nb"), good[:-1]):
        with pytest.raises(Malformed):
            Certificate(wrong, ())
    for host in ("a b", "a\nb", "*", "*.*.x", "a.*.x", "!x.y", "[x]"):
        with pytest.raises(Malformed):
            Certificate(good, (host,))


def test_only_what_acme_sends_is_a_challenge() -> None:
    def route(host: str, token: str, answer: str) -> AppRoute:
        challenges = {(host, token): answer}
        return AppRoute("id", "app", "c", ("x.y",), (), "none", challenges=challenges)

    assert route("x.y", "tok-en_1", "tok-en_1.print")
    for wrong in (
        ("X.y", "t", "t.p"), ("x y", "t", "t.p"), ("x.y", "t t", "t.p"), ("x.y", "t\n", "t.p"),
        ("x.y", "", "t.p"), ("x.y", "t", "t"), ("x.y", "t", "t.p\n"), ("x.y", "../t", "t.p"),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            route(*wrong)


class Model:
    """What HAProxy does with the few commands for certificates."""

    def __init__(self) -> None:
        self.stores: dict[str, str] = {"fallback.0000000000000000.pem": ""}
        self.entries: dict[str, tuple[str, ...]] = {}
        self.pending = ""

    def tell(self, command: str) -> None:
        line, _, payload = command.partition(" <<\n")
        words = line.split(" ")
        name = words[-1].rpartition("/")[2]
        match words[:3]:
            case ["new", "ssl", "cert"]:
                assert name not in self.stores
                self.stores[name] = ""
            case ["set", "ssl", "cert"]:
                assert name in self.stores
                assert not self.pending
                assert payload.endswith("-----\n")
                self.pending = name
                self.content = payload
            case ["commit", "ssl", "cert"]:
                assert name == self.pending
                self.stores[name], self.pending = self.content, ""
            case ["abort", "ssl", "cert"]:
                assert name == self.pending
                self.pending = ""
            case ["add", "ssl", "crt-list"]:
                path, *hosts = payload.rstrip("\n").split(" ")
                entry = path.rpartition("/")[2]
                assert self.stores[entry]
                assert entry not in self.entries
                self.entries[entry] = tuple(hosts)
            case ["del", "ssl", "crt-list"]:
                del self.entries[name]
            case ["del", "ssl", "cert"]:
                assert name not in self.entries
                del self.stores[name]
            case _:
                raise AssertionError(command)

    def show(self) -> tls.SeenTls:
        fallback = self.stores["fallback.0000000000000000.pem"]
        return tls.SeenTls(
            "/d/certs.0000000000000000.list",
            frozenset(self.entries),
            frozenset(self.stores),
            self.pending,
            tls.print_of(fallback),
        )

    def shown(self, host: str) -> bool:
        return any(host in hosts for hosts in self.entries.values())


def fake(number: int, *hosts: str) -> Certificate:
    body = f"-----BEGIN CERTIFICATE-----\n{number:04d}\n-----END CERTIFICATE-----\n"
    return Certificate(body, hosts)


CERTIFICATES = st.dictionaries(st.sampled_from(["a.x", "b.x", "c.x"]), st.integers(0, 3)).map(
    lambda found: tuple(fake(number, host) for host, number in found.items())
)
TABLES = st.builds(
    lambda certificates, number: RouteTable((), certificates, fake(number)),
    CERTIFICATES,
    st.integers(0, 3),
)


@given(st.lists(st.tuples(TABLES, st.integers(0, 12)), min_size=1, max_size=5))
def test_every_set_of_certificates_is_reached_from_wherever_a_kill_left_it(
    steps: list[tuple[RouteTable, int]],
) -> None:
    model = Model()
    for table_, killed_after in steps:
        before = {host for hosts in model.entries.values() for host in hosts}
        after = {host for each in table_.certificates for host in each.hosts}
        come, go = tls.commands(table_, model.show(), HERE)
        for command in (*come, *go)[:killed_after]:
            model.tell(command)
            assert all(model.shown(host) for host in before & after)
    come, go = tls.commands(table_, model.show(), HERE)
    for command in (*come, *go):
        model.tell(command)
    assert tls.commands(table_, model.show(), HERE) == ((), ())
    assert sorted(model.entries.values()) == sorted(each.hosts for each in table_.certificates)
    assert model.stores["fallback.0000000000000000.pem"] == table_.fallback.pem


@given(st.text() | st.text("/certsfallback.0123456789abcdefpml *#\n"))
def test_whatever_haproxy_says_is_read(text: str) -> None:
    tls.read_list(text)
    tls.read_entries(text)
    tls.read_stores(text)
    tls.read_print(text)


def test_a_route_changes_no_layout_and_neither_does_a_certificate() -> None:
    settings = Settings(HERE, HERE / "s", (Listen("", 80),), 1, web_tls=(Listen("", 443),))
    stamps = {
        render(each, Places(0, {}), settings).stamp.layout
        for each in (
            RouteTable((), (), fake(1)),
            RouteTable((), (fake(2, "a.x"),), fake(3, "*.apps.x")),
            RouteTable((), (), fake(1), ("apps.x", "*.apps.x")),
        )
    }
    assert len(stamps) == 1
    plain = Settings(HERE, HERE / "s", (Listen("", 80),), 1)
    assert render(RouteTable(), Places(0, {}), plain).stamp.layout not in stamps


@pytest.mark.real
def test_haproxy_takes_it_without_a_warning(tmp_path: Path, trusted: Authority) -> None:
    web_tls = (Listen("127.0.0.1", 8443), Listen("::1", 8443))
    settings = Settings(tmp_path, tmp_path / "s", (Listen("", 80),), 1, web_tls=web_tls)
    fallback = certificate(trusted, "apps.x", "*.apps.x")
    for held in ((), (certificate(trusted, "www.example.com"),)):
        rendered = render(RouteTable((), held, fallback), Places(2, {}), settings)
        for name, content in {**rendered.files, "haproxy.cfg": rendered.config}.items():
            (tmp_path / name).write_text(content)
        checked = subprocess.run(
            [program(), "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True
        )
        said = checked.stdout + checked.stderr
        assert (checked.returncode, said) == (0, "Configuration file is valid\n")
    binds = re.findall(r"^  bind .* ssl .*$", rendered.config, re.MULTILINE)
    assert len(binds) == 2
    assert all(each.endswith(" alpn h2,http/1.1") for each in binds)
    assert "ssl-min-ver TLSv1.2 no-tls-tickets" in rendered.config


class Secure:
    """A House that listens with TLS too."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.port = free_port()

    @contextlib.asynccontextmanager
    async def running(self, first: RouteTable, **changes: object):  # type: ignore[no-untyped-def]
        router = self.house.router(web_tls=Listen("127.0.0.1", self.port), **changes)
        await router.start(first)
        await asyncio.to_thread(self.house.start_proxy)
        try:
            yield router
        finally:
            await router.close()

    def shown(self, host: str) -> str:
        """The serial number of the certificate that a handshake for `host` meets."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            der = secure.getpeercert(binary_form=True)
        assert der
        return tls.print_of(ssl.DER_cert_to_PEM_cert(der))

    def get(self, host: str, path: str = "/", *options: str) -> str:
        """What curl gets, with its headers."""
        url = f"https://{host}:{self.port}{path}"
        where = f"{host}:{self.port}:127.0.0.1"
        return subprocess.run(
            ["curl", "-sik", "--max-time", "10", "--resolve", where, *options, url],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip


@pytest.fixture
def secure(house: House) -> Secure:
    return Secure(house)


@pytest.mark.real
def test_a_certificate_comes_is_renewed_and_goes_without_a_reload(
    secure: Secure, trusted: Authority
) -> None:
    one = certificate(trusted, "www.example.com", "*.example.org")
    two = certificate(trusted, "www.example.com", "*.example.org")
    fallback = certificate(trusted, "apps.x", "*.apps.x")
    foo = app("foo", secure.house.server(secure.house.dyno("hello")), hosts=("www.example.com",))

    async def story() -> None:
        first = RouteTable((foo,), (), fallback)
        async with secure.running(first) as router:
            shown, worker = secure.shown, await asyncio.to_thread(secure.house.worker)
            assert await asyncio.to_thread(shown, "www.example.com") == tls.print_of(fallback.pem)
            for held, host, wanted in (
                ((one,), "www.example.com", one),
                ((one,), "a.example.org", one),
                ((one,), "a.b.example.org", fallback),
                ((two,), "www.example.com", two),
                ((two,), "foo.apps.x", fallback),
                ((), "www.example.com", fallback),
            ):
                await router.apply(replace(first, certificates=held))
                assert await asyncio.to_thread(shown, host) == tls.print_of(wanted.pem)
            other = certificate(trusted, "apps.x", "*.apps.x")
            await router.apply(replace(first, fallback=other))
            assert await asyncio.to_thread(shown, "x.apps.x") == tls.print_of(other.pem)
            assert await asyncio.to_thread(shown, "no.where") == tls.print_of(other.pem)
            await router.apply(RouteTable((foo,), (two,), other))
            assert router.status().reloads == 0
            assert await asyncio.to_thread(secure.house.worker) == worker
            # What it starts from says the same.
            await asyncio.to_thread(secure.house.kill_proxy)
            await asyncio.to_thread(secure.house.start_proxy)
            assert await asyncio.to_thread(shown, "www.example.com") == tls.print_of(two.pem)
            assert await asyncio.to_thread(shown, "no.where") == tls.print_of(other.pem)

    asyncio.run(story())
    for path in secure.house.directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(secure.house.directory.stat().st_mode) == 0o700


@pytest.mark.real
def test_no_handshake_fails_while_certificates_are_renewed(
    secure: Secure, trusted: Authority
) -> None:
    fallback = certificate(trusted, "apps.x")
    versions = [certificate(trusted, "www.example.com") for _ in range(8)]
    prints = {tls.print_of(each.pem) for each in versions}
    met: list[str] = []
    over = threading.Event()

    def shake() -> None:
        while not over.is_set():
            met.append(secure.shown("www.example.com"))

    async def story() -> None:
        async with secure.running(RouteTable((), versions[:1], fallback)) as router:
            shaking = [asyncio.create_task(asyncio.to_thread(shake)) for _ in range(2)]
            for each in versions[1:]:
                await router.apply(RouteTable((), (each,), fallback))
                seen = len(met)
                while len(met) < seen + 3:
                    await asyncio.sleep(0.001)
            over.set()
            await asyncio.gather(*shaking)

    asyncio.run(story())
    assert set(met) <= prints
    assert len(set(met)) > 4


@pytest.mark.real
def test_the_dyno_and_the_line_know_of_tls(secure: Secure, trusted: Authority) -> None:
    dyno = secure.house.dyno("hello")
    foo = app("foo", secure.house.server(dyno), hosts=("www.example.com",))
    fallback = certificate(trusted, "apps.x")

    async def story() -> None:
        async with secure.running(RouteTable((foo,), (), fallback)):
            for option, protocol, version in (
                ("--http2", "http2.0", "tls1.3"),
                ("--http1.1", "http1.1", "tls1.3"),
                ("--tls-max=1.2", "http2.0", "tls1.2"),
            ):
                words = option.split("=")
                said = await asyncio.to_thread(secure.get, "www.example.com", "/a", *words)
                assert said.endswith("hello"), said
                head = dyno.requests[-1].decode().lower()
                assert "x-forwarded-proto: https\r\n" in head
                assert f"x-forwarded-port: {secure.port}\r\n" in head
                line = secure.house.line()
                assert line.endswith(f" protocol={protocol} tls=true tls_version={version}")
                assert ' path="/a" host=www.example.com ' in line
            old = await asyncio.to_thread(
                subprocess.run,
                ["openssl", "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect",
                 f"127.0.0.1:{secure.port}"],
                capture_output=True, stdin=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            assert "Cipher is (NONE)" in old.stdout

    asyncio.run(story())


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own needs root")
def test_the_port_is_ours_where_the_kernel_tracks_a_connection_from_its_middle(
    tmp_path: Path,
) -> None:
    argv = ("unshare", "-n", sys.executable, "-m", "tests.router.tracked", str(tmp_path))
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told, ours, _ = ran.stdout.split()
    assert told == ours, ran.stdout


@pytest.mark.real
def test_a_sticky_cookie_that_came_by_tls_goes_by_tls_alone(
    secure: Secure, trusted: Authority
) -> None:
    house = secure.house
    foo = app("foo", house.server(house.dyno("hello")), hosts=("www.example.com",), sticky=True)
    first = RouteTable((foo,), (), certificate(trusted, "apps.x"))

    async def story() -> None:
        async with secure.running(first, trusted=("127.0.0.2/32",)):
            said = await asyncio.to_thread(secure.get, "www.example.com")
            assert re.search(
                r"set-cookie: \S+; Path=/; HttpOnly; Secure\r?$", said, re.MULTILINE
            ), said
            for address, headers, secured in (
                ("127.0.0.1", b"", False),
                ("127.0.0.1", b"X-Forwarded-Proto: https\r\n", False),
                ("127.0.0.2", b"X-Forwarded-Proto: https\r\n", True),
                ("127.0.0.2", b"", False),
            ):
                asked = b"GET / HTTP/1.0\r\nHost: www.example.com\r\n%s\r\n" % headers
                with socket.create_connection(
                    ("127.0.0.1", house.port), 5, source_address=(address, 0)
                ) as door:
                    door.sendall(asked)
                    answer = door.recv(65536)
                assert b"; Path=/; HttpOnly" in answer
                assert (b"; Secure" in answer) == secured, (address, headers)

    asyncio.run(story())


@pytest.mark.real
def test_http_is_sent_to_https_but_never_a_challenge(secure: Secure, trusted: Authority) -> None:
    house = secure.house
    dyno = house.dyno("hello")
    challenges = {("www.example.com", "tok"): "tok.print"}
    hosts = ("www.example.com", "*.example.com")
    foo = app("foo", house.server(dyno), hosts=hosts)
    acme = replace(foo, https=True, sticky=True, challenges=challenges)
    fallback = certificate(trusted, "apps.x")
    at = "/.well-known/acme-challenge/"

    async def story() -> None:
        async with secure.running(RouteTable((foo,), (), fallback)) as router:
            # Without ACME, what looks like a challenge is the app's own.
            assert (await asyncio.to_thread(house.get, hosts[0], at + "tok")).body == "hello"
            house.line()
            for mode in ("serve", "booting", "idle", "maintenance", "crashed"):
                await router.apply(RouteTable((replace(acme, mode=mode),), (), fallback))
                answer = await asyncio.to_thread(house.get, hosts[0], at + "tok")
                assert (answer.status, answer.body) == (200, "tok.print")
                assert answer.headers["content-type"] == "text/plain"
                line = house.line()
                assert " at=info " in line
                assert line.partition("dyno=")[2].startswith(" connect= service= status=200 ")
                for host, path in (
                    (hosts[0], at + "other"), ("x.example.com", at + "tok"), (hosts[0], at),
                ):  # fmt: skip
                    assert (await asyncio.to_thread(house.get, host, path)).status == 404
                    house.line()
                for method, status in (("GET", 301), ("HEAD", 301), ("POST", 308)):
                    answer = house.raw(
                        f"{method} /a?b=%20c HTTP/1.1\r\nHost: X.Example.com:80\r\n"
                        "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
                    ).decode()
                    assert answer.startswith(f"HTTP/1.1 {status} ")
                    place = f"https://x.example.com:{secure.port}/a?b=%20c"
                    assert re.search(
                        rf"\r\nlocation: {re.escape(place)}\r\n", answer, re.IGNORECASE
                    )
                    assert f" status={status} " in house.line()
            assert len(dyno.requests) == 1
            await router.apply(RouteTable((acme,), (), fallback))
            assert "hello" in await asyncio.to_thread(secure.get, hosts[0])

    asyncio.run(story())


@pytest.mark.real
@pytest.mark.parametrize(("proxies", "status"), [(("127.0.0.0/8",), 200), (("10.0.0.0/8",), 301)])
def test_what_a_trusted_proxy_got_by_https_is_not_sent_there_again(
    secure: Secure, trusted: Authority, proxies: tuple[str, ...], status: int
) -> None:
    house = secure.house
    foo = replace(app("foo", house.server(house.dyno("hello"))), https=True)
    fallback = certificate(trusted, "apps.x")

    async def story() -> None:
        async with secure.running(RouteTable((foo,), (), fallback), trusted=proxies):
            get = house.get
            for proto, wanted in (("https", status), ("http", 301), ("gopher", 301)):
                answer = await asyncio.to_thread(get, "foo.localhost", X_Forwarded_Proto=proto)
                assert answer.status == wanted, proto
            assert (await asyncio.to_thread(get, "foo.localhost")).status == 301

    asyncio.run(story())


@pytest.mark.real
def test_the_longest_wildcard_wins_and_an_exact_name_before_it(house: House) -> None:
    def made(name: str, *hosts: str) -> AppRoute:
        return app(name, house.server(house.dyno(name)), hosts=hosts)

    first = RouteTable(
        (
            made("exact", "www.example.com"),
            made("wide", "*.example.com", "example.com"),
            made("deep", "*.a.example.com"),
        ),
        reserved=("apps.example.com", "*.apps.example.com"),
    )

    async def story() -> None:
        router: Router = house.router()
        await router.start(first)
        await asyncio.to_thread(house.start_proxy)
        for host, name in (
            ("www.example.com", "exact"),
            ("example.com", "wide"),
            ("shop.example.com", "wide"),
            ("a.example.com", "wide"),
            ("b.www.example.com", "wide"),
            ("x.a.example.com", "deep"),
            ("4.3.2.1.a.example.com", "deep"),
            ("SHOP.example.com.", "wide"),
        ):
            answer = await asyncio.to_thread(house.get, host)
            assert answer.body == name, host
        deeper = "5.4.3.2.1.a.example.com"
        for host in (
            "apps.example.com",
            "x.apps.example.com",
            "com",
            "xexample.com",
            "*",
            "",
            deeper,
        ):
            assert (await asyncio.to_thread(house.get, host)).status == 404, host
        await router.apply(table(made("only", "*.example.com")))
        answer = await asyncio.to_thread(house.get, "www.example.com")
        assert answer.body == "only"
        assert router.status().reloads == 0
        await router.close()

    asyncio.run(story())


@pytest.mark.real
def test_a_thousand_hosts_and_five_hundred_certificates_change_without_a_reload(
    secure: Secure, trusted: Authority
) -> None:
    house = secure.house
    server = house.server(house.dyno("hello"))
    apps = [
        app(f"app-{n}", *([server] if n == 7 else []), hosts=(f"a{n}.x.y", f"*.b{n}.x.y"))
        for n in range(500)
    ]
    shared = [certificate(trusted, f"a{n}.x.y") for n in range(20)]
    held = tuple(Certificate(shared[n % 20].pem, (f"a{n}.x.y",)) for n in range(500))
    first = RouteTable(tuple(apps), held, certificate(trusted, "apps.x"))

    async def story() -> None:
        async with secure.running(first) as router:
            for turn in range(6):
                mode = "maintenance" if turn % 2 == 0 else "serve"
                changed = [*apps[:7], replace(apps[7], mode=mode), *apps[8:]]  # type: ignore[arg-type]
                asked = asyncio.create_task(router.apply(replace(first, apps=tuple(changed))))
                status = 0
                while status != (503 if turn % 2 == 0 else 200):
                    status = (await asyncio.to_thread(house.get, "z.b7.x.y")).status
                await asked
                assert router.status().reloads == 0

    asyncio.run(story())
