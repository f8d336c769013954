"""Many connections that do nothing, and a few that are all there may be."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from .conftest import House, app, table, until
from .crowd import Crowd, latencies_ms, many_files, p99
from .rush import quick_app

pytestmark = pytest.mark.real


def resident_mb(pid: int) -> float:
    said = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", said)[1]) / 1024  # type: ignore[index]


def current(house: House) -> int:
    return int(re.search(r"CurrConns: (\d+)", house.ask("show info"))[1])  # type: ignore[index]


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(1000, 1.5), pytest.param(10_000, 10, marks=[pytest.mark.long, pytest.mark.timeout(300)])],
)
def test_connections_that_do_nothing_slow_nobody(
    house: House, tmp_path: Path, count: int, seconds: float
) -> None:
    with many_files(2 * count + 2000), quick_app(tmp_path / "app") as quick:
        house.serve(
            table(app("idle", quick.server()), app("busy", quick.server())), head_timeout_s=60,
            idle_timeout_s=60,
        )  # fmt: skip

        def busy() -> float:
            return p99(latencies_ms(house.port, "busy.localhost", seconds))

        # Where the limit of open files cannot be raised, all but a few of what it allows.
        most = int(re.search(r"\nMaxconn: (\d+)", house.ask("show info"))[1])  # type: ignore[index]
        count = min(count, most - 50)
        worker = house.worker()
        before_mb = resident_mb(worker)
        quiet = busy()
        with Crowd(house.port, count) as crowd:
            until(lambda: current(house) >= count, "all are there")
            silent = busy()
            crowd.ask("idle.localhost")
            kept = busy()
            with crowd.trickling("idle.localhost"):
                loris = busy()
            assert current(house) >= count
            after_mb = resident_mb(worker)
    print(
        f"\n{count:,} connections, p99 of another app's requests: quiet {quiet:.2f} ms,"
        f" beside silent ones {silent:.2f} ms, beside kept ones {kept:.2f} ms,"
        f" beside slow loris {loris:.2f} ms; HAProxy {before_mb:.0f} MB -> {after_mb:.0f} MB"
    )
    # A tenth of a second is an outage for nobody; the figures are printed.
    assert max(silent, kept, loris) < max(100.0, 20 * quiet)
    assert after_mb - before_mb < 50 + count * 0.05


def test_a_head_that_does_not_end_is_cut_off(house: House) -> None:
    house.serve(table(app("foo", house.server(house.dyno("x")))), head_timeout_s=1)
    with Crowd(house.port, 50) as crowd, crowd.trickling("foo.localhost", 0.1):
        begun = time.monotonic()
        answers = [each.recv(65536) for each in crowd.members]
        assert 0.5 < time.monotonic() - begun < 5
    assert all(each.startswith(b"HTTP/1.1 408 ") for each in answers)


def test_when_all_connections_are_taken_others_wait_and_routes_still_change(house: House) -> None:
    """The policy at the limit: nobody is refused, who comes then waits until one is free."""

    async def story() -> None:
        router = house.router(connections_max=40, head_timeout_s=2)
        await router.start(table(app("foo", house.server(house.dyno("old")))))
        await asyncio.to_thread(house.start_proxy)
        with Crowd(house.port, 60) as crowd, crowd.trickling("foo.localhost", 0.1):
            begun = time.monotonic()
            waiting = asyncio.create_task(asyncio.to_thread(house.get, "foo.localhost"))
            await router.apply(table(app("foo", house.server(house.dyno("new")))))
            assert time.monotonic() - begun < 0.5
            assert not waiting.done()
            # It waited behind all of them, and meets the newest route.
            answer = await waiting
            assert (answer.status, answer.body) == (200, "new")
            assert time.monotonic() - begun > 1
        await router.close()

    asyncio.run(story())
