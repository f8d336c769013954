"""How long does an idle app's visitor wait, and how soon is a changed route seen?

Beside the wake: the same command started bare, without Oriel, to its first answer. The routes: a
router of 500 apps with 1 000 hostnames, of which one app's dyno changes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.harness import Row, median, report
from bench.story import _first_answer
from oriel.router import Server
from tests.router.conftest import House, app, table
from tests.story.load import Client, abrupt
from tests.story.platform import AppCopy, Platform, eventually, free_port

APPS = 500


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/wake", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        os.chmod(root, 0o755)
        platform = Platform(Path(root) / "platform")
        platform.start()
        try:
            rows = _wakes(platform, Path(root), times)
        finally:
            platform.stop()
        (Path(root) / "router").mkdir()
        rows += _routes(Path(root) / "router", times * 4)
    report("wake", rows)


def _wakes(platform: Platform, root: Path, times: int) -> list[Row]:
    rick = platform.set_up("rick@foobazco.com")
    copy = rick.app("sleepy")
    copy.commit(abrupt("one"))
    copy.push()
    copy.answers("one")
    copy.oriel("ps:idle", "--after", "1m")
    # Sooner than the command allows, so that a run takes a minute.
    with sqlite3.connect(platform.data / "oriel.db", timeout=10) as database:
        database.execute("update app_idling set after_s = 1")
    bare_s = median(lambda: _bare_s(copy), times)
    wake_s = median(lambda: _wake_s(platform, copy), times)
    most_s = 1.2 * bare_s + 0.1
    return [
        Row("bare start-up of the app to its first answer", bare_s, "s"),
        Row(
            "request of an idle app to its answer",
            wake_s,
            "s",
            f"at most 1.2 x bare + 0.1 = {most_s:.3f} s",
            wake_s <= most_s,
            {"bare start-up": bare_s},
        ),
    ]


def _bare_s(copy: AppCopy) -> float:
    port = free_port()
    env = {"PATH": "/usr/bin:/bin", "PORT": str(port), "DYNO": "web.1"}
    begun = time.monotonic()
    process = subprocess.Popen(
        ["/bin/bash", "-c", "exec python3 server.py"], cwd=copy.path, env=env
    )
    try:
        _first_answer(f"http://127.0.0.1:{port}/", {}, "one")
        return time.monotonic() - begun
    finally:
        process.terminate()
        process.wait()


def _wake_s(platform: Platform, copy: AppCopy) -> float:
    eventually(lambda: copy.states() == {"web.1": "idle"}, within_s=60, pause_s=0.5)
    begun = time.monotonic()
    status, _ = copy.get()
    took = time.monotonic() - begun
    if status != 200:
        raise SystemExit(f"the idle app answered {status}")
    return took


def _routes(directory: Path, times: int) -> list[Row]:
    house = House(directory)
    try:
        took_s = asyncio.run(_changes(house, times))
    finally:
        house.close()
    most_s = max(took_s)
    return [
        Row(
            f"change of one of {APPS} apps' routes to its first answer, longest of {times}",
            most_s * 1e3,
            "ms",
            "within 200 ms",
            most_s <= 0.2,
        ),
        Row("the same, median", statistics.median(took_s) * 1e3, "ms"),
    ]


async def _changes(house: House, times: int) -> list[float]:
    dynos = [house.dyno(f"dyno-{number}") for number in range(2)]
    apps = [
        app(
            f"app-{number}",
            _server(number, dynos[0].port),
            hosts=(f"app-{number}.localhost", f"www.app-{number}.example.com"),
        )
        for number in range(APPS)
    ]
    router = house.router()
    await router.start(table(*apps))
    await asyncio.to_thread(house.start_proxy)
    await router.apply(table(*apps))
    took_s = []
    for turn in range(1, times + 1):
        number, wanted = turn * 17 % APPS, f"dyno-{turn % 2}"
        apps[number] = app(
            f"app-{number}",
            _server(1000 + turn, dynos[turn % 2].port),
            hosts=apps[number].hosts,
        )
        begun = time.monotonic()
        change = asyncio.create_task(router.apply(table(*apps)))
        while True:
            client = Client(house.port, f"www.app-{number}.example.com")
            _, body = await client.get()
            client.close()
            if body == wanted:
                took_s.append(time.monotonic() - begun)
                break
            await asyncio.sleep(0.002)
        await change
    await router.close()
    return took_s


def _server(number: int, port: int) -> Server:
    return Server("web.1", f"{number:08x}" + "0" * 24, "127.0.0.1", port)


if __name__ == "__main__":
    main()
