"""What does it cost to send lines on, and how late are they?

One drain beside rsyslog (imfile to omfwd), both from a file to the same receiver over TCP; over
HTTPS; 200 drains on 200 channels beside one; drains whose receiver is never there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import Row, median, report
from bench.rig import (
    LINE,
    Plex,
    cpu_of,
    free_port,
    plex,
    resident_mb,
    rsyslogd_with,
    until,
    writer,
)
from oriel.logplex.channel import Channel
from oriel.logplex.limits import Limits
from tests.egress.authority import Authority

DRAINS = 200
RATE = 10
"""Lines a second and channel."""
ALLOW = ("--allow-egress", "127.0.0.1")
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
RECEIVERS = Path(__file__).with_name("receivers.py")


class Receiver:
    """A process of `receivers.py`."""

    def __init__(self, *words: object) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(RECEIVERS), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._said())

    def lines(self) -> int:
        """How many lines it has."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._said())

    def late_ms(self) -> list[float]:
        """End it; how late the lines were, without the first tenth."""
        assert self._process.stdin
        self._process.stdin.close()
        found: list[float] = json.loads(self._said())
        return sorted(found[len(found) // 10 :])

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for each in (self._process.stdin, self._process.stdout):
            if each:
                each.close()

    def _said(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


@contextmanager
def receiver(*words: object) -> Iterator[Receiver]:
    """A receiver for the length of a block."""
    made = Receiver(*words)
    try:
        yield made
    finally:
        made.close()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/logplex-drains", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer lines, shorter runs")
    quick = parser.parse_args().quick
    lines, seconds, runs = (400_000, 4.0, 1) if quick else (1_600_000, 10.0, 3)
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        rows = [
            *_rates(Path(root), lines, runs),
            *_latencies(Path(root), seconds, runs),
            _failing(Path(root), 8.0 if quick else 20.0),
        ]
    report("logplex-drains", rows)


def _rates(root: Path, lines: int, runs: int) -> list[Row]:
    keys = Authority(root).files("127.0.0.1")
    with plex(root / "rates", *ALLOW) as server:
        fifos = [server.dyno(f"i{each}", "c", f"web.{each}") for each in (1, 2)]
        for each in [writer("flood", fifo, lines // 2) for fifo in fifos]:
            each.wait()
        until(lambda: server.sizes("c") >= lines * len(LINE))
        _calm(server)
        tcp = median(lambda: _sent(server, lines, "syslog", "count"), runs)
        http = median(lambda: _sent(server, lines, "http", "http"), runs)
        https = median(lambda: _sent(server, lines, "https", "http", *keys), runs)
        memory = resident_mb(server.process.pid)
    single = _singles(root / "singles", lines // 4, runs)
    live = median(lambda: _live(root / "live", lines), runs)
    beside = _each(lambda: _rsyslog(root / "rsyslog", lines), runs)
    ratio = tcp / beside if beside else 0.0
    return [
        Row(
            "one drain over TCP, lines a CPU-second of logplex",
            tcp,
            "lines/s",
            f"at least 2 times rsyslog = {2 * beside:,.0f}",
            tcp >= 2 * beside if beside else None,
            {"rsyslog, imfile to omfwd": beside},
        ),
        Row("the same, against rsyslog", ratio, "times", "at least 2 times", ratio >= 2 or None),
        Row("over TCP while two dynos write the lines, intake with it", live, "lines/s"),
        Row("over TCP, each line a record of its own", single, "lines/s"),
        Row("over HTTP", http, "lines/s"),
        Row("over HTTPS", https, "lines/s"),
        Row("memory of logplex after them", memory, "MB"),
    ]


def _sent(server: Plex, lines: int, scheme: str, *words: object) -> float:
    """Everything that the channel has, to a new drain."""
    with receiver(*words) as taker:
        name = add_drain(server, "c", f"{scheme}://127.0.0.1:{taker.port}/#insecure")
        before = server.cpu_s
        server.ask({"op": "drain-replay", "channel": "c", "drain": name, "since_us": 0})
        until(lambda: taker.lines() >= lines, 120)
        used = server.cpu_s - before
        server.ask({"op": "drain-remove", "channel": "c", "drain": name})
    return lines / max(0.01, used)


def _singles(data: Path, lines: int, runs: int) -> float:
    """Two dynos that say a line now and then: nothing is together that could be sent together."""
    made = Channel(data / "channels" / "c", Limits(), BOOT)
    sources = [made.source("app", f"web.{each}", f"i{each}", 1) for each in (1, 2)]
    start_us = time.time_ns() // 1000 - 3_600_000_000
    for number in range(lines):
        made.write(sources[number % 2], LINE, start_us + number * 70)
    made.close()
    with plex(data, *ALLOW) as server:
        list(server.read("c", lines=1))
        _calm(server)
        return median(lambda: _sent(server, lines, "syslog", "count"), runs)


def _calm(server: Plex) -> None:
    """Until what follows lines that were written, syncs and seals, is done."""
    for _ in range(40):
        before = server.cpu_s
        time.sleep(0.5)
        if server.cpu_s - before < 0.005:
            return


def _live(directory: Path, lines: int) -> float:
    """While they are written."""
    with plex(directory, *ALLOW) as server, receiver("count") as taker:
        fifos = [server.dyno(f"i{each}", "c", f"web.{each}") for each in (1, 2)]
        add_drain(server, "c", f"syslog://127.0.0.1:{taker.port}")
        before = server.cpu_s
        for each in [writer("flood", fifo, lines // 2) for fifo in fifos]:
            each.wait()
        until(lambda: taker.lines() >= lines, 120)
        return lines / max(0.01, server.cpu_s - before)


def add_drain(server: Plex, channel: str, url: str) -> str:
    made = server.ask({"op": "drain-add", "channel": channel, "url": url})
    if not made.get("ok"):
        raise RuntimeError(f"no drain: {made}")
    row = made["drain"]
    assert isinstance(row, dict)
    return str(row["id"])


def _rsyslog(directory: Path, lines: int) -> float:
    """The same lines from a file that grows, each as RFC 5424 behind its length."""
    directory.mkdir(exist_ok=True)
    source = directory / "source"
    source.write_bytes(LINE)
    for each in directory.glob("imfile-state*"):
        each.unlink()
    with receiver("count") as taker:
        configuration = (
            'module(load="imfile")\n'
            f'input(type="imfile" file="{source}" tag="web.1")\n'
            f'action(type="omfwd" target="127.0.0.1" port="{taker.port}" protocol="tcp" '
            'TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format")\n'
        )
        with rsyslogd_with(directory, configuration) as pid:
            if pid is None:
                raise RuntimeError("rsyslog is not here")
            until(lambda: taker.lines() >= 1, 20)
            before, started = cpu_of(pid), taker.lines()
            with source.open("ab") as file:
                for _ in range(lines // 1000):
                    file.write(LINE * 1000)
            until(lambda: taker.lines() >= started + lines, 120)
            return lines / max(0.01, cpu_of(pid) - before)


def _each(measure: Callable[[], float], runs: int) -> float:
    """The median; 0 where the peer is not here."""
    try:
        return median(measure, runs)
    except (OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 0.0


def _latencies(root: Path, seconds: float, runs: int) -> list[Row]:
    one = [_latency(root / "one", 1, seconds) for _ in range(runs)]
    many = [_latency(root / "many", DRAINS, seconds) for _ in range(runs)]
    rows = []
    for at, name in enumerate(("p50", "p99")):
        value, beside = (statistics.median(each[at] for each in found) for found in (many, one))
        rows.append(
            Row(
                f"write to receiver, {DRAINS} drains on {DRAINS} channels, {name}",
                value,
                "ms",
                f"at most 2 times that of one = {2 * beside:.1f}",
                value <= 2 * beside,
                {f"one drain, {RATE} lines/s": beside},
            )
        )
    memory, alone = (statistics.median(each[2] for each in found) for found in (many, one))
    share = statistics.median(each[3] for each in many)
    return [
        *rows,
        Row("memory of logplex with them", memory, "MB", None, None, {"with one": alone}),
        Row(f"CPU of logplex with them, {DRAINS * RATE:,} lines/s", share, "% of a core"),
    ]


def _latency(directory: Path, count: int, seconds: float) -> tuple[float, float, float, float]:
    """p50 and p99 in ms, memory in MB, CPU in % of a core."""
    with plex(directory, *ALLOW) as server, receiver("late") as taker:
        for number in range(count):
            server.dyno(f"d{number:03d}", f"c{number:03d}")
            add_drain(server, f"c{number:03d}", f"syslog://127.0.0.1:{taker.port}")
        before, started = server.cpu_s, time.monotonic()
        writer("spread", server.data / "dynos", RATE * count, seconds).wait()
        share = 100 * (server.cpu_s - before) / (time.monotonic() - started)
        memory = resident_mb(server.process.pid)
        time.sleep(0.3)
        late = taker.late_ms() or [0.0]
    return statistics.median(late), late[int(len(late) * 0.99) - 1], memory, share


def _failing(root: Path, seconds: float) -> Row:
    """Drains whose every connection is refused, with lines waiting: what one of them costs."""
    port = free_port()
    with plex(root / "failing", *ALLOW) as server:
        fifo = server.dyno("i", "c")
        writer("flood", fifo, 1000).wait()
        time.sleep(3)
        before, started = server.cpu_s, time.monotonic()
        time.sleep(seconds / 2)
        idle = (server.cpu_s - before) / (time.monotonic() - started)
        for number in range(20):
            add_drain(server, "c", f"http://127.0.0.1:{port}/{number}")
        writer("flood", fifo, 1000).wait()
        time.sleep(4)
        before, started = server.cpu_s, time.monotonic()
        time.sleep(seconds)
        busy = (server.cpu_s - before) / (time.monotonic() - started)
    share = 100 * max(0.0, busy - idle) / 20
    return Row(
        "a drain that fails every connection", share, "% of a core", "at most 0.1", share <= 0.1
    )


if __name__ == "__main__":
    main()
