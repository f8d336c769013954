"""Logplex, control and `oriel up` are killed in turn while dynos write: every line, once."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel import faults
from oriel.logplex.client import Logplex, Query
from tests.story.platform import AppCopy, Platform, User, eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

WRITER = """
import os, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
n = 0
while not told:
    for _ in range(100):
        os.write(1, b"%08d " % n + b"x" * (n % 197) + b"\\n")
        n += 1
    time.sleep(0.01)
os.write(1, b"wrote %d\\n" % n)
"""

BRIEF = """
import os, time
time.sleep(3)
os.write(1, b"".join(b"last words %04d %s\\n" % (n, b"x" * 80) for n in range(520)))
os._exit(1)
"""

GRANDCHILD = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    while True:
        os.write(1, b"a grandchild\\n")
        time.sleep(0.2)
time.sleep(1.5)
os.write(1, b"the last word")
os._exit(1)
"""

PROCFILE = """
writer: python3 writer.py
brief: python3 brief.py
parent: python3 parent.py
"""

KILLS = ("logplex", "control", "logplex", "up", "logplex", "control")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    whole = Platform(tmp_path_factory.mktemp("logkills"))
    whole.start()
    try:
        yield whole
    finally:
        whole.stop()


@pytest.fixture(scope="module")
def app(rick: User) -> AppCopy:
    made = rick.app("talker")
    made.commit(
        {"Procfile": PROCFILE, "writer.py": WRITER, "brief.py": BRIEF, "parent.py": GRANDCHILD}
    )
    made.push()
    return made


def _channel(platform: Platform) -> str:
    (found,) = [each.name for each in (platform.data / "channels").iterdir() if each.is_dir()]
    return found


def _read(platform: Platform, ps: str) -> list[str]:
    """What a process said, straight from logplex."""

    async def play() -> list[str]:
        client = Logplex(platform.data / "run" / "logplex.sock")
        query = Query(lines=None, ps=(ps,))
        parts = [each.text async for each in client.read(_channel(platform), query)]
        return [each.partition(" ")[2] for each in b"".join(parts).decode().splitlines()]

    return asyncio.run(play())


def _kill(platform: Platform, part: str) -> None:
    if part == "up":
        platform.kill("up")
        platform.start()
        eventually(lambda: _holds_all(platform), what="logplex reads every FIFO")
        return
    pid = platform.pid(part)
    platform.kill(part)
    eventually(lambda: platform.pid(part) != pid, what=f"{part} again")
    # One at a time: with all three dead at once, nobody would hold the FIFOs.
    platform.is_ready()
    eventually(lambda: _holds_all(platform), what="logplex reads every FIFO")


def _holds_all(platform: Platform) -> bool:
    async def play() -> bool:
        client = Logplex(platform.data / "run" / "logplex.sock")
        try:
            return set(await client.inlets()) >= {each.name for each in _instances(platform)}
        except faults.Fault:
            return False
        finally:
            await client.close()

    return asyncio.run(play())


def _play(platform: Platform, app: AppCopy, kills: list[str]) -> None:
    chance = random.Random(2011)
    names = [f"writer.{number}" for number in range(1, 5)]
    before = {name: len(_read(platform, name)) for name in names}
    app.oriel("ps:scale", "writer=4")
    app.settles("up", *names)
    for part in kills:
        time.sleep(chance.random() * 0.5)
        _kill(platform, part)
    platform.is_ready()
    app.oriel("ps:scale", "writer=0")
    eventually(lambda: not app.states(), what="no dynos")
    told = "\n".join(_read(platform, "logplex"))
    for name in names:

        def ended(name: str = name) -> list[str]:
            said = _read(platform, name)[before[name] :]
            return said if "Process exited" in "".join(said[-2:]) else []

        said = eventually(ended, what=f"{name} has ended")
        mine = [each.partition(": ")[2] for each in said if each.startswith("app[")]
        count = int(mine[-1].removeprefix("wrote "))
        lost = sum(map(int, re.findall(rf"Error L12: (\d+) messages .*\({name},", told)))
        whole = [f"{n:08d} {'x' * (n % 197)}" for n in range(count)]
        if not lost:
            assert mine[:-1] == whole
        else:
            kept = [each for each in mine[:-1] if each in set(whole)]
            assert kept == sorted(set(kept))
            assert len(kept) + lost == count


def test_each_part_is_killed_while_4_dynos_write(platform: Platform, app: AppCopy) -> None:
    _play(platform, app, list(KILLS))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_100_kills_while_4_dynos_write(platform: Platform, app: AppCopy) -> None:
    _play(platform, app, list(KILLS) * 17)


def _instances(platform: Platform) -> set[Path]:
    return set((platform.data / "dynos").iterdir())


@pytest.mark.parametrize("part", ["logplex", "control", "up"])
def test_50_kb_and_exit_1_while_a_part_is_dead(platform: Platform, app: AppCopy, part: str) -> None:
    before = _instances(platform)
    earlier = len(_read(platform, "brief"))
    app.oriel("ps:scale", "brief=1")
    # Its record is written once it runs. Killed before that, control would start it only after
    # its own return, and that is held back here.
    (dyno,) = eventually(
        lambda: {each for each in _instances(platform) - before if (each / "record.json").exists()},
        what="brief.1 runs",
    )
    assert platform.up
    if part == "up":
        platform.kill("up")
    else:
        # `oriel up` would start it again at once: it must not, until the dyno has ended.
        os.kill(platform.up.pid, signal.SIGSTOP)
        platform.kill(part)
    try:
        eventually(lambda: _has_ended(dyno), what="its end")
    finally:
        if part == "up":
            platform.start()
        else:
            os.kill(platform.up.pid, signal.SIGCONT)
        platform.is_ready()

    def told() -> list[str]:
        try:
            said = _read(platform, "brief")[earlier:]
        except faults.Unavailable:
            return []
        ends = [at for at, each in enumerate(said) if "Process exited" in each]
        return said[: ends[0] + 1] if ends else []

    said = eventually(told, what="its exit")
    words = [each for each in said if each.startswith("app[")]
    assert words, said
    assert words == [f"app[brief.1]: last words {n:04d} {'x' * 80}" for n in range(520)]
    assert said[-1] == "heroku[brief.1]: Process exited with status 1"
    app.oriel("ps:scale", "brief=0")
    eventually(lambda: "brief.1" not in app.states(), what="brief.1 is gone")


def _has_ended(dyno: Path) -> bool:
    """Whether the instance is over; where all it needs is alive, it is cleared away at once."""
    try:
        return "exit-code" in (dyno / "status").read_text()
    except FileNotFoundError:
        return not dyno.exists()


def test_a_grandchild_holds_nothing_up(platform: Platform, app: AppCopy) -> None:
    app.oriel("ps:scale", "parent=1")

    def told() -> list[str]:
        said = _read(platform, "parent.1")
        return said if any("Process exited with status 1" in each for each in said) else []

    said = eventually(told, what="its exit")
    app.oriel("ps:scale", "parent=0")
    exit_at = said.index("heroku[parent.1]: Process exited with status 1")
    assert "app[parent.1]: the last word" in said[:exit_at]
    assert "app[parent.1]: a grandchild" in said[:exit_at]
