"""Only retention makes loss: counted to the line, told to the drain and in the channel."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from oriel.logplex.drains import drain as drains
from oriel.logplex.limits import Limits

from .conftest import HASTY, Bench, Receiver, Sink, play, until

TOLD = re.compile(
    r"Error L10 \(output buffer overflow\): (\d+) messages dropped since \S+\+00:00\."
)


def small(path: Path) -> Bench:
    return Bench(path, limits=Limits(segment_bytes=2000, sync_interval_s=30))


def _first(bench: Bench) -> drains.Drain:
    return next(iter(bench.roster._drains.values()))


async def remove_oldest(bench: Bench, count: int) -> None:
    for number in bench.channel.segments()[:count]:
        assert await bench.shelf.remove("c", number, "test")


def say(bench: Bench, first: int, last: int) -> None:
    for number in range(first, last + 1):
        bench.say(f"line {number}")


def split(taken: list[str]) -> tuple[list[int], int]:
    """The numbers of lines that arrived, and how many it was told are lost."""
    numbers = [int(each.split()[1]) for each in taken if each.startswith("line ")]
    return numbers, sum(int(match[1]) for each in taken if (match := TOLD.fullmatch(each)))


def test_what_retention_took_from_a_waiting_drain(tmp_path: Path) -> None:
    bench = small(tmp_path)

    async def story(bench: Bench) -> None:
        receiver = Receiver(script=[200])
        await receiver.start()
        await bench.add(f"http://127.0.0.1:{receiver.port}/")
        say(bench, 1, 10)
        await until(lambda: len(receiver.taken) >= 10)
        port = receiver.port
        await receiver.stop()
        say(bench, 11, 1000)
        await until(lambda: _first(bench).state.health.failures > drains.HELD_FAILURES)
        await remove_oldest(bench, 4)
        receiver.port = port
        await receiver.start()
        bench.hurry()
        await until(lambda: "line 1000" in receiver.taken)
        numbers, lost = split(receiver.taken)
        assert numbers[:10] == list(range(1, 11))
        assert numbers[10:] == list(range(1001 - len(numbers) + 10, 1001))
        assert lost == 1000 - len(numbers) > 0
        told = await bench.answered()
        assert told["lost"] == lost
        assert told["delivered"] >= len(numbers)
        token = told["token"]
        assert f"drain '{token}' dropped {lost} messages since" in bench.in_channel()
        assert len([each for each in receiver.taken if TOLD.fullmatch(each)]) == 1
        await receiver.stop()

    play(bench, story)


def test_what_it_took_while_logplex_was_away_or_killed(tmp_path: Path) -> None:
    bench = small(tmp_path)
    bench.times = HASTY

    async def story() -> None:
        receiver = Receiver(script=["hang"] * 100)
        await receiver.start()
        await bench.start()
        await bench.add(f"http://127.0.0.1:{receiver.port}/")
        say(bench, 1, 500)
        await until(lambda: receiver.requests)
        await remove_oldest(bench, 2)
        await bench.kill()
        await bench.start()
        await until(lambda: _first(bench).state.lost_total, "the loss is counted")
        first = _first(bench).state.lost_total
        await bench.kill()
        await bench.start()
        await remove_oldest(bench, 2)
        await bench.kill()
        receiver.script.clear()
        await bench.start()
        await until(lambda: "line 500" in receiver.taken)
        numbers, lost = split(receiver.taken)
        assert numbers == list(range(501 - len(numbers), 501))
        assert lost == 500 - len(numbers) > first > 0
        assert (await bench.answered())["lost"] == lost
        await bench.stop()
        await receiver.stop()

    asyncio.run(asyncio.wait_for(story(), 60))


def test_over_tcp(tmp_path: Path) -> None:
    bench = small(tmp_path)

    async def story(bench: Bench) -> None:
        sink = await Sink().start()
        await bench.add(f"syslog://127.0.0.1:{sink.port}")
        port = sink.port
        await sink.stop()
        say(bench, 1, 500)
        await until(lambda: _first(bench).state.health.failures >= 2)
        await remove_oldest(bench, 3)
        sink.port = port
        await sink.start()
        bench.hurry()
        await until(lambda: "line 500" in sink.texts)
        numbers, lost = split(sink.texts)
        assert numbers == list(range(501 - len(numbers), 501))
        assert lost == 500 - len(numbers) > 0
        sink.cut()
        bench.say("line 501")
        await until(lambda: "line 501" in sink.texts)
        assert (await bench.told())["lost"] == lost
        await sink.stop()

    play(bench, story)


def test_an_interrupted_batch_whose_lines_are_gone(tmp_path: Path) -> None:
    """The answer was lost with us, and then the lines: what can still be said is said."""
    bench = small(tmp_path)

    async def story() -> None:
        receiver = Receiver(script=["hang"])
        await receiver.start()
        await bench.start()
        await bench.add(f"http://127.0.0.1:{receiver.port}/")
        say(bench, 1, 100)
        await until(lambda: receiver.requests)
        await bench.kill()
        await bench.start()
        drain = _first(bench)
        say(bench, 101, 300)
        await remove_oldest(bench, len(bench.channel.segments()) - 1)
        await until(lambda: "line 300" in receiver.taken)
        numbers, lost = split(receiver.taken)
        assert numbers[-1] == 300
        assert len(numbers) + lost >= 300
        assert drain.state.lost_total == lost
        await bench.stop()
        await receiver.stop()

    asyncio.run(asyncio.wait_for(story(), 60))
