"""What pasta gives the dynos of an ordinary user: a port that leads in, and an end with them.

Root's dynos have another kind of network: `test_ordinary_user` runs these as somebody else.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from oriel.faults import Unavailable
from oriel.manifold.launcher import Launched, LaunchSpec
from oriel.sandbox import Confinement, Exit, Overlay, Sandboxes
from tests.manifold.local.test_attacks import CONNECT, SERVE, at, needs_network, printed, put
from tests.manifold.test_launcher_contract import UID, Hand, LocalBench, Story, opened

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.getuid() == 0, reason="root needs no pasta"),
]
Tell = Callable[[Story], None]
END_S = 5.0


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    def run(story: Story) -> None:
        async def whole() -> None:
            async with opened("local", tmp_path) as bench:
                hand = Hand(bench)
                needs_network(hand)
                await story(hand)

        asyncio.run(whole())

    return run


def pasta_of(hand: Hand, spec: LaunchSpec) -> int:
    """A pidfd of the pasta of an instance."""
    assert isinstance(hand.bench, LocalBench)
    status = (hand.bench.data / "dynos" / spec.instance / "status").read_text()
    pids = [json.loads(line).get("network") for line in status.splitlines() if line]
    return os.pidfd_open(next(pid for pid in pids if pid))


async def ended(pasta: int) -> bool:
    return bool((await asyncio.to_thread(select.select, [pasta], [], [], END_S))[0])


async def hello(where: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*where)
    said = await asyncio.wait_for(reader.read(), END_S)
    writer.close()
    return said


async def serving(hand: Hand) -> LaunchSpec:
    put(hand, "serve.py", SERVE)
    web = await hand.start("exec python3 serve.py", "web")
    await hand.says(web, "listens")
    return web


def test_its_port_is_the_machine_s_and_no_other_dyno_s(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        where = at(hand, await serving(hand))
        assert await hello(where) == b"hello from web.1"
        program = f"{CONNECT}\nprint(tried(socket.AF_INET, {where!r}))"
        assert await printed(hand, program) == "ECONNREFUSED\n"

    tell(story)


def test_a_connection_is_accepted_before_it_listens_and_it_is_known(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        deaf = await hand.start("echo up; sleep 1000", "web")
        await hand.says(deaf, "up")
        spec = (await hand.bench.launcher.adopt())[0]
        assert spec.launched.fronted
        assert await hello(at(hand, deaf)) == b""
        assert await hand.bench.launcher.listening(deaf.instance) == ()
        web = await serving(hand)
        found = await hand.bench.launcher.listening(web.instance)
        assert [each.port for each in found] == [at(hand, web)[1]]
        worker = await hand.start("sleep 1000")
        assert not hand.bench.launcher.place(worker).fronted

    tell(story)


@pytest.mark.parametrize("how", ["exit", "kill", "adopted"])
def test_pasta_ends_with_its_dyno(tell: Tell, how: str) -> None:
    async def story(hand: Hand) -> None:
        web = await serving(hand)
        pasta = pasta_of(hand, web)
        if how == "adopted":
            await hand.bench.desert()
            hand = Hand(hand.bench)
            await hand.bench.launcher.adopt()
            assert await hello(at(hand, web)) == b"hello from web.1"
        if how == "exit":
            await hand.bench.launcher.terminate(web.instance)
        else:
            await hand.bench.launcher.kill(web.instance)
        assert await hand.end_of(web) == Exit.of(143 if how == "exit" else 137)
        assert await ended(pasta)
        os.close(pasta)

    tell(story)


@pytest.mark.parametrize("adopted", [False, True])
def test_a_dyno_whose_pasta_is_gone_does_not_seem_to_run(tell: Tell, adopted: bool) -> None:
    async def story(hand: Hand) -> None:
        web = await serving(hand)
        pasta = pasta_of(hand, web)
        if adopted:
            assert isinstance(hand.bench, LocalBench)
            await hand.bench._sandboxes.close()
        signal.pidfd_send_signal(pasta, signal.SIGKILL)
        assert await ended(pasta)
        if adopted:
            await hand.bench.desert()
            hand = Hand(hand.bench)
            await hand.bench.launcher.adopt()
        assert await hand.end_of(web) == Exit.of(137)
        os.close(pasta)

    tell(story)


def test_a_port_that_somebody_took_is_said(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("exit 0", "web")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            here = Launched("127.0.0.1", taken.getsockname()[1], fronted=True)
            again = LaunchSpec(**{**{n: getattr(spec, n) for n in spec.__slots__}, "instance": "x"})
            with pytest.raises(Unavailable, match="pasta: Failed to bind any port"):
                await hand.bench.launcher.start(again, here)
        await hand.bench.launcher.clean("x")

    tell(story)


def test_a_build_reaches_the_index_that_was_named_and_nothing_beside(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"you said " + await reader.readline())
        writer.close()

    async def story() -> None:
        sandboxes = Sandboxes(tmp_path)
        await sandboxes.start()
        if sandboxes.taps is None:
            pytest.skip(sandboxes.capabilities.network_why)
        servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(2)]
        named, other = [each.sockets[0].getsockname()[1] for each in servers]
        program = f"""
import socket
for host in ("localhost", "127.0.0.1"):
    s = socket.create_connection((host, {named}), 5); s.sendall(b"hello\\n")
    print(s.makefile().read(), end="")
print(socket.socket().connect_ex(("127.0.0.1", {other})))
"""
        read, write = os.pipe()
        what = Confinement(
            argv=("/usr/bin/python3", "-c", program),
            env={},
            uid=UID,
            overlay=Overlay(None),
            reach=(named,),
        )
        status = tmp_path / "status"
        running = await sandboxes.launch(
            what, stdin=None, stdout=write, stderr=None, status_path=status
        )
        os.close(write)
        await running.wait()
        with os.fdopen(read) as said:
            assert said.read().split("\n") == ["you said hello", "you said hello", "111", ""]
        for each in servers:
            each.close()
        await sandboxes.close()

    asyncio.run(story())
