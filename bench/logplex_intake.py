"""What does it cost to take lines in? CPU time of the consumer, for the same lines, side by side.

Two writers, one `write` a line, everything ends in a file. Beside logplex: `cat`, rsyslog,
supervisord and honcho.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.harness import Row, median, report
from bench.rig import LINE, WRITERS, cpu_of, free_port, peers, plex, rsyslogd, until, writer
from bench.writers import HEAD

WRITERS_COUNT = 2


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/logplex-intake", description=__doc__)
    parser.add_argument("--long", action="store_true", help="four times as many lines")
    lines = 8_000_000 if parser.parse_args().long else 2_000_000
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        report("logplex-intake", _rows(Path(root), lines))


def _rows(root: Path, lines: int) -> list[Row]:
    cat = median(lambda: _cat(root, lines), 3)
    ours = median(lambda: _fifo(root, lines), 3)
    rsyslog = _each(lambda: _rsyslog(root, lines // 8))
    supervisord = _each(lambda: _supervisord(root, lines // 2))
    honcho = _each(lambda: _honcho(root, lines // 40))
    tcp = _each(lambda: _tcp(root, lines // 4))
    return [
        Row(
            "FIFO to disk, lines a CPU-second",
            ours,
            "lines/s",
            f"at least 2 times cat = {2 * cat:,.0f}",
            ours >= 2 * cat,
            {"cat": cat, "rsyslog": rsyslog, "supervisord": supervisord, "honcho": honcho},
        ),
        _against("FIFO to disk, against rsyslog", ours, rsyslog, 10),
        _against("FIFO to disk, against supervisord", ours, supervisord, 2),
        _against("syslog over TCP, against rsyslog", tcp, rsyslog, 1.5),
    ]


def _against(figure: str, value: float, peer: float, least: float) -> Row:
    ratio = value / peer if peer else 0.0
    holds = ratio >= least if peer and value else None
    return Row(figure, ratio, "times", f"at least {least} times", holds)


def _each(measure: Callable[[], float]) -> float:
    """The median of three; 0 where the peer is not here."""
    try:
        return median(measure, 3)
    except (OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 0.0


def _written(paths: list[str], lines: int, *words: str) -> None:
    both = [writer("flood", path, lines // WRITERS_COUNT, *words) for path in paths]
    for each in both:
        if each.wait() != 0:
            raise RuntimeError("a writer failed")


def _cat(root: Path, lines: int) -> float:
    fifo, target = root / "fifo", root / "cat.out"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)
    with target.open("wb") as out, fifo.open("rb", buffering=0) as source:
        cat = subprocess.Popen(["cat"], stdin=source, stdout=out)
        _written([str(fifo)] * WRITERS_COUNT, lines)
        until(lambda: target.stat().st_size >= lines * len(LINE))
        used = cpu_of(cat.pid)
        cat.kill()
        cat.wait()
    os.close(held)
    target.unlink()
    return lines / max(0.01, used)


def _fifo(root: Path, lines: int) -> float:
    with plex(root / "plex") as server:
        fifos = [str(server.dyno(f"i{each}", "c", f"web.{each}")) for each in (1, 2)]
        before = server.cpu_s
        _written(fifos[:1], 2)
        _written_each(fifos, lines)
        until(lambda: server.sizes("c") >= (lines + 1) * len(LINE))
        return lines / max(0.01, server.cpu_s - before)


def _written_each(paths: list[str], lines: int) -> None:
    both = [writer("flood", path, lines // WRITERS_COUNT) for path in paths]
    for each in both:
        if each.wait() != 0:
            raise RuntimeError("a writer failed")


def _rsyslog(root: Path, lines: int) -> float:
    port = free_port()
    with rsyslogd(root / "rsyslog", port) as found:
        if found is None:
            raise RuntimeError("rsyslog is not here")
        pid, target = found
        target.unlink(missing_ok=True)
        before = cpu_of(pid)
        _written([f"tcp:{port}"] * WRITERS_COUNT, lines, HEAD.decode())
        # Its form of a line is shorter by the sender's token and time.
        until(lambda: target.exists() and _lines_of(target) >= lines, 120)
        used = cpu_of(pid) - before
        target.unlink()
    return lines / max(0.01, used)


def _lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))


def _supervisord(root: Path, lines: int) -> float:
    place = peers()
    if place is None:
        raise RuntimeError("supervisord is not here")
    directory = root / "supervisor"
    directory.mkdir(exist_ok=True)
    program = (
        "[program:w{0}]\ncommand={1} -S {2} flood - {3}\nautorestart=false\n"
        "startsecs=0\nstdout_logfile={4}/w{0}.out\nstdout_logfile_maxbytes=0\n"
    )
    configuration = directory / "supervisord.conf"
    configuration.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={directory}/log\npidfile={directory}/pid\n"
        + "".join(
            program.format(each, sys.executable, WRITERS, lines // WRITERS_COUNT, directory)
            for each in range(WRITERS_COUNT)
        )
    )
    for each in directory.glob("*.out"):
        each.unlink()
    process = subprocess.Popen(
        [str(place / "bin" / "supervisord"), "-c", str(configuration)], stdout=subprocess.DEVNULL
    )
    try:
        whole = lines * len(LINE)
        until(lambda: sum(each.stat().st_size for each in directory.glob("w*.out")) >= whole, 120)
        used = cpu_of(process.pid)
    finally:
        process.terminate()
        process.wait(20)
    return lines / max(0.01, used)


def _honcho(root: Path, lines: int) -> float:
    place = peers()
    if place is None:
        raise RuntimeError("honcho is not here")
    directory = root / "honcho"
    directory.mkdir(exist_ok=True)
    (directory / "Procfile").write_text(
        "".join(
            f"w{each}: {sys.executable} -S {WRITERS} flood - {lines // WRITERS_COUNT}; sleep 60\n"
            for each in range(WRITERS_COUNT)
        )
    )
    target = directory / "out"
    with target.open("wb") as out:
        process = subprocess.Popen(
            [str(place / "bin" / "honcho"), "start", "-d", str(directory)], stdout=out, stderr=out
        )
        try:
            until(lambda: _lines_of(target) >= lines, 120)
            time.sleep(0.05)
            used = cpu_of(process.pid)
        finally:
            process.terminate()
            process.wait(20)
    return lines / max(0.01, used)


def _tcp(root: Path, lines: int) -> float:
    port = free_port()
    with plex(root / "plex", "--syslog", f"127.0.0.1:{port}") as server:
        server.ask({"op": "channel-create", "channel": "c"})
        made = server.ask({"op": "token-create", "channel": "c", "name": "bench"})
        if not made.get("ok"):
            raise RuntimeError(f"no token: {made}")
        row = made["token"]
        assert isinstance(row, dict)
        token = str(row["id"])
        before = server.cpu_s
        head = HEAD.decode().replace("t.bench", token)
        _written([f"tcp:{port}"] * WRITERS_COUNT, lines, head)
        until(lambda: server.sizes("c") >= lines * len(head + LINE.decode()), 120)
        return lines / max(0.01, server.cpu_s - before)


if __name__ == "__main__":
    main()
