"""How soon is a crash known, and how soon is it made good?

A dyno writes the time as its last words and ends. From the moment at which a reader of its
channel has those words: to the line `Process exited` at the same reader, and to `crashed` in the
API. And from the words' own time to the first words of the program in its place, beside supervisord
and circus, which start the same program anew (without a sandbox around it, and without a record);
in rounds of their own, in which nobody asks the API or reads the channel all the time: nobody asks
those either. Each dyno has then been up for some seconds, so that its sandbox is ready. Shown too
is supervisord that starts the program under bubblewrap, with the flags that Oriel gives.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench import bare
from bench.dynos import Town, peers, percentile, town, until
from bench.harness import Row, report
from oriel.logplex.client import Logplex, Query

DYNOS = 40
APART_S = 0.15
SETTLE_S = 8.0
BEYOND_MS = 50.0
CONFINED = "supervisord, under bubblewrap"

PROGRAM = """
import os, sys, time
def say(word):
    os.write(1, b"%s %d\\n" % (word, time.monotonic_ns()))
say(b"started")
number, at = int(sys.argv[1]), float(os.environ.get("AT") or open(sys.argv[2]).read())
due = at + number * float(os.environ.get("APART") or sys.argv[3])
if due < time.monotonic():
    time.sleep(1000000)
time.sleep(due - time.monotonic())
say(b"left")
os._exit(1)
"""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/manifold-crash", description=__doc__)
    parser.add_argument("--long", action="store_true", help="five times as many crashes")
    rounds = 10 if parser.parse_args().long else 2
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        managers = _managers(Path(root), max(1, rounds // 2))
        with town() as platform:
            report("manifold-crash", _measure(platform, rounds, managers))


def _measure(platform: Town, rounds: int, managers: dict[str, list[float]]) -> list[Row]:
    files = {"Procfile": 'worker: exec python3 -S crash.py "${DYNO#worker.}"\n'}
    platform.apps(["crash"], {**files, "crash.py": PROGRAM})
    platform.ask("PATCH", "/apps/crash/config-vars", {"AT": "0", "APART": "0"})  # crash never
    platform.scale("crash", worker=DYNOS)
    until(lambda: platform.all_up("crash", DYNOS), pause_s=0.1)
    heard, told = Heard(platform), Told(platform)
    _crash_all(platform, rounds)
    told.close()
    heard.close()
    begun_ns = time.monotonic_ns()
    _crash_all(platform, rounds)
    again = [1000 * each for each in asyncio.run(_replaced_s(platform, begun_ns))]
    lines = [
        1000 * (heard.exited[each] - at) for each, at in heard.read.items() if each in heard.exited
    ]
    states = [
        1000 * (told.crashed[each] - at) for each, at in heard.read.items() if each in told.crashed
    ]
    print(
        f"{len(heard.read)} crashes: {len(lines)} lines, {len(states)} states, {len(again)} starts"
    )
    return [
        *_rows("last words read to `Process exited` in the channel", lines),
        *_rows("last words read to `crashed` in the API", states),
        *_against(again, managers),
    ]


def _crash_all(platform: Town, rounds: int) -> None:
    """Every dyno once a round, one after the other."""
    for _ in range(rounds):
        at = time.monotonic() + SETTLE_S
        config = {"AT": f"{at:.3f}", "APART": str(APART_S)}
        platform.ask("PATCH", "/apps/crash/config-vars", config)
        time.sleep(max(0.0, at + (DYNOS + 1) * APART_S + 2.0 - time.monotonic()))


def _since(read: dict[str, float], then: dict[str, float]) -> list[float]:
    """Milliseconds from the one to the other, of each instance that has both."""
    return [1000 * (then[each] - at) for each, at in read.items() if each in then]


def _rows(figure: str, values: list[float]) -> list[Row]:
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    bar = f"at most {BEYOND_MS:.0f} ms"
    return [
        Row(f"{figure}, p50", p50, "ms"),
        Row(f"{figure}, p99", p99, "ms", bar, p99 <= BEYOND_MS),
    ]


def _against(ours: list[float], managers: dict[str, list[float]]) -> list[Row]:
    rows = []
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        value = percentile(ours, part)
        beside = {each: percentile(values, part) for each, values in managers.items() if values}
        peers = [each for peer, each in beside.items() if peer != CONFINED]
        holds = all(value <= each for each in peers) if peers else None
        bar = "not slower than either"
        rows.append(
            Row(f"exit to replacement's first word, {name}", value, "ms", bar, holds, beside)
        )
    return rows


class Heard:
    """Who tails the channel, and notes when it has which line."""

    def __init__(self, platform: Town) -> None:
        """Begin to read."""
        self.read: dict[str, float] = {}
        """When the last words of an instance were read, in seconds; `exited` its exit's line."""
        self.exited: dict[str, float] = {}
        self._platform = platform
        self._loop = asyncio.new_event_loop()
        self._done = asyncio.Event()
        self._task = threading.Thread(target=self._loop.run_until_complete, args=(self._tail(),))
        self._task.start()

    def close(self) -> None:
        """Read no more."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._task.join()
        self._loop.close()

    async def _tail(self) -> None:
        client, channel = _channel(self._platform)
        reading = asyncio.ensure_future(self._take(client, channel))
        await self._done.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await client.close()

    async def _take(self, client: Logplex, channel: str) -> None:
        async for batch in client.read(channel, Query(lines=0, tail=True, format="json")):
            now = time.monotonic()
            for line in batch.text.splitlines():
                row = json.loads(line)
                instance = row.get("instance") or (row.get("data") or {}).get("instance", "")
                word = row["text"].partition(" ")[0]
                if word == "left":
                    self.read[instance] = now
                elif word == "Process" and instance in self.read:
                    self.exited.setdefault(instance, now)


async def _replaced_s(platform: Town, since_ns: int) -> list[float]:
    """Seconds from each end since then to the first word of the one in its place, by their own
    words: read when all is over, as those of the other managers are.
    """
    left: list[tuple[str, int]] = []
    started: dict[str, list[int]] = {}
    client, channel = _channel(platform)
    async for batch in client.read(channel, Query(lines=None, format="json")):
        for line in batch.text.splitlines():
            row = json.loads(line)
            word, _, rest = row["text"].partition(" ")
            if word == "left" and int(rest) > since_ns:
                left.append((row["ps"], int(rest)))
            elif word == "started":
                started.setdefault(row["ps"], []).append(int(rest))
    await client.close()
    after = [[each - at for each in started[name] if each > at] for name, at in left]
    return [min(each) / 1e9 for each in after if each]


def _channel(platform: Town) -> tuple[Logplex, str]:
    data = platform.platform.data
    (channel,) = (each.name for each in (data / "channels").iterdir() if each.is_dir())
    return Logplex(data / "run" / "logplex.sock"), channel


class Told:
    """Who asks the API all the time, and notes when it first says that an instance has crashed."""

    def __init__(self, platform: Town) -> None:
        """Begin to ask."""
        self.crashed: dict[str, float] = {}
        self._platform = platform
        self._done = threading.Event()
        self._task = threading.Thread(target=self._ask)
        self._task.start()

    def close(self) -> None:
        """Ask no more."""
        self._done.set()
        self._task.join()

    def _ask(self) -> None:
        """The first crash of a dyno is followed at once by another instance: then that one is seen,
        and the one before has been known to have crashed.
        """
        seen: dict[str, str] = {}
        while not self._done.is_set():
            for each in self._platform.ask("GET", "/apps/crash/dynos"):
                now, name = time.monotonic(), each["name"]
                instance = each["id"].replace("-", "")
                before = seen.get(name, instance)
                if before != instance:
                    self.crashed.setdefault(before, now)
                if each["state"] == "crashed":
                    self.crashed.setdefault(instance, now)
                seen[name] = instance
            self._done.wait(0.002)


def _managers(root: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds from an exit to its replacement's first word, under others."""
    place = peers()
    if place is None:
        return {}
    found = {}
    for name, begin in (
        ("supervisord", _supervisord),
        ("circus", _circus),
        (CONFINED, _supervisord_confined),
    ):
        try:
            found[name] = [1000 * each for _ in range(rounds) for each in begin(root, place)]
        except (OSError, TimeoutError, subprocess.SubprocessError) as error:
            print(f"not measured: {name}: {error}", file=sys.stderr)
    return found


