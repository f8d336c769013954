"""Receivers that refuse, hang, fail and are killed, and a logplex that is: no line is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.logplex.client import Logplex
from oriel.logplex.drains import drain as drains
from oriel.logplex.process import SOCKET

from .conftest import FAST, Bench, Receiver, Sink, play, until

KILLS = 50


def first_times(said: list[str]) -> list[str]:
    """Every line where it came first; repetitions are allowed, gaps and swaps are not."""
    return list(dict.fromkeys(each for each in said if each.startswith("n ")))


async def killing(
    receiver: Receiver | Sink, times: int, dice: random.Random, each_lines: int = 0
) -> None:
    """Kill a receiver and bring it back, again and again; after so many more lines each time."""
    for number in range(times):
        if isinstance(receiver, Receiver):
            due = number * each_lines
            await until(lambda due=due: receiver.lines >= due, timeout_s=300)  # type: ignore[misc]
        await asyncio.sleep(dice.uniform(0.0, 0.05))
        await receiver.stop()
        await asyncio.sleep(dice.uniform(0.0, 0.02))
        await receiver.start()


@pytest.mark.parametrize(
    ("total", "kills"), [(40_000, 12), pytest.param(1_000_000, KILLS, marks=pytest.mark.long)]
)
@pytest.mark.timeout(900)
def test_an_http_receiver_at_its_worst(bench: Bench, total: int, kills: int) -> None:
    dice = random.Random(7)
    bench.times = replace(FAST, answer_s=1.0)

    class Moody(list[int | str]):
        """Answers at random, for as long as it is told to."""

        on = True

        def __bool__(self) -> bool:
            return self.on

        def pop(self, _: object = 0) -> int | str:
            return dice.choices([200, 500, 429, "close", "hang"], [60, 15, 10, 10, 1])[0]

    async def story(bench: Bench) -> None:
        moody = Moody()
        receiver = await Receiver(script=moody).start()
        await bench.add(f"http://127.0.0.1:{receiver.port}/")
        job = asyncio.create_task(killing(receiver, kills, dice, total // (kills + 1)))
        for at in range(0, total, 1000):
            bench.say(*[f"n {number}" for number in range(at, at + 1000)])
            bench.hurry()
            await asyncio.sleep(0)
        while not job.done():
            bench.hurry()
            await asyncio.sleep(0.01)
        moody.on = False
        bench.hurry()
        await until(
            lambda: receiver.requests[-1].body.endswith(f"n {total - 1}\n".encode()), "all", 300
        )
        assert first_times(receiver.taken) == [f"n {number}" for number in range(total)]
        ids: dict[str, bytes] = {}
        for each in receiver.requests:
            assert ids.setdefault(each.frame_id, each.body) == each.body
        answered = [each.frame_id for each in receiver.requests if each.answer == "200"]
        assert len(answered) - len(set(answered)) <= kills, "only lost answers are repeated"
        assert (await bench.told())["lost"] == 0
        await receiver.stop()

    play(bench, story, 800)


@pytest.mark.timeout(300)
def test_a_syslog_receiver_that_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    total = 30_000
    dice = random.Random(7)
    monkeypatch.setattr(drains.machine, "RETRY_MAX_S", 0.05)

    async def story(bench: Bench) -> None:
        sink = await Sink().start()
        await bench.add(f"syslog://127.0.0.1:{sink.port}")
        job = asyncio.create_task(killing(sink, 15, dice))
        for at in range(0, total, 500):
            bench.say(*[f"n {number}" for number in range(at, at + 500)])
            await asyncio.sleep(0.01)
        await job
        bench.say("n last")
        await until(lambda: sink.connections[-1].endswith(b"n last\n"), "all", 60)
        assert first_times(sink.texts) == [*(f"n {number}" for number in range(total)), "n last"]
        assert (await bench.told())["lost"] == 0
        await sink.stop()

    play(bench, story, 200)


@pytest.mark.parametrize("scheme", ["http", "syslog"])
@pytest.mark.timeout(300)
def test_a_logplex_that_is_killed(tmp_path: Path, scheme: str) -> None:
    data, total, dice = tmp_path / "data", 60, random.Random(7)
    argv = [sys.executable, "-m", "oriel.logplex.process", "--data", str(data)]
    argv += ["--allow-egress", "127.0.0.1"]

    async def ready(client: Logplex) -> None:
        for _ in range(4000):
            try:
                await client.status()
                return
            except Exception:
                await asyncio.sleep(0.005)
        raise AssertionError("logplex does not answer")

    async def story() -> None:
        receiver = await (Receiver() if scheme == "http" else Sink()).start()
        client = Logplex(data / SOCKET)
        process = subprocess.Popen(argv)
        try:
            await ready(client)
            ids = [str(uuid.uuid4()), str(uuid.uuid4())]
            await client.add_drain("c", f"{scheme}://127.0.0.1:{receiver.port}", *ids)
            for batch in range(total):
                lines = [
                    {
                        "id": batch * 100 + n + 1,
                        "source": "app",
                        "ps": "w",
                        "text": f"n {batch}.{n}",
                    }
                    for n in range(100)
                ]
                if batch % 8 == 7:
                    await asyncio.sleep(dice.uniform(0, 0.08))
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait()
                    process = subprocess.Popen(argv)
                    await ready(client)
                await client.append("c", lines)
            wanted = [f"n {batch}.{n}" for batch in range(total) for n in range(100)]

            def said() -> list[str]:
                return receiver.taken if isinstance(receiver, Receiver) else receiver.texts

            await until(lambda: wanted[-1] in said()[-1:], "all", 60)
            assert first_times(said()) == wanted
            assert (await client.drains("c"))[0]["lost"] == 0
        finally:
            await client.close()
            process.kill()
            process.wait()
            await receiver.stop()

    asyncio.run(asyncio.wait_for(story(), 250))
