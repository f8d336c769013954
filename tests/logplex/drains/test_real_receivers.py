"""Debian's rsyslog and syslog-ng take drains: what they wrote equals what was said."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.egress.authority import Authority
from tests.logplex import real_syslog

from .conftest import Bench, play, until

pytestmark = pytest.mark.real

COUNT = 3000
LINES = [f'line {number}: \\ ] " %s \u00fc and\ta tab' for number in range(COUNT)]
Daemon = Callable[[Path, str], contextlib.AbstractContextManager[subprocess.Popen[bytes]]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rsyslog(port: int, out: Path, files: tuple[Path, Path, Path] | None) -> str:
    tls = ""
    if files:
        ca, cert, key = files
        tls = (
            f'global(defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}" '
            f'defaultNetstreamDriverKeyFile="{key}")\n'
        )
    driver = ' StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon"'
    return f"""{tls}global(parser.escapeControlCharactersOnReceive="off")
module(load="imtcp"{driver if files else ""})
template(name="t" type="string" string="%hostname% %app-name% %procid% %syslogpriority% %msg%\\n")
ruleset(name="r") {{ action(type="omfile" file="{out}" template="t") }}
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="r")
"""


def syslog_ng(port: int, out: Path, files: tuple[Path, Path, Path] | None) -> str:
    tls = ""
    if files:
        _, cert, key = files
        tls = f'transport("tls") tls(key-file("{key}") cert-file("{cert}") peer-verify(no))'
    return f"""
source s {{ syslog(ip("127.0.0.1") port({port}) {tls or 'transport("tcp")'}); }};
template t {{ template("$HOST $PROGRAM $PID $LEVEL_NUM $MESSAGE\\n"); }};
destination d {{ file("{out}" template(t)); }};
options {{ keep-hostname(yes); }};
log {{ source(s); destination(d); }};
"""


RECEIVERS = {
    "rsyslog": (real_syslog.rsyslog, rsyslog),
    "syslog-ng": (real_syslog.syslog_ng, syslog_ng),
}


async def listening(port: int) -> None:
    for _ in range(1000):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the receiver does not listen")


@pytest.mark.parametrize("name", RECEIVERS)
@pytest.mark.parametrize("tls", [False, True])
def test_what_it_wrote_is_what_was_said(tmp_path: Path, name: str, tls: bool) -> None:
    run, config = RECEIVERS[name]
    authority = Authority(tmp_path)
    port, out = free_port(), tmp_path / "out"
    files = (authority.ca, *authority.files("127.0.0.1")) if tls else None
    bench = Bench(tmp_path / "data", ca=authority.ca)

    async def story(bench: Bench) -> None:
        with run(tmp_path / "daemon", config(port, out, files)):
            await listening(port)
            made = await bench.add(f"syslog{'+tls' if tls else ''}://127.0.0.1:{port}")
            for at in range(0, COUNT, 100):
                bench.say(*LINES[at : at + 100])
            bench.platform("Scale to web=2 by ned@foobazco.com")
            wanted = [f"{made['token']} app web.1 6 {each}" for each in LINES]
            wanted.append(f"{made['token']} heroku api 6 Scale to web=2 by ned@foobazco.com")

            def written() -> list[str]:
                return out.read_text().splitlines() if out.exists() else []

            await until(lambda: len(written()) >= len(wanted), "all was written")
            assert [each.replace(" 6  line", " 6 line") for each in written()] == wanted
            assert (await bench.told())["lost"] == 0

    play(bench, story)
    bench.dialer.close()
