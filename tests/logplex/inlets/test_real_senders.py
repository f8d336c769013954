"""Other people's programs send: what logplex has afterwards equals what was said."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.logplex import real_syslog
from tests.logplex.inlets.conftest import Bench, Play

pytestmark = pytest.mark.real

COUNT = 3000
LINES = [f"line {number} of {COUNT}, with \\ and ] and é" for number in range(COUNT)]


@pytest.mark.skipif(shutil.which("logger") is None, reason="logger is not installed")
@pytest.mark.parametrize(
    ("form", "shown"),
    [
        (["--rfc5424", "--octet-count"], "app[7]: said"),
        (["--rfc5424"], "app[7]: said"),
        (["--rfc3164"], "app[7]: said"),
    ],
)
def test_logger_over_tcp(play: Play, form: list[str], shown: str) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        port = await bench.port("syslog")
        argv = ["logger", "-n", "127.0.0.1", "-P", str(port), "-T", *form]
        argv += ["-t", token, "--id=7", "said"]
        await asyncio.to_thread(subprocess.run, argv, check=True)
        await bench.until("syslog", frames=1)
        assert await bench.read() == [shown]

    play(story, ("syslog", "127.0.0.1:0"))


@pytest.mark.skipif(shutil.which("logger") is None, reason="logger is not installed")
@pytest.mark.parametrize("kind", ["unix", "unix-dgram"])
def test_logger_to_a_local_socket(play: Play, tmp_path: Path, kind: str) -> None:
    async def story(bench: Bench) -> None:
        argv = ["logger", "-u", str(tmp_path / "log"), "-t", "cron", "-p", "daemon.err", "said"]
        await asyncio.to_thread(subprocess.run, argv, check=True)
        await bench.until(kind, frames=1)
        assert await bench.read("shop") == ["box[cron]: said"]

    play(story, (kind, f"{tmp_path}/log=shop/box"))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    argv = [
        *"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split(),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(made)),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    return made, key


def _fill(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in LINES)


@pytest.mark.parametrize("framing", ["octet-counted", "traditional", "tls"])
def test_rsyslog_sends(
    play: Play, tmp_path: Path, certificate: tuple[Path, Path], framing: str
) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        kind = "syslog-tls" if framing == "tls" else "syslog"
        port = await bench.port(kind)
        said = tmp_path / "said.log"
        said.touch()
        secure = (
            'StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/name" '
            'StreamDriverPermittedPeers="localhost"'
        )
        counted = "traditional" if framing == "traditional" else "octet-counted"
        config = f"""
            global(DefaultNetstreamDriverCAFile="{certificate[0]}")
            module(load="imfile")
            template(name="logplex" type="string"
              string="<%pri%>1 %timereported:::date-rfc3339% box {token} web.1 - - %msg%")
            input(type="imfile" File="{said}" Tag="x" freshStartTail="off")
            action(type="omfwd" Target="localhost" Port="{port}" Protocol="tcp"
              TCP_Framing="{counted}" Template="logplex" {secure if framing == "tls" else ""})
        """
        with real_syslog.rsyslog(tmp_path / "rsyslog", config):
            _fill(said)
            try:
                await bench.until(kind, frames=COUNT)
            except TimeoutError:
                pytest.fail((tmp_path / "rsyslog/rsyslog.out").read_text()[-2000:])
        assert await bench.read() == [f"app[web.1]: {line}" for line in LINES]

    play(
        story,
        ("syslog", "127.0.0.1:0"),
        ("syslog-tls", "127.0.0.1:0"),
        certificate=certificate[0],
        key=certificate[1],
    )


@pytest.mark.parametrize("kind", ["syslog", "syslog-tls", "bsd"])
def test_syslog_ng_sends(
    play: Play, tmp_path: Path, certificate: tuple[Path, Path], kind: str
) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        door = "syslog-tls" if kind == "syslog-tls" else "syslog"
        port = await bench.port(door)
        said = tmp_path / "said.log"
        said.touch()
        tls = f'transport("tls") tls(ca-file("{certificate[0]}") peer-verify(required-trusted))'
        where = f'"localhost" port({port})'
        if kind == "bsd":
            to = f'network({where} transport("tcp"))'
        else:
            to = f"syslog({where} {tls if kind == 'syslog-tls' else 'transport(tcp)'})"
        config = f"""
            source s {{ file("{said}" flags(no-parse) follow-freq(0.1) program-override("x")); }};
            rewrite r {{
              set("{token}" value("PROGRAM")); set("web.1" value("PID"));
            }};
            destination d {{ {to}; }};
            log {{ source(s); rewrite(r); destination(d); }};
        """
        with real_syslog.syslog_ng(tmp_path / "ng", config):
            _fill(said)
            try:
                await bench.until(door, frames=COUNT)
            except TimeoutError:
                pytest.fail((tmp_path / "ng/syslog-ng.out").read_text()[-2000:])
        assert await bench.read() == [f"app[web.1]: {line}" for line in LINES]

    play(
        story,
        ("syslog", "127.0.0.1:0"),
        ("syslog-tls", "127.0.0.1:0"),
        certificate=certificate[0],
        key=certificate[1],
    )


@pytest.fixture
def dev_log() -> Iterator[Path]:
    """The address that syslog(3) writes to; it is there for the test alone."""
    path = Path("/dev/log")
    if os.geteuid() != 0:
        pytest.skip("only root may make /dev/log")
    if path.exists() or path.is_symlink():
        pytest.skip("this machine has a /dev/log")
    yield path
    path.unlink(missing_ok=True)


def _postgres() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    return found[-1].parent


def test_postgresql_and_redis_by_syslog(play: Play, dev_log: Path) -> None:
    """Both say it by syslog(3), each in its own form."""
    programs = _postgres()
    redis = shutil.which("redis-server")

    async def story(bench: Bench) -> None:
        with tempfile.TemporaryDirectory(prefix="oriel-syslog-") as name:
            home = Path(name)
            owner = pwd.getpwnam("postgres")
            os.chown(home, owner.pw_uid, owner.pw_gid)
            as_postgres = {"user": owner.pw_uid, "group": owner.pw_gid, "cwd": name}

            def run(*argv: object) -> None:
                subprocess.run(
                    [str(each) for each in argv],
                    check=True,
                    capture_output=True,
                    timeout=60,
                    **as_postgres,  # type: ignore[call-overload]
                )

            data = home / "data"
            await asyncio.to_thread(run, programs / "initdb", "-D", data, "-A", "trust", "-N")
            settings = (
                f"-c log_destination=syslog -c listen_addresses= -c unix_socket_directories={home} "
                "-c log_statement=all -c fsync=off"
            )
            control = (programs / "pg_ctl", "-D", data, "-o", settings, "-l", home / "out")
            await asyncio.to_thread(run, *control, "-w", "start")
            try:
                await asyncio.to_thread(
                    run, programs / "psql", "-h", home, "-d", "postgres", "-c", "select 42"
                )
            finally:
                await asyncio.to_thread(run, *control, "-m", "immediate", "stop")
        if redis:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            argv = [redis, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            argv += ["--syslog-enabled", "yes", "--syslog-ident", "redis", "--logfile", ""]
            process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
            try:
                async with asyncio.timeout(20):
                    while not any("Ready to accept" in line for line in await bench.read("shop")):
                        await asyncio.sleep(0.02)
            finally:
                process.terminate()
                process.wait(10)
        said = await bench.read("shop")
        postgres = [line for line in said if line.startswith("db[postgres]: ")]
        assert any("LOG:  statement: select 42" in line for line in postgres)
        assert any("database system is ready to accept connections" in line for line in postgres)
        if redis:
            assert any(line.startswith("db[redis]: Ready to accept") for line in said)
        door = (await bench.doors())["unix-dgram"]
        assert (door["malformed"], door["unknown_token"], door["dropped"]) == (0, 0, 0)

    play(story, ("unix-dgram", f"{dev_log}=shop/db"), unix_mode=0o666)
