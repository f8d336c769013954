"""How fast is reading? History, the first line of a large channel, search, and tails.

Each figure is a median of several runs. Beside them: `grep -F` on the same files, `tail -f` on
what rsyslog writes. The large channel is one segment many times over, linked, with times that go
on; `--long` makes it 10 GB rather than 2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from zlib import crc32

from bench.harness import Row, cpu_s, median, report
from bench.rig import LINE, Plex, cpu_of, plex, resident_mb
from bench.tails import latencies
from oriel.logplex import entry, seal
from oriel.logplex.channel import Channel
from oriel.logplex.limits import Limits
from oriel.logplex.policy import Policy, save
from oriel.logplex.segment import data_path, index_path, seal_path

START_US = time.time_ns() // 1000 - 3_600_000_000
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
KEEP = Policy(max_bytes=1 << 50)
"""Retention leaves the large channel alone."""
RECORD_LINES = 40


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/logplex-readers", description=__doc__)
    parser.add_argument("--long", action="store_true", help="10 GB, and longer runs")
    long = parser.parse_args().long
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        rows = [
            *_history(Path(root), 9 if long else 5),
            *_large(Path(root), 160 if long else 32, 9 if long else 5),
            *latencies(Path(root), 10.0 if long else 4.0, 3),
            *_idle(Path(root)),
        ]
    report("logplex-readers", rows)


def _history(root: Path, runs: int) -> list[Row]:
    data = root / "history"
    made = Channel(data / "channels" / "c", Limits(), BOOT)
    sources = [made.source("app", f"web.{each}", f"i{each}", 1) for each in (1, 2)]
    for number in range(100_000):
        made.write(sources[number % 2], LINE, START_US + number * 7)
    made.close()
    with plex(data) as server:

        def once(**query: object) -> float:
            before = server.cpu_s
            lines = sum(
                int(str(header["lines"]))
                for _ in range(5)
                for header, _ in server.read("c", lines=100_000, **query)
            )
            return lines / max(0.01, server.cpu_s - before)

        text = median(once, runs)
        shown = median(lambda: once(format="json"), 3)
    return [
        Row(
            "reading -n 100000, records of one line, a CPU-second of logplex",
            text,
            "lines/s",
            "at least 800,000",
            text >= 800_000,
        ),
        Row("the same as JSON", shown, "lines/s"),
    ]


def _large(root: Path, segments: int, runs: int) -> list[Row]:
    data = root / "large"
    directory = data / "channels" / "c"
    _grow(directory, segments)
    size = sum(each.stat().st_size for each in directory.glob("*.log"))
    with plex(data) as server:
        list(server.read("c", lines=1))
        first = 1000 * median(lambda: _first_s(server, lines=100), runs)
        of_ps = 1000 * median(lambda: _first_s(server, lines=100, ps=["web.1"]), runs)
        old = 1000 * median(lambda: _first_s(server, lines=100, ps=["cron.1"]), runs)
        middle = START_US + segments // 2 * 1_000_000
        since = 1000 * median(lambda: _first_s(server, since_us=middle, lines=None), runs)
        # From here on about 1 GB, from page cache for both.
        files = sorted(directory.glob("*.log"))[:16]
        searched = sum(each.stat().st_size for each in files)
        until_us = START_US + 16 * 1_000_000 - 1
        needle = "zebra-4711"
        grep_s = median(lambda: _wall_s(["grep", "-F", needle, *map(str, files)]), 3)
        grep_cpu = median(lambda: cpu_s(["grep", "-F", needle, *map(str, files)]), 3)

        def search() -> float:
            started = time.monotonic()
            found = b"".join(
                text for _, text in server.read("c", lines=None, grep=needle, until_us=until_us)
            )
            assert found.count(b"\n") == 1, found.count(b"\n")
            return time.monotonic() - started

        before = server.cpu_s
        search_s = median(search, 3)
        search_cpu = (server.cpu_s - before) / 3
    gb = f"{size / 1e9:.1f} GB channel"
    return [
        Row(f"-n 100 on a {gb}, to the first line", first, "ms", "at most 50 ms", first <= 50),
        Row(f"-n 100 --ps web.1, {gb}", of_ps, "ms", "at most 50 ms", of_ps <= 50),
        Row("-n 100 --ps of one whose last line is in the oldest segment", old, "ms"),
        Row(f"--since in the middle, {gb}", since, "ms", "at most 50 ms", since <= 50),
        Row(
            f"--grep over {searched / 1e9:.1f} GB",
            searched / search_s / 1e6,
            "MB/s",
            "at least 0.5 of grep -F",
            search_s <= 2 * grep_s,
            {"grep -F": searched / grep_s / 1e6},
        ),
        Row(
            "the same, a CPU-second",
            searched / search_cpu / 1e6,
            "MB/s",
            None,
            None,
            {"grep -F": searched / max(0.01, grep_cpu) / 1e6},
        ),
    ]


def _grow(directory: Path, segments: int) -> None:
    """One full segment, then copies of it with later times: the data is linked, not copied."""
    made = Channel(directory, Limits(), BOOT)
    save(directory / "policy", KEEP)
    sources = [made.source("app", f"web.{each}", f"i{each}", 1) for each in (1, 2)]
    rare = made.source("app", "cron.1", "i3", 1)
    made.write(rare, b"once upon a time zebra-4711 went by\n" * 1, START_US)
    text = LINE * RECORD_LINES
    per_segment = Limits().segment_bytes // len(text) + 2
    step = 1_000_000 // per_segment - 1
    for number in range(per_segment):
        made.write(sources[number % 2], text, START_US + (number + 1) * step)
        if made.active.number > 1:
            break
    job = made.sync_job()
    if job:
        made.synced(job.run())
    made.close()
    index = index_path(directory, 1).read_bytes()[entry.SIZE :]
    whole = seal.load(directory, 1)
    assert whole is not None
    rows = list(entry.unpack_all(index))
    # What follows has not the first record, whose line is to be found once.
    data = directory / "plain"
    with data.open("wb") as file:
        file.write(data_path(directory, 1).read_bytes()[rows[1][1] :])
    base = rows[1][1]
    for each in directory.glob("00000002.*"):
        each.unlink()
    for number in range(2, segments + 1):
        body = b"".join(
            entry.pack(
                row[0] + (number - 1) * 1_000_000,
                row[1] - base,
                row[2],
                row[3],
                row[4],
                0,
                row[7] if at >= 2 else 0,
            )
            for at, row in enumerate(rows[1:])
        )
        os.link(data, data_path(directory, number))
        index_path(directory, number).write_bytes(entry.header(number) + body)
        if number < segments:
            value = seal.make(directory, number, 0) if number == 2 else None
            if value is None:
                value = seal.load(directory, 2)
                assert value is not None
                _seal_as(directory, number, value)
    data.unlink()


def _seal_as(directory: Path, number: int, like: seal.Seal) -> None:
    value = seal._to_json(like)
    index = index_path(directory, number).read_bytes()
    shift = (number - 2) * 1_000_000
    value |= {
        "segment": number,
        "index_crc32": crc32(index),
        "first_us": like.first_us + shift,
        "last_us": like.last_us + shift,
    }
    body = json.dumps(value, separators=(",", ":")).encode()
    seal_path(directory, number).write_bytes(body + b"\n%08x\n" % crc32(body))


def _first_s(server: Plex, **query: object) -> float:
    started = time.monotonic()
    reading = server.read("c", **query)
    next(text for _, text in reading if text)
    passed = time.monotonic() - started
    reading.close()  # type: ignore[attr-defined]
    return passed


def _wall_s(argv: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def _idle(root: Path) -> list[Row]:
    with plex(root / "idle") as server:
        for number in range(1000):
            fifo = server.dyno(f"d{number}", f"c{number}")
            with fifo.open("wb", buffering=0) as door:
                door.write(LINE)
        # Until what was said is on disk: two syncs of each channel, some seconds apart.
        quiet = 0
        for _ in range(20):
            before = cpu_of(server.process.pid)
            time.sleep(3)
            quiet = quiet + 1 if cpu_of(server.process.pid) - before < 0.015 else 0
            if quiet == 3:
                break
        before = cpu_of(server.process.pid)
        started = time.monotonic()
        time.sleep(15)
        share = 100 * (cpu_of(server.process.pid) - before) / (time.monotonic() - started)
        memory = resident_mb(server.process.pid)
    return [
        Row(
            "idle with 1,000 channels and FIFOs", share, "% of a core", "at most 0.5", share <= 0.5
        ),
        Row("the same, resident memory", memory, "MB", "at most 120", memory <= 120),
    ]


if __name__ == "__main__":
    main()
