"""What does a request through Oriel cost, its line stored? Beside nginx, and the app alone.

One app (nginx, a fixed answer), wrk with 64 connections, the contestants in turn in one run. nginx
"at the same work": one worker, as many forwarding headers, a log line a request over syslog to the
same kind of reader as Oriel's. Also with its own buffered file log, and the app without a router.
With `--web-tls` the same over kept TLS connections (TLS 1.3, one ECDSA certificate).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import debs
from bench.harness import Row, report
from bench.rig import cpu_of, free_port, plex, until
from oriel.authority import Authority
from oriel.clock import SystemClock
from oriel.house.router_socket import open_socket
from oriel.router import AppRoute, Certificate, Listen, Router, RouteTable, Server, command

CONNECTIONS = 64
HOST = "bench.localhost"
CHANNEL = "bench"
_ROUNDS = 7
_READER = Path(__file__).with_name("line_reader.py")

_NGINX = """\
worker_processes 1; daemon off; pid {root}/{name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {root}/t; proxy_temp_path {root}/t; fastcgi_temp_path {root}/t;
  uwsgi_temp_path {root}/t; scgi_temp_path {root}/t;
  keepalive_requests 100000000;
{body}
}}
"""
_APP = """\
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "hello, world\\n"; }}
  }}
"""
_PROXY = """\
  log_format router escape=default '[oriel channel="bench"] at=info method=$request_method'
    ' path="$request_uri" host=$host request_id=$request_id fwd="$proxy_add_x_forwarded_for"'
    ' dyno=$dyno connect=$upstream_connect_time service=$upstream_response_time status=$status'
    ' bytes=$bytes_sent protocol=$server_protocol tls=false';
  map $host $backend {{ hostnames; {host} app; }}
  map $host $dyno {{ hostnames; {host} web.1; }}
  upstream app {{ least_conn; server 127.0.0.1:{app}; }}
  server {{
    listen 127.0.0.1:{port} {end};
    access_log {log};
    location / {{
      proxy_pass http://$backend;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection close;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Request-Start $msec;
      proxy_set_header Via "1.1 router";
      add_header Via "1.1 router";
    }}
  }}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What wrk saw."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    errors: int


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/router", description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="of each of seven rounds")
    parser.add_argument("--only", help="run one contestant, for a profile")
    parser.add_argument("--web-tls", action="store_true", help="clients come over TLS")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        pem = _certificate(Path(root)) if chosen.web_tls else None
        _measure(Path(root), chosen.seconds, chosen.only, pem)


def _certificate(root: Path) -> Path:
    """A key with its certificate, in one file."""
    pem, _ = Authority.open(root / "authority.pem", SystemClock()).sign(frozenset((HOST,)))
    path = root / "web.pem"
    path.write_bytes(pem)
    return path


def _measure(root: Path, seconds: int, only: str | None, pem: Path | None) -> None:
    web = debs.unpacked("wrk", ["wrk", "libluajit-5.1-2"], "usr/bin/wrk")
    nginx = debs.unpacked("nginx", ["nginx"], "usr/sbin/nginx")
    if web is None or nginx is None:
        sys.exit("wrk and nginx could not be fetched: there is nothing to compare with.")
    with ExitStack() as stack:
        (root / "t").mkdir()
        app = free_port()
        stack.enter_context(_nginx(nginx, root, "app", _APP.format(port=app), app))
        contestants: dict[str, int] = {"app alone": app}
        oriel = stack.enter_context(_oriel(root / "oriel", app, pem))
        contestants["Oriel"] = oriel.port
        syslog = stack.enter_context(_reader(root / "reader"))
        for name, log in (
            (
                "nginx, syslog",
                f"syslog:server=127.0.0.1:{syslog.log_port},tag=router,nohostname router",
            ),
            ("nginx, file", f"{root}/access.log router buffer=64k flush=1s"),
        ):
            port = free_port()
            words = f"ssl backlog=4096; ssl_certificate {pem}; ssl_certificate_key {pem}"
            end = words if pem else "backlog=4096"
            body = _PROXY.format(host=HOST, app=app, port=port, log=log, end=end)
            stack.enter_context(_nginx(nginx, root, name[:5] + name[-4:], body, port))
            contestants[name] = port
        runs: dict[str, list[Run]] = {name: [] for name in contestants}
        cpu = cpu_of(oriel.worker)
        for _ in range(_ROUNDS):
            for name, port in contestants.items():
                if only is None or name == only:
                    scheme = "https" if pem and name != "app alone" else "http"
                    runs[name].append(_wrk(web, port, seconds, scheme))
        cpu = cpu_of(oriel.worker) - cpu
        until(lambda: oriel.lines() >= oriel.requests(), 20)
        made = sum(each.requests for each in runs["Oriel"])
        print(f"router's CPU: {cpu / max(1, made) * 1e6:.1f} us a request", file=sys.stderr)
        report("router over TLS" if pem else "router", list(_rows(runs, oriel, syslog, pem)))


