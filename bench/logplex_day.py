"""A day in short: 50,000 lines/s over 100 channels for two minutes, with tails
and drains.

What counts: that memory stays flat, that each line is there in the end, and the CPU that it took.
`--long` makes it an hour.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench.harness import Row, report
from bench.logplex_drains import ALLOW, Receiver, add_drain, receiver
from bench.rig import LINE, Plex, plex, resident_mb, until, writer
from bench.tails import Tails

RATE = 50_000
CHANNELS = 100
TAILS = 20
DRAINS = 20
"""On other channels than the tails."""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/logplex-day", description=__doc__)
    parser.add_argument("--long", action="store_true", help="an hour")
    seconds = 3600 if parser.parse_args().long else 120
    with (
        tempfile.TemporaryDirectory(prefix="oriel-bench-") as root,
        plex(Path(root), *ALLOW) as server,
        receiver("count") as taker,
    ):
        report("logplex-day", _day(server, taker, seconds))


def _day(server: Plex, taker: Receiver, seconds: int) -> list[Row]:
    for number in range(CHANNELS):
        server.dyno(f"d{number:03d}", f"c{number:03d}")
    tails = [Tails(server, f"c{number:03d}", 1) for number in range(TAILS)]
    for number in range(TAILS, TAILS + DRAINS):
        add_drain(server, f"c{number:03d}", f"syslog://127.0.0.1:{taker.port}")
    before = server.cpu_s
    started = time.monotonic()
    memory: list[float] = []
    process = writer("many", server.data / "dynos", RATE, seconds)
    while process.poll() is None:
        memory.append(resident_mb(server.process.pid))
        time.sleep(1)
    passed = time.monotonic() - started
    share = 100 * (server.cpu_s - before) / passed
    assert process.stdout
    each = int(process.stdout.read())
    whole = each * len(LINE)
    until(lambda: all(server.sizes(f"c{n:03d}") >= whole for n in range(CHANNELS)))
    drained_from = time.monotonic()
    until(lambda: taker.lines() >= each * DRAINS)
    drained_late = time.monotonic() - drained_from
    time.sleep(0.5)
    bytes_tailed = sum(tail.bytes for tail in tails)
    for tail in tails:
        tail.close()
    lost = sum(_wrong(server, f"c{number:03d}", each) for number in range(CHANNELS))
    early, late = max(memory[5:15], default=0.0), max(memory[-10:], default=0.0)
    return [
        Row("lines in all", each * CHANNELS, "lines"),
        Row("lines a second", each * CHANNELS / passed, "lines/s", f"about {RATE:,}"),
        Row("lines that are missing, doubled or out of order", lost, "lines", "none", lost == 0),
        Row("CPU of logplex", share, "% of a core"),
        Row(
            "memory at the end",
            late,
            "MB",
            f"flat: {early:.0f} at the beginning + 10 %",
            late <= early * 1.1 + 2,
        ),
        Row(f"read by {TAILS} tails meanwhile", bytes_tailed / 1e6, "MB"),
        Row(
            f"lines that {DRAINS} drains did not bring",
            each * DRAINS - taker.lines(),
            "lines",
            "none",
            taker.lines() == each * DRAINS,
        ),
        Row("the last of them after the last write", drained_late, "s"),
    ]


def _wrong(server: Plex, channel: str, count: int) -> int:
    """How many of `count` numbered lines are not where they should be."""
    expected = wrong = 0
    for _, text in server.read(channel):
        for line in text.splitlines():
            number = int(line.split(b": ", 1)[1][:10])
            wrong += number != expected
            expected = number + 1
    return wrong + abs(count - expected)


if __name__ == "__main__":
    main()
