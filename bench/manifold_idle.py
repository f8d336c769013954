"""What do 200 dynos in 40 apps cost that do nothing? CPU and memory of all that is Oriel's.

Counted are `oriel up`, control, its spawner, logplex, HAProxy and the two bubblewraps of each
dyno; not the apps' programs. The bar for memory is held against the sum of every process's Rss,
which counts pages that they share many times; their Pss, which counts them once, is beside it.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

from bench.dynos import Town, cpu_by_role, memory_by_role, oriels, town, until
from bench.harness import Row, report

APPS = 40
DYNOS = 5
FILES = {
    "Procfile": "web: exec python3 -S web.py\nworker: exec sleep 1000000\n",
    "web.py": (
        "import os, socket\n"
        "door = socket.create_server(('0.0.0.0', int(os.environ['PORT'])))\n"
        "while True:\n"
        "    door.accept()[0].close()\n"
    ),
}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/manifold-idle", description=__doc__)
    parser.add_argument("--long", action="store_true", help="idle for two minutes rather than 20 s")
    idle_s = 120.0 if parser.parse_args().long else 20.0
    with town() as platform:
        report("manifold-idle", _measure(platform, idle_s))


def _measure(platform: Town, idle_s: float) -> list[Row]:
    names = [f"idle-{number}" for number in range(APPS)]
    platform.apps(names, FILES)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: platform.scale(name, web=1, worker=DYNOS - 1), names))
    until(lambda: all(platform.all_up(name, DYNOS) for name in names), pause_s=0.5)
    time.sleep(3.0)  # what starting brought with it has passed
    processes = oriels(platform.platform)
    before, begun = cpu_by_role(processes), time.monotonic()
    time.sleep(idle_s)
    after, took_s = cpu_by_role(processes), time.monotonic() - begun
    used = {role: 100 * (after[role] - before[role]) / took_s for role in after}
    dynos = APPS * DYNOS
    rss, pss = memory_by_role(processes, "Rss"), memory_by_role(processes, "Pss")
    most = 250 + 6 * dynos
    total = sum(rss.values())
    return [
        Row(
            f"CPU, {dynos} dynos in {APPS} apps idle for {took_s:.0f} s",
            sum(used.values()),
            "% of a core",
            "at most 2 %",
            sum(used.values()) <= 2,
            used,
        ),
        Row(
            f"memory, {len(processes)} processes, sum of Rss",
            total,
            "MB",
            f"at most 250 + 6 a dyno = {most} MB",
            total <= most,
            rss,
        ),
        Row("the same, sum of Pss", sum(pss.values()), "MB", None, None, pss),
    ]


if __name__ == "__main__":
    main()