def _rows(
    runs: dict[str, list[Run]], oriel: _Oriel, syslog: _Reader, pem: Path | None
) -> Iterator[Row]:
    def mid(name: str, what: str) -> float:
        return statistics.median(float(getattr(each, what)) for each in runs[name] or [_NONE])

    others = [name for name in runs if name != "Oriel"]
    ours = mid("Oriel", "rate")
    # Round by round: what else the machine does meanwhile meets both.
    rounds = zip(runs["Oriel"], runs["nginx, syslog"], strict=False)
    ratio = statistics.median([each.rate / other.rate for each, other in rounds] or [0.0])
    bar = "at least 0.9 of nginx at the same work"
    rates = {name: mid(name, "rate") for name in others}
    yield Row("requests a second, line stored", ours, "/s", None, None, rates)
    held = (None, None) if pem else (bar, ratio >= 0.9)
    yield Row("against nginx, syslog", ratio, "times", *held)
    for what in ("p50_ms", "p99_ms"):
        peers = {name: mid(name, what) for name in others}
        yield Row(what.replace("_ms", ""), mid("Oriel", what), "ms", None, None, peers)
    requests, lines = oriel.requests(), oriel.lines()
    bar = f"= requests made, {requests:,}"
    peers = {"requests that wrk counted": float(sum(each.requests for each in runs["Oriel"]))}
    yield Row("router lines stored", lines, "lines", bar, lines == requests, peers)
    stored, made = syslog.lines(), sum(each.requests for each in runs["nginx, syslog"])
    yield Row("nginx's lines stored", stored, "lines", None, None, {"its requests": float(made)})
    errors = sum(each.errors for name in runs for each in runs[name])
    yield Row("failed requests, all contestants", errors, "", "= 0", errors == 0)


_NONE = Run(0, 0, 0, 0, 0)


@contextmanager
def _nginx(place: Path, root: Path, name: str, body: str, port: int) -> Iterator[None]:
    name = re.sub(r"\W", "", name)
    path = root / f"{name}.conf"
    path.write_text(_NGINX.format(root=root, name=name, body=body))
    program = str(place / "usr/sbin/nginx")
    with (root / f"{name}.err").open("wb") as said:
        process = subprocess.Popen([program, "-p", str(root), "-c", str(path)], stderr=said)
    try:
        until(lambda: _listens(port) or process.poll() is not None, 10)
        if process.poll() is not None:
            raise RuntimeError((root / f"{name}.err").read_text())
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True, slots=True)
class _Reader:
    log_port: int
    channel: Path

    def lines(self) -> int:
        """How many lines are stored."""
        return sum(
            part.count(b"\n")
            for each in sorted(self.channel.glob("*.log"))
            for part in iter(each.open("rb").read, b"")
        )


@contextmanager
def _reader(data: Path) -> Iterator[_Reader]:
    with open_socket(0) as sock:
        number = sock.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.line_reader", str(number), str(data)], pass_fds=(number,)
        )
        channel = data / "channels" / CHANNEL
        try:
            until(channel.exists, 20)
            yield _Reader(sock.getsockname()[1], channel)
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class _Oriel(_Reader):
    port: int
    worker: int
    control: Path

    def requests(self) -> int:
        """How many the router had that are an app's."""
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(self.control))
            door.sendall(b"show stat web 1 -1\n")
            text = door.makefile("rb").read().decode()
        names, values = (line.split(",") for line in text.strip().splitlines()[:2])
        return int(values[names.index("req_tot")])


@contextmanager
def _oriel(data: Path, app: int, pem: Path | None) -> Iterator[_Oriel]:
    run = data / "run"
    run.mkdir(parents=True)
    (data / "channels" / CHANNEL).mkdir(parents=True)
    port = free_port()
    with open_socket(0) as sock:
        number = sock.fileno()
        with plex(data, "--router-fd", str(number), pass_fds=(number,)):
            router = Router(
                directory=data / "router",
                runtime_socket=run / "haproxy.sock",
                master_socket=run / "master.sock",
                web=Listen("127.0.0.1", free_port() if pem else port),
                web_tls=Listen("127.0.0.1", port) if pem else None,
                log_port=sock.getsockname()[1],
                clock=SystemClock(),
            )
            server = Server("web.1", "0" * 32, "127.0.0.1", app)
            route = AppRoute("id-bench", "bench", CHANNEL, (HOST,), (server,), "serve")

            async def write() -> None:
                fallback = Certificate(pem.read_text(), (HOST,)) if pem else None
                await router.start(RouteTable((route,), (), fallback))
                await router.close()

            asyncio.run(write())
            argv = command(data / "router", run / "master.sock")
            with (data / "haproxy.err").open("wb") as said:
                process = subprocess.Popen(argv, stdout=said, stderr=said)
            try:
                until((run / "haproxy.sock").exists, 20)
                until(lambda: _listens(port), 20)
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
                worker = int(children.read_text().split()[-1])
                channel = data / "channels" / CHANNEL
                yield _Oriel(sock.getsockname()[1], channel, port, worker, run / "haproxy.sock")
            finally:
                process.kill()
                with ExitStack() as rest:
                    rest.callback(process.wait)
                    subprocess.run(["kill", "-9", str(worker)], check=False)


def _wrk(place: Path, port: int, seconds: int, scheme: str) -> Run:
    argv = [
        str(place / "usr/bin/wrk"),
        *("-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--latency"),
        *("-H", f"Host: {HOST}", f"{scheme}://127.0.0.1:{port}/a/path?with=query"),
    ]
    done = subprocess.run(argv, env=debs.libraries(place), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    said = done.stdout
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", said)))
    failed += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", said)))
    return Run(
        int(_found(r"(\d+) requests in", said)),
        float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        _ms(_found(r"(?m)^ +50%\s+(\S+)", said)),
        _ms(_found(r"(?m)^ +99%\s+(\S+)", said)),
        failed,
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk said: {text}")
    return match[1]


def _ms(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise RuntimeError(f"wrk said {text}")


if __name__ == "__main__":
    main()
