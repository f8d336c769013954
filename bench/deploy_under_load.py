"""Does a release cost a request? Deploys and rollbacks with preboot while requests come.

The app ends at once at SIGTERM, so whatever it still had to do would be lost. Beside the latency
under releases: the same of the same app when nothing happens.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from bench.harness import Row, report
from tests.story.load import Load, abrupt
from tests.story.platform import AppCopy, Platform

RATE_PER_S = 500
QUIET_S = 5.0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/deploy-under-load", description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="deploys, and as many rollbacks")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        os.chmod(root, 0o755)
        platform = Platform(Path(root) / "platform")
        platform.start()
        try:
            report("deploy-under-load", _measure(platform, times))
        finally:
            platform.stop()


def _measure(platform: Platform, times: int) -> list[Row]:
    rick = platform.set_up("rick@foobazco.com")
    app = rick.app("loaded")
    _commit(app, 0)
    app.push()
    app.oriel("ps:scale", "web=2")
    app.oriel("features:enable", "preboot")
    app.settles("up", "web.1", "web.2")
    app.answers("version-0")
    with Load(platform.web_port, "loaded.localhost", RATE_PER_S) as load:
        time.sleep(1)
        quiet_from = time.monotonic()
        time.sleep(QUIET_S)
        from_ = time.monotonic()
        for number in range(1, times + 1):
            _commit(app, number)
            app.push()
        deployed = time.monotonic()
        for _ in range(times):
            app.oriel("rollback")
        until = time.monotonic()
        app.settles("up", "web.1", "web.2")
        time.sleep(1)  # The last ones that leave are still being left.
    versions = len({what for what in load.seen if what.startswith("200 ")})
    quiet = load.percentile_s(0.99, quiet_from, from_) * 1e3
    quiet_most = load.percentile_s(1.0, quiet_from, from_) * 1e3
    failed = sum(load.failures.values())
    if load.failures:
        print(load.failures)
    made = [took for at, took in load.took_s if quiet_from <= at < until]
    rows = [
        Row("failed requests", failed, "", "0", failed == 0),
        Row("requests made", load.count, ""),
        Row("requests made a second", len(made) / (until - quiet_from), "1/s"),
        Row("versions that answered", versions, ""),
        Row("p50 while nothing happens", load.percentile_s(0.5, quiet_from, from_) * 1e3, "ms"),
    ]
    for what, begin, end in (("deploys", from_, deployed), ("rollbacks", deployed, until)):
        for name, part, beside in (("p99", 0.99, quiet), ("longest", 1.0, quiet_most)):
            value = load.percentile_s(part, begin, end) * 1e3
            figure = f"{name} during {times} {what}"
            rows.append(Row(figure, value, "ms", peers={"while nothing happens": beside}))
        rows.append(Row(f"one of the {what}", (end - begin) / times, "s"))
    return rows


def _commit(app: AppCopy, number: int) -> None:
    app.commit(abrupt(f"version-{number}"))


if __name__ == "__main__":
    main()
