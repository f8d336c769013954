"""The black-box cases of Logplex's own drain suites (heroku-facts B8.8, B8.9), each by its name.

Where Heroku drops what was not taken, here it waits: the case is played, and the answer is ours.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.logplex.drains import drain as drains
from oriel.logplex.drains import machine
from oriel.logplex.limits import Limits
from tests.egress.authority import Authority

from .conftest import FAST, Bench, Receiver, Sink, play, until


def lines(first: int, last: int) -> list[str]:
    return [f"line {number}" for number in range(first, last + 1)]


def _first(bench: Bench) -> drains.Drain:
    return next(iter(bench.roster._drains.values()))


def _lose(bench: Bench, count: int) -> None:
    """As after retention took `count` lines that had not been sent."""
    state = _first(bench).state
    state.lost += count
    state.lost_total += count
    state.lost_since_us = state.lost_at_us = bench._now_us()


async def _on(bench: Bench, script: list[int | str]) -> Receiver:
    receiver = await Receiver(script=script).start()
    await bench.add(f"http://127.0.0.1:{receiver.port}/")
    return receiver


def test_b8_8a_15_messages_and_3_lost_are_one_request(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = await _on(bench, [])
        _lose(bench, 3)
        bench.say(*lines(1, 15))
        await until(lambda: receiver.requests)
        said = receiver.requests[0]
        assert "3 messages dropped since " in said.texts[0]
        assert said.body.split(b" ", 2)[1] == b"<172>1"
        assert said.texts[1:] == lines(1, 15)
        assert said.headers["logplex-msg-count"] == "16"
        await receiver.stop()

    play(bench, story)


def test_b8_8b_404_then_200_drops_nothing(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = await _on(bench, [404])
        _lose(bench, 3)
        bench.say(*lines(1, 15))
        await until(lambda: _first(bench).state.health.state == machine.PAUSED)
        bench.say(*lines(16, 18))
        bench.hurry()
        await until(lambda: "line 18" in receiver.taken)
        assert "3 messages dropped since " in receiver.taken[0]
        assert [each for each in receiver.taken if each.startswith("line")] == lines(1, 18)
        assert receiver.requests[0].frame_id == receiver.requests[1].frame_id
        await receiver.stop()

    play(bench, story)


@pytest.mark.parametrize("status", [429, 500])
def test_b8_8cd_three_failures_and_more_are_tried_again(bench: Bench, status: int) -> None:
    async def story(bench: Bench) -> None:
        receiver = await _on(bench, [status] * 5)
        _lose(bench, 3)
        bench.say(*lines(1, 15))
        await until(lambda: len(receiver.taken) == 16)
        assert len(receiver.requests) == 6
        assert len({each.frame_id for each in receiver.requests}) == 1
        assert "3 messages dropped since " in receiver.taken[0]
        bench.say("after")
        await until(lambda: receiver.taken[-1] == "after")
        assert receiver.requests[-1].texts == ["after"], "a loss is told once"
        await receiver.stop()

    play(bench, story)


def test_b8_8e_five_messages_to_a_404_and_one_ok(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = await _on(bench, [404])
        bench.say(*lines(1, 5))
        await until(lambda: _first(bench).state.health.state == machine.PAUSED)
        bench.hurry()
        await until(lambda: len([t for t in receiver.taken if t.startswith("line")]) == 5)
        assert (await bench.answered())["lost"] == 0
        await receiver.stop()

    play(bench, story)


def test_b8_8f_a_buffer_that_dies_is_read_again(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = await _on(bench, [500])
        bench.say(*lines(1, 5))
        await until(lambda: receiver.requests)
        drain = _first(bench)
        drain._batch = None
        drain._reopen()
        await until(lambda: receiver.taken == lines(1, 5))
        await receiver.stop()

    play(bench, story)


def test_b8_8g_a_long_outage_keeps_everything_and_little_in_memory(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = await _on(bench, [503] * (drains.HELD_FAILURES + 1))
        bench.say(*lines(1, 3000))
        await until(lambda: _first(bench).state.health.failures > drains.HELD_FAILURES)
        assert _first(bench)._batch is None
        bench.hurry()
        await until(lambda: len(receiver.taken) == 3000)
        assert receiver.taken == lines(1, 3000)
        assert len({each.frame_id for each in receiver.requests if each.answer == "503"}) == 1
        await receiver.stop()

    play(bench, story)


def test_b8_8h_closes_on_max_age(bench: Bench) -> None:
    bench.times = replace(FAST, age_s=0.1)

    async def story(bench: Bench) -> None:
        receiver = await _on(bench, [])
        for number in range(8):
            bench.say(f"line {number}")
            await until(lambda n=number: len(receiver.taken) == n + 1)  # type: ignore[misc]
        assert receiver.connections >= 2
        assert receiver.taken == lines(0, 7)
        assert (await bench.answered())["retries"] == 0
        await receiver.stop()

    play(bench, story)


def _sink(tls: bool, tmp_path: Path) -> tuple[Sink, Bench, str]:
    if not tls:
        return Sink(), Bench(tmp_path / "data"), "syslog"
    authority = Authority(tmp_path)
    sink = Sink(context=authority.server("127.0.0.1"))
    return sink, Bench(tmp_path / "data", ca=authority.ca), "syslog+tls"


@pytest.mark.parametrize("tls", [False, True])
def test_b8_9_writes_and_flushes_what_is_pending_on_shutdown(tmp_path: Path, tls: bool) -> None:
    sink, bench, scheme = _sink(tls, tmp_path)

    async def story() -> None:
        await sink.start()
        await bench.start()
        await bench.add(f"{scheme}://127.0.0.1:{sink.port}")
        bench.say(*lines(1, 500))
        await until(lambda: sink.connections)
        await bench.stop()
        await bench.start()
        await until(lambda: "line 500" in sink.texts)
        assert list(dict.fromkeys(sink.texts)) == lines(1, 500)
        await bench.stop()
        await sink.stop()

    asyncio.run(asyncio.wait_for(story(), 30))
    bench.dialer.close()


@pytest.mark.parametrize("tls", [False, True])
def test_b8_9_closes_when_idle(tmp_path: Path, tls: bool) -> None:
    sink, bench, scheme = _sink(tls, tmp_path)
    bench.times = replace(FAST, idle_s=0.1)

    async def story(bench: Bench) -> None:
        await sink.start()
        await bench.add(f"{scheme}://127.0.0.1:{sink.port}")
        bench.say("one")
        await until(lambda: sink.connections and not sink._writers)
        await until(lambda: _first(bench).state.delivered == 1, "it knows that it was read")
        await sink.stop()

    play(bench, story)
    bench.dialer.close()


@pytest.mark.parametrize("tls", [False, True])
def test_b8_9_closes_when_old(tmp_path: Path, tls: bool) -> None:
    sink, bench, scheme = _sink(tls, tmp_path)
    bench.times = replace(FAST, age_s=0.1)

    async def story(bench: Bench) -> None:
        await sink.start()
        await bench.add(f"{scheme}://127.0.0.1:{sink.port}")
        said: list[str] = []
        while len(sink.connections) < 3:
            said.append(f"line {len(said)}")
            bench.say(said[-1])
            await asyncio.sleep(0.01)
        await until(lambda: sink.texts[-1:] == said[-1:])
        assert sink.texts == said
        assert (await bench.told())["retries"] == 0
        await sink.stop()

    play(bench, story)
    bench.dialer.close()


@pytest.mark.parametrize("scheme", ["syslog+tls", "https"])
def test_b8_9_a_chain_of_certificates_that_is_too_deep_is_l14(tmp_path: Path, scheme: str) -> None:
    authority = Authority(tmp_path, depth=10)
    bench = Bench(tmp_path / "data", ca=authority.ca)

    async def story(bench: Bench) -> None:
        sink = await Sink(context=authority.server("127.0.0.1")).start()
        await bench.add(f"{scheme}://127.0.0.1:{sink.port}")
        bench.say("one")
        said = 'Error L14 (certificate validation): error="certificate chain too long"'
        await until(lambda: said in bench.in_channel())
        assert not any(sink.connections)
        await sink.stop()

    play(bench, story)
    bench.dialer.close()


def test_b8_9_a_chain_of_nine_is_not_too_deep(tmp_path: Path) -> None:
    authority = Authority(tmp_path, depth=9)
    bench = Bench(tmp_path / "data", ca=authority.ca)

    async def story(bench: Bench) -> None:
        sink = await Sink(context=authority.server("127.0.0.1")).start()
        await bench.add(f"syslog+tls://127.0.0.1:{sink.port}")
        bench.say("one")
        await until(lambda: sink.texts == ["one"])
        await sink.stop()

    play(bench, story)
    bench.dialer.close()


def test_b8_9_exponential_back_off(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        sink = await Sink().start()
        port = sink.port
        await sink.stop()
        await bench.add(f"syslog://127.0.0.1:{port}")
        began_s = time.monotonic()
        bench.say("one")
        await until(lambda: _first(bench).state.health.failures >= 4)
        # 0.1, 0.2, 0.4 s, each less a fifth at most.
        assert time.monotonic() - began_s >= 0.56

    play(bench, story)


def test_b8_9_an_l10_on_recovery(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=Limits(segment_bytes=1000, sync_interval_s=30))

    async def story(bench: Bench) -> None:
        sink = await Sink().start()
        port = sink.port
        await sink.stop()
        await bench.add(f"syslog://127.0.0.1:{port}")
        for each in lines(1, 300):
            bench.say(each)
        await bench.shelf.remove("c", 1, "test")
        sink.port = port
        await sink.start()
        bench.hurry()
        await until(lambda: "line 300" in sink.texts)
        told = [each for each in sink.texts if "Error L10 (output buffer overflow): " in each]
        lost = 300 - len([each for each in sink.texts if each.startswith("line")])
        assert told[0].split(": ")[1].startswith(f"{lost} messages dropped since ")
        await sink.stop()

    play(bench, story)


def test_b8_9_hostname_mismatch_is_l14_and_insecure_skips_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    bench = Bench(tmp_path / "data", ca=authority.ca)

    async def story(bench: Bench) -> None:
        sink = await Sink(context=authority.server("elsewhere.example")).start()
        await bench.add(f"syslog+tls://127.0.0.1:{sink.port}")
        bench.say("one")
        await until(lambda: "Error L14 (certificate validation)" in bench.in_channel())
        assert sink.texts == []
        await bench.add(f"syslog+tls://127.0.0.1:{sink.port}/#insecure")
        bench.say("two")
        await until(lambda: "two" in sink.texts)
        await sink.stop()

    play(bench, story)
    bench.dialer.close()
