"""How long does a year take? A formation's releases, crashes, cycling, scaling, sleep, memory and
kills of control through 365 days, by a stepped clock: the story of tests/manifold/test_year.py.

All of it is Oriel's own work: the machine, the record in SQLite, the conductor. The fake host
starts nothing. Shown is the processor's time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.harness import Row, median, report
from tests.manifold.stage import Stage, opened
from tests.manifold.test_year import live

BAR_S = 10.0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/manifold-year", description=__doc__)
    parser.add_argument("--long", action="store_true", help="three times as many years")
    runs = 9 if parser.parse_args().long else 3
    year_s = median(_year_s, runs)
    bar = f"at most {BAR_S:.0f} s"
    report("manifold-year", [Row("a year of a formation", year_s, "s", bar, year_s <= BAR_S)])


def _year_s() -> float:
    with (
        tempfile.TemporaryDirectory(prefix="oriel-bench-") as root,
        opened(Path(root) / "oriel.db") as db,
    ):
        began_s = time.process_time()
        happened = asyncio.run(_live(Stage(db)))
        took_s = time.process_time() - began_s
    print(", ".join(f"{count} {what}" for what, count in sorted(happened.items())))
    return took_s


async def _live(stage: Stage) -> Counter[str]:
    await stage.begin()
    happened = await live(stage)
    await stage.kill()
    return happened


if __name__ == "__main__":
    main()
