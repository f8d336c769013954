"""Syslog receivers over TCP, TLS and UDP: no answers, and still each line at least once."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.logplex.drains import drain as drains
from oriel.logplex.drains import window as windows
from oriel.logplex.drains.stream import UNANSWERED_MAX
from tests.egress.authority import Authority

from .conftest import FAST, Bench, Sink, _whole, frames, play, until


def lines(first: int, last: int) -> list[str]:
    return [f"line {number}" for number in range(first, last + 1)]


def once_in_order(said: list[str]) -> list[str]:
    """Without repetitions; fails when something new comes before what was left out."""
    seen: dict[str, None] = {}
    for each in said:
        seen.setdefault(each)
    return list(seen)


def _first(bench: Bench) -> drains.Drain:
    return next(iter(bench.roster._drains.values()))


def test_frames_over_tcp(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        sink = await Sink().start()
        made = await bench.add(f"syslog://127.0.0.1:{sink.port}")
        bench.say("one", "two")
        await until(lambda: sink.texts == ["one", "two"])
        packet = frames(_whole(bytes(sink.connections[0])))[0]
        head = packet.split(b" ")
        assert head[0] == b"<190>1"
        assert head[2:7] == [made["token"].encode(), b"app", b"web.1", b"-", b"-"]
        said = await bench.ask("drain-test", drain=made["token"], text="?")
        assert (said["taken"], said["answer"]) == (True, "sent and read")
        await sink.stop()

    play(bench, story)


def test_udp(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(5)
            made = await bench.add(f"syslog+udp://127.0.0.1:{receiver.getsockname()[1]}")
            bench.say("one", "two")
            got = [await asyncio.to_thread(receiver.recv, 65536) for _ in range(2)]
        assert [each.split(b" - - ")[1] for each in got] == [b"one", b"two"]
        assert got[0].startswith(b"<190>1 ")
        assert f" {made['token']} app web.1 - - ".encode() in got[0]
        bench.say("three")
        await until(lambda: _first(bench).state.delivered >= 3)
        bench.say("four")  # Nobody is there any more: the kernel tells at the next one.
        await asyncio.sleep(0.1)

    play(bench, story)


def test_a_cut_connection_loses_nothing(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        sink = await Sink().start()
        await bench.add(f"syslog://127.0.0.1:{sink.port}")
        for at in range(0, 20_000, 500):
            bench.say(*lines(at, at + 499))
            if at % 2000 == 0:
                sink.cut()
            await asyncio.sleep(0.005)
        await until(lambda: "line 19999" in sink.texts)
        assert once_in_order(sink.texts) == lines(0, 19_999)
        assert (await bench.told())["lost"] == 0
        await sink.stop()

    play(bench, story)


def test_what_a_kill_of_ours_left_unsure_is_said_again(bench: Bench) -> None:
    async def story() -> None:
        sink = await Sink().start()
        await bench.start()
        await bench.add(f"syslog://127.0.0.1:{sink.port}")
        bench.say(*lines(1, 100))
        await until(lambda: len(sink.texts) == 100)
        await bench.kill()
        await bench.start()
        bench.say(*lines(101, 200))
        await until(lambda: "line 200" in sink.texts)
        assert once_in_order(sink.texts) == lines(1, 200)
        # An orderly stop learns that all was read: nothing is said twice.
        count = len(sink.texts)
        await bench.stop()
        await bench.start()
        bench.say("line 201")
        await until(lambda: "line 201" in sink.texts)
        assert len(sink.texts) == count + 1
        await bench.stop()
        await sink.stop()

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_receiver_that_reads_nothing_is_given_up_and_tried_again(bench: Bench) -> None:
    bench.times = replace(FAST, stall_s=0.3)

    async def story(bench: Bench) -> None:
        sink = await Sink(deaf=True).start()
        await bench.add(f"syslog://127.0.0.1:{sink.port}")
        for at in range(0, 120_000, 10_000):
            bench.say(*[f"{each} {'x' * 100}" for each in lines(at, at + 9_999)])
        await until(lambda: _first(bench).state.health.failures > 0, "it stalls")
        assert "nothing was taken" in (await bench.told())["answer"]
        sink.deaf = False
        bench.hurry()
        await until(lambda: b"line 119999 " in sink.connections[-1][-1000:], "all of it")
        said = [each.split(" x")[0] for each in sink.texts]
        assert once_in_order(said) == lines(0, 119_999)
        await sink.stop()

    play(bench, story)


def test_a_receiver_that_hangs_up_at_once_costs_little(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        met = 0

        def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal met
            met += 1
            writer.transport.abort()

        server = await asyncio.start_server(meet, "127.0.0.1", 0)
        await bench.add(f"syslog://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        began_s = time.monotonic()
        bench.say("one")
        await until(lambda: met >= 4)
        # 0.1, 0.2, 0.4 s, each less a fifth at most.
        assert time.monotonic() - began_s >= 0.56
        server.close()

    play(bench, story)


def test_it_hangs_up_when_idle_or_old_and_comes_back(bench: Bench) -> None:
    bench.times = replace(FAST, idle_s=0.1, age_s=0.3)

    async def story(bench: Bench) -> None:
        sink = await Sink().start()
        await bench.add(f"syslog://127.0.0.1:{sink.port}")
        bench.say("one")
        await until(lambda: sink.connections and not sink._writers, "it hung up")
        for number in range(2, 30):
            bench.say(str(number))
            await asyncio.sleep(0.02)
        await until(lambda: sink.texts[-1:] == ["29"])
        assert sink.texts == ["one", *map(str, range(2, 30))]
        assert len(sink.connections) >= 3
        assert (await bench.told())["retries"] == 0
        await sink.stop()

    play(bench, story)


@pytest.mark.parametrize("scheme", ["syslog+tls", "https"])
def test_a_wrong_certificate_is_told_as_l14(tmp_path: Path, scheme: str) -> None:
    authority = Authority(tmp_path)
    bench = Bench(tmp_path / "data", ca=authority.ca)

    async def story(bench: Bench) -> None:
        wrong = await Sink(context=authority.server("elsewhere.example")).start()
        await bench.add(f"{scheme}://u:secret@127.0.0.1:{wrong.port}")
        bench.say("one")
        await until(lambda: _first(bench).state.health.failures >= 3)
        said = bench.in_channel()
        assert said.count("Error L14 (certificate validation): error=") == 1
        assert f'uri="{scheme}://u:****@127.0.0.1:{wrong.port}"' in said
        assert "mismatch" in said
        assert not any(wrong.connections)
        await wrong.stop()

    play(bench, story)
    bench.dialer.close()


def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    bench = Bench(tmp_path / "data", ca=authority.ca)

    async def story(bench: Bench) -> None:
        good = await Sink(context=authority.server("127.0.0.1")).start()
        wrong = await Sink(context=authority.server("elsewhere.example")).start()
        await bench.add(f"syslog+tls://127.0.0.1:{good.port}")
        await bench.add(f"syslog+tls://127.0.0.1:{wrong.port}#insecure")
        bench.say(*lines(1, 3000))
        await until(lambda: len(good.texts) == 3000)
        await until(lambda: len(wrong.texts) == 3000)
        assert good.texts == wrong.texts == lines(1, 3000)
        good.cut()
        bench.say("more")
        await until(lambda: "more" in good.texts)
        assert once_in_order(good.texts) == [*lines(1, 3000), "more"]
        await good.stop()
        await wrong.stop()

    play(bench, story)
    bench.dialer.close()


class Hung:
    """A receiver that stopped: its machine takes what its buffer holds, and nobody reads it."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.setblocking(False)
        self.port = self._door.getsockname()[1]
        self.lines: list[socket.socket] = []

    async def serve(self) -> None:
        while True:
            line, _ = await asyncio.get_running_loop().sock_accept(self._door)
            self.lines.append(line)

    def kill(self) -> None:
        for each in [*self.lines, self._door]:
            each.close()


