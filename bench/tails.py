"""Owns how late a line is at a tail: alone, beside a flood, among 200 tails, beside rsyslog."""

from __future__ import annotations

import json
import os
import selectors
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path

from bench.harness import Row
from bench.rig import Plex, free_port, plex, resident_mb, rsyslogd, writer

RATE = 10_000
TAILS = 200


class Tails:
    """Tails of one channel, all in this thread; some of them are looked at line by line."""

    def __init__(self, server: Plex, channel: str, count: int) -> None:
        """Connect them, from now on."""
        self.late_ms: list[float] = []
        self.lines = 0
        self.bytes = 0
        self._stop = False
        self._selector = selectors.DefaultSelector()
        self._rests: dict[int, bytes] = {}
        request = json.dumps({"op": "read", "channel": channel, "lines": 0, "tail": True})
        looked_at = {0, count // 2, count - 1}
        for number in range(count):
            door = server.connect()
            door.sendall(request.encode() + b"\n")
            door.setblocking(False)
            self._selector.register(door, selectors.EVENT_READ, number in looked_at)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        time.sleep(0.3)

    def close(self) -> None:
        """Hang up."""
        self._stop = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]

    def _run(self) -> None:
        buffer = memoryview(bytearray(1 << 18))
        while not self._stop:
            for key, _ in self._selector.select(0.1):
                door = key.fileobj
                assert isinstance(door, socket.socket)
                size = door.recv_into(buffer)
                self.bytes += size
                if key.data:
                    self._look(door.fileno(), bytes(buffer[:size]))

    def _look(self, number: int, data: bytes) -> None:
        now = time.monotonic_ns()
        *lines, rest = (self._rests.get(number, b"") + data).split(b"\n")
        self._rests[number] = rest
        for line in lines:
            at = line.find(b": @")
            if at >= 0:
                self.lines += 1
                self.late_ms.append((now - int(line[at + 3 : line.index(b" ", at + 3)])) / 1e6)


def _percentiles(late_ms: list[float]) -> tuple[float, float]:
    # The first tenth is the warming up.
    late = sorted(late_ms[len(late_ms) // 10 :]) or [0.0]
    return statistics.median(late), late[int(len(late) * 0.99) - 1]


def latencies(root: Path, seconds: float, runs: int) -> list[Row]:
    """The rows."""
    with plex(root / "tails") as server:
        quiet_fifo = server.dyno("q", "quiet")
        flood_fifo = server.dyno("f", "flooded")

        def latency(count: int) -> tuple[float, float]:
            tails = Tails(server, "quiet", count)
            try:
                writer("paced", quiet_fifo, RATE, seconds).wait()
                time.sleep(0.2)
            finally:
                tails.close()
            return _percentiles(tails.late_ms)

        def flooded() -> tuple[float, float]:
            flood = writer("flood", flood_fifo, 1 << 40)
            time.sleep(0.3)
            try:
                return latency(1)
            finally:
                flood.kill()
                flood.wait()

        quiet = _medians([latency(1) for _ in range(runs)])
        busy = _medians([flooded() for _ in range(runs)])
        before = resident_mb(server.process.pid)
        many = _medians([latency(TAILS) for _ in range(runs)])
        memory = resident_mb(server.process.pid)
    beside = _medians([_beside(root, seconds) for _ in range(runs)])
    return [
        Row(
            "write to a tail client, 10,000 lines/s, p50",
            quiet[0],
            "ms",
            None,
            None,
            {"tail -f on rsyslog's file": beside[0]},
        ),
        Row(
            "the same, p99",
            quiet[1],
            "ms",
            "at most 5 ms",
            quiet[1] <= 5,
            {"tail -f on rsyslog's file": beside[1]},
        ),
        Row("p50 while another channel is flooded", busy[0], "ms"),
        Row(
            "p99 while another channel is flooded",
            busy[1],
            "ms",
            f"at most 3 times the quiet one = {3 * quiet[1]:.1f}",
            busy[1] <= 3 * quiet[1],
        ),
        Row(
            f"p50 with {TAILS} tails",
            many[0],
            "ms",
            f"at most 2 times that of one = {2 * quiet[0]:.1f}",
            many[0] <= 2 * quiet[0],
        ),
        Row(
            f"p99 with {TAILS} tails",
            many[1],
            "ms",
            f"at most 2 times that of one = {2 * quiet[1]:.1f}",
            many[1] <= 2 * quiet[1],
        ),
        Row(
            f"memory of logplex with {TAILS} tails", memory, "MB", None, None, {"with one": before}
        ),
    ]


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(each[0] for each in pairs), statistics.median(
        each[1] for each in pairs
    )


def _beside(root: Path, seconds: float) -> tuple[float, float]:
    port = free_port()
    with rsyslogd(root / "rsyslog", port) as found:
        if found is None:
            return 0.0, 0.0
        pid, target = found
        target.touch()
        tail = subprocess.Popen(["tail", "-n", "0", "-f", str(target)], stdout=subprocess.PIPE)
        late_ms: list[float] = []

        def look() -> None:
            assert tail.stdout
            rest = b""
            while data := os.read(tail.stdout.fileno(), 1 << 20):
                now = time.monotonic_ns()
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    at = line.find(b"@")
                    stamp = line[at + 1 :].split(b" ", 1)[0]
                    if at >= 0 and stamp.isdigit():
                        late_ms.append((now - int(stamp)) / 1e6)

        thread = threading.Thread(target=look)
        thread.start()
        writer("paced", f"tcp:{port}", RATE, seconds, "syslog").wait()
        time.sleep(0.5)
        tail.terminate()
        thread.join()
        tail.wait()
        if tail.stdout:
            tail.stdout.close()
        del pid
    return _percentiles(late_ms)
