"""Logplex is killed, stopped and started while dynos write at full speed: each line, once."""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel import faults
from oriel.clock import SystemClock
from oriel.control.overflow import Overflow
from oriel.logplex.client import Logplex
from tests.logplex.conftest import Plex

WRITERS = 4
ALL = {"max_bytes": 1 << 40, "max_age_s": 366 * 86400, "rate_bytes": 1 << 40}

_WRITER = """
import os, signal, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
n = 0
while not told:
    os.write(fd, b"%s %08d " % (sys.argv[2].encode(), n) + b"x" * (n % 397) + b"\\n")
    n += 1
print(n)
"""


class Writers:
    """Processes that write numbered lines as fast as they can."""

    def __init__(self, plex: Plex, count: int = WRITERS) -> None:
        self.names = [f"w{number}" for number in range(count)]
        for name in self.names:
            os.close(plex.dyno(name, f"{name}.1", "c1"))
        self._started = [
            subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(plex.data / "dynos" / name / "out"), name],
                stdout=subprocess.PIPE,
            )
            for name in self.names
        ]

    def stop(self) -> dict[str, int]:
        """How many lines each wrote. Somebody must read meanwhile."""
        for each in self._started:
            each.terminate()
        return {
            name: int(each.communicate(timeout=60)[0])
            for name, each in zip(self.names, self._started, strict=True)
        }


def line(name: str, number: int) -> str:
    return f"app[{name}.1]: {name} {number:08d} {'x' * (number % 397)}"


async def kept(plex: Plex, name: str) -> list[str]:
    return await plex.read("c1", ps=(f"{name}.1",))


def _kills(plex: Plex, kills: int) -> None:
    chance = random.Random(2011)

    async def story() -> None:
        writers = Writers(plex)
        plex.start()
        await plex.ready()
        await plex.client.policy("c1", ALL)
        last = 0
        for number in range(kills):
            # A platform line now and then: its answer may be lost, it is sent again.
            last += 1
            act = {"id": last, "source": "heroku", "ps": "api", "text": f"act {last:04d}"}
            sent = asyncio.create_task(_until_kept(plex, act))
            await asyncio.sleep(chance.random() * 0.03)
            # Every fifth is an upgrade: told to stop, and another one started.
            plex.kill(signal.SIGTERM if number % 5 == 4 else signal.SIGKILL)
            plex.start()
            await sent
        await plex.ready()
        counts = writers.stop()
        for name in writers.names:
            await plex.client.drain(name)
        for name, count in counts.items():
            said = await kept(plex, name)
            assert len(said) == count
            for number, found in enumerate(said):
                assert found == line(name, number)
        acts = await plex.read("c1", ps=("api",))
        assert acts == [f"heroku[api]: act {each:04d}" for each in range(1, last + 1)]
        raw = [each.text async for each in plex.client.read("c1", _all())]
        times = [each[:32] for part in raw for each in part.splitlines()]
        assert times == sorted(times)

    plex.run(story)


def _all() -> object:
    from oriel.logplex.client import Query

    return Query(lines=None)


async def _until_kept(plex: Plex, act: dict[str, object]) -> None:
    while True:
        try:
            await plex.client.append("c1", [act])
            return
        except faults.Unavailable:
            await asyncio.sleep(0.002)


@pytest.mark.real
@pytest.mark.timeout(180)
def test_20_kills_and_upgrades_under_4_writers(plex: Plex) -> None:
    _kills(plex, 20)


@pytest.mark.real
@pytest.mark.timeout(180)
def test_10_kills_with_a_clock_that_steps_backwards(plex: Plex) -> None:
    plex.module = "tests.logplex.stepping"
    _kills(plex, 10)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_100_kills_under_4_writers(plex: Plex) -> None:
    _kills(plex, 100)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_100_kills_with_a_clock_that_steps_backwards(plex: Plex) -> None:
    plex.module = "tests.logplex.stepping"
    _kills(plex, 100)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root; the form with RLIMIT_FSIZE is in test_process")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "oriel-test", str(place)], check=False
    )
    if done.returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.real
@pytest.mark.timeout(120)
def test_a_disk_that_fills_up_holds_and_loses_nothing(disk: Path) -> None:
    """The policy is to block, and nothing may be removed: the dynos wait until there is room."""
    plex = Plex(disk / "data")

    async def story() -> None:
        # What is left is less than a log keeps even below the floor of free space.
        (disk / "ballast").write_bytes(bytes(17 * 1024 * 1024))
        plex.start()
        await plex.ready()
        await plex.client.policy("c1", {**ALL, "flood": "block"})
        writers = Writers(plex)
        for name in writers.names:
            await plex.client.open(name)
        while not (await plex.client.status())["blocked"]:
            await asyncio.sleep(0.01)
        # Killed while its disk is full, and started on a full disk.
        plex.kill()
        plex.start()
        status = await plex.ready()
        while not status["blocked"]:
            status = await plex.client.status()
        assert status["why_blocked"] == {"c1": "No space left on device"}
        for each in writers._started:
            each.terminate()
        (disk / "ballast").unlink()
        counts = writers.stop()
        for name in writers.names:
            await plex.client.drain(name)
            said = await kept(plex, name)
            assert said == [line(name, number) for number in range(counts[name])]

    try:
        plex.run(story)
    finally:
        plex.close()