def quickly(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """What takes half a minute, in less."""
    for name, value in {"UNSURE_S": 0.2, **seconds}.items():
        monkeypatch.setattr(windows, name, value)


def test_what_a_hung_receiver_never_read_is_said_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    bench.times = replace(FAST, read_s=0.2)

    async def story(bench: Bench) -> None:
        hung = Hung()
        job = asyncio.create_task(hung.serve())
        await bench.add(f"syslog://127.0.0.1:{hung.port}")
        bench.say(*lines(1, 100))
        await until(lambda: _first(bench).state.health.failures, "it is asked, and says nothing")
        told = await bench.told()
        assert (told["state"], told["delivered"]) == ("retrying", 0)
        assert told["answer"] == "it did not read to the end in 0.2 s"
        job.cancel()
        hung.kill()
        sink = await Sink(port=hung.port).start()
        bench.hurry()
        await until(lambda: "line 100" in sink.texts, "again, though nothing new was said")
        assert sink.texts == lines(1, 100)
        await sink.stop()

    play(bench, story)


def test_a_stop_in_the_middle_of_a_goodbye_takes_nothing_for_granted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    bench.times = replace(FAST, read_s=20.0, bye_s=0.2)

    async def story() -> None:
        hung = Hung()
        job = asyncio.create_task(hung.serve())
        await bench.start()
        await bench.add(f"syslog://127.0.0.1:{hung.port}")
        bench.say(*lines(1, 10))
        await until(lambda: hung.lines)
        await asyncio.to_thread(_read_to_the_end, hung.lines[0])  # Now it has said goodbye.
        await bench.stop()
        job.cancel()
        hung.kill()
        sink = await Sink(port=hung.port).start()
        await bench.start()
        await until(lambda: sink.texts == lines(1, 10), "they come again")
        await bench.stop()
        await sink.stop()

    asyncio.run(asyncio.wait_for(story(), 30))


def _read_to_the_end(line: socket.socket) -> None:
    line.setblocking(True)
    while line.recv(65536):
        pass


def test_a_receiver_that_never_hangs_up_is_believed_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    bench.times = replace(FAST, read_s=0.1)
    monkeypatch.setattr(drains.machine, "RETRY_MAX_S", 0.05)

    async def story(bench: Bench) -> None:
        said: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got = bytearray()
            while data := await reader.read(65536):
                got += data
            said.append(bytes(got))
            await over.wait()
            writer.close()

        over = asyncio.Event()
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        await bench.add(f"syslog://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        bench.say("one")
        await until(lambda: _first(bench).state.delivered == 1, "it is believed")
        assert len(said) == UNANSWERED_MAX
        over.set()
        server.close()

    play(bench, story)


@pytest.mark.parametrize(("fresh_s", "said"), [(0.0, ["one", "two"]), (5.0, ["one", "one", "two"])])
def test_a_receiver_that_hangs_up_when_idle_gets_nothing_twice_but_what_it_had_just_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fresh_s: float, said: list[str]
) -> None:
    monkeypatch.setattr(drains, "FRESH_S", fresh_s)

    async def story(bench: Bench) -> None:
        sink = await Sink().start()
        await bench.add(f"syslog://127.0.0.1:{sink.port}")
        bench.say("one")
        await until(lambda: sink.texts == ["one"])
        for each in list(sink._writers):
            each.close()
        await until(lambda: _first(bench).state.delivered == 1 or len(sink.texts) == 2)
        bench.say("two")
        await until(lambda: "two" in sink.texts)
        assert sink.texts == said
        assert (await bench.told())["retries"] == len(said) - 2
        await sink.stop()

    play(bench, story)


@pytest.mark.parametrize("tls", [False, True])
def test_a_stop_in_the_middle_of_a_batch_says_nothing_twice(tmp_path: Path, tls: bool) -> None:
    authority = Authority(tmp_path)
    bench = Bench(tmp_path / "data", ca=authority.ca)

    async def story() -> None:
        sink = await Sink(context=authority.server("127.0.0.1") if tls else None).start()
        await bench.start()
        await bench.add(f"syslog{'+tls' if tls else ''}://127.0.0.1:{sink.port}")
        for at in range(0, 40_000, 1000):
            bench.say(*lines(at, at + 999))
            if at % 8000 == 0:
                await asyncio.sleep(0.003)
                await bench.stop()
                await bench.start()
        await until(lambda: "line 39999" in sink.texts[-1:])
        assert sink.texts == lines(0, 39_999)
        await bench.stop()
        await sink.stop()

    asyncio.run(asyncio.wait_for(story(), 60))
    bench.dialer.close()