def _supervisord(root: Path, place: Path) -> list[float]:
    return _supervised(place, *_prepared(root, "supervisord"))


def _supervisord_confined(root: Path, place: Path) -> list[float]:
    home, _ = _prepared(root, "confined")
    for each in (root, home):
        each.chmod(0o755)
    flags, executed = bare.flags_and_command(f"exec python3 -S crash.py $0 at {APART_S}", home)
    # supervisord ends what it started, and that is bubblewrap outside.
    words = [*bare.as_app(), "bwrap", "--die-with-parent", *flags, *executed]
    # The program's number is the shell's $0: its last word.
    return _supervised(place, home, shlex.join(words).replace("%", "%%") + " {}")


def _supervised(place: Path, home: Path, words: str) -> list[float]:
    program = (
        "[program:w{0}]\ncommand={1}\nautorestart=true\nstartsecs=0\nstdout_logfile={2}/w{0}.out\n"
    )
    (home / "conf").write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={home}/log\npidfile={home}/pid\n"
        + "".join(program.format(n, words.format(n), home) for n in range(1, DYNOS + 1))
    )
    return _under([str(place / "bin" / "supervisord"), "-c", str(home / "conf")], home)


def _circus(root: Path, place: Path) -> list[float]:
    home, words = _prepared(root, "circus")
    program = (
        "[watcher:w{0}]\ncmd={1}\nwarmup_delay=0\nmax_retry=-1\n"
        "stdout_stream.class=FileStream\nstdout_stream.filename={2}/w{0}.out\n"
    )
    (home / "conf").write_text(
        f"[circus]\nendpoint=ipc://{home}/e\npubsub_endpoint=ipc://{home}/p\nstatsd=false\n"
        + "".join(program.format(n, words.format(n), home) for n in range(1, DYNOS + 1))
    )
    return _under([str(place / "bin" / "circusd"), str(home / "conf")], home)


def _prepared(root: Path, name: str) -> tuple[Path, str]:
    """A directory, and the program's words with a place for its number."""
    home = Path(tempfile.mkdtemp(prefix=name, dir=root))
    (home / "crash.py").write_text(PROGRAM)
    (home / "at").write_text(f"{time.monotonic() + SETTLE_S + 1:.3f}")
    return home, f"{sys.executable} -S {home}/crash.py {{}} {home}/at {APART_S}"


def _under(argv: list[str], home: Path) -> list[float]:
    at = float((home / "at").read_text())
    with (home / "said").open("wb") as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said, cwd=home)
    try:
        time.sleep(max(0.0, at + (DYNOS + 1) * APART_S + 2.0 - time.monotonic()))
    finally:
        process.terminate()
        process.wait(60)
    found = []
    for out in home.glob("*.out"):
        words = [line.split() for line in out.read_text().splitlines()]
        left = [int(number) for word, number in words if word == "left"]
        again = [int(number) for word, number in words if word == "started"]
        after = [each for each in again if left and each > left[0]]
        if after:
            found.append((after[0] - left[0]) / 1e9)
    return found


if __name__ == "__main__":
    main()