async def _dropping(plex: Plex, control: Overflow, name: str) -> None:
    for _ in range(4000):
        await control.look()
        if "being thrown away" in control.reason(name):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("nothing was thrown away")


def _whole(said: list[str], name: str) -> list[int]:
    """The numbers of the lines that are whole; what is not is the beginning of one."""
    numbers = []
    for each in said:
        match = re.fullmatch(rf"app\[{name}\.1\]: {name} (\d{{8}}) (x*)", each)
        if match and each == line(name, int(match[1])):
            numbers.append(int(match[1]))
        else:
            assert line(name, numbers[-1] + 1 if numbers else 0).startswith(each)
    return numbers


def _counted_loss(plex: Plex, cause: str) -> None:
    async def story() -> None:
        control = Overflow(
            plex.data / "dynos", Logplex(plex.client._path), SystemClock(), hold_s=0.1
        )
        plex.start()
        await plex.ready()
        await plex.client.policy("c1", ALL)
        writers = Writers(plex, 2)
        for name in writers.names:
            await plex.client.open(name)
        # Control has to have met the policy before: one it does not know, it waits for.
        await control.look()
        if cause == "killed":
            await asyncio.sleep(0.05)
            plex.kill()
        else:
            assert plex.process
            hard = resource.prlimit(plex.process.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(plex.process.pid, resource.RLIMIT_FSIZE, (400_000, hard))
        for name in writers.names:
            await _dropping(plex, control, name)
        for _ in range(20):
            await control.look()
            await asyncio.sleep(0.01)
        if cause == "killed":
            plex.start()
        else:
            resource.prlimit(plex.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await plex.ready()
        while any("being thrown" in control.reason(name) for name in writers.names):
            await control.look()
            await asyncio.sleep(0.01)
        counts = writers.stop()
        for name in writers.names:
            await plex.client.drain(name)
        told = "\n".join(await plex.read("c1", ps=("logplex",)))
        for name in writers.names:
            lost = re.findall(rf"Error L12: (\d+) messages dropped since \S+ \({name}\.1,", told)
            assert len(lost) == 1
            numbers = _whole(await kept(plex, name), name)
            assert numbers == sorted(set(numbers))
            assert len(numbers) + int(lost[0]) == counts[name]
            assert f"output was thrown away (L12): {lost[0]} messages" in control.reason(name)
        await control.close()

    plex.run(story)


@pytest.mark.real
@pytest.mark.timeout(120)
@pytest.mark.parametrize("cause", ["killed", "full disk"])
def test_what_cannot_be_taken_is_thrown_away_and_counted_to_the_line(
    plex: Plex, cause: str
) -> None:
    _counted_loss(plex, cause)


@pytest.mark.real
@pytest.mark.timeout(60)
def test_with_the_policy_block_nothing_is_thrown_away(plex: Plex) -> None:
    async def story() -> None:
        control = Overflow(plex.data / "dynos", Logplex(plex.client._path), SystemClock(), hold_s=0)
        plex.start()
        await plex.ready()
        await plex.client.policy("c1", {**ALL, "flood": "block"})
        writers = Writers(plex, 1)
        await plex.client.open("w0")
        await control.look()
        plex.kill()
        for _ in range(20):
            await control.look()
            await asyncio.sleep(0.01)
        assert control.reason("w0") == "waits: its output cannot be taken (logs:policy block)"
        plex.start()
        await plex.ready()
        counts = writers.stop()
        await plex.client.drain("w0")
        assert await kept(plex, "w0") == [line("w0", number) for number in range(counts["w0"])]
        assert control.reason("w0") != ""
        await control.look()
        assert control.reason("w0") == ""
        await control.close()

    plex.run(story)


@pytest.mark.real
@pytest.mark.timeout(60)
def test_a_control_that_dies_while_it_throws_away_is_not_waited_for(plex: Plex) -> None:
    async def story() -> None:
        control = Overflow(plex.data / "dynos", Logplex(plex.client._path), SystemClock(), hold_s=0)
        plex.start()
        await plex.ready()
        await plex.client.policy("c1", ALL)
        writers = Writers(plex, 1)
        await plex.client.open("w0")
        await control.look()
        plex.kill()
        await _dropping(plex, control, "w0")
        # As a kill does: its descriptors close, and nothing else happens.
        for watched in control._watched.values():
            if watched.note:
                watched.note.let_go()
            os.close(watched.fd)
        plex.start()
        await plex.ready()
        counts = writers.stop()
        await plex.client.drain("w0")
        told = "\n".join(await plex.read("c1", ps=("logplex",)))
        lost = re.findall(r"Error L12: (\d+) messages", told)
        numbers = _whole(await kept(plex, "w0"), "w0")
        assert len(lost) == 1
        assert len(numbers) + int(lost[0]) == counts["w0"]

    plex.run(story)
