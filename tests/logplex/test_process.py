"""A real logplex, killed for real."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oriel import faults
from oriel.clock import SystemClock
from oriel.logplex import wire
from oriel.logplex.datagrams import open_socket
from oriel.logplex.limits import Limits
from oriel.logplex.shelf import Shelf
from tests.logplex.conftest import BOOT, Plex


def fetched(plex: Plex) -> socket.socket:
    """The router's socket, as an adopting `oriel up` asks for it."""
    path = plex.data / "run" / "logplex.sock"
    with socket.socket(socket.AF_UNIX) as door, wire.address(path) as name:
        door.connect(name)
        door.sendall(b'{"op":"router-socket"}\n')
        answer, fds, _, _ = socket.recv_fds(door, 100, 2)
    assert answer == b'{"ok":true}\n'
    return socket.socket(fileno=fds[0])


def test_lines_of_a_dyno_can_be_read_after_it_is_drained(plex: Plex) -> None:
    async def story() -> None:
        plex.start()
        await plex.ready()
        fd = plex.dyno("i1", "web.1", "c1")
        await plex.client.open("i1")
        os.write(fd, b"one\ntwo\nthree")
        os.close(fd)
        assert await plex.client.drain("i1") == 13
        assert await plex.client.drain("i1") == 0
        line = {"id": 1, "source": "heroku", "ps": "web.1", "text": "Process exited with status 1"}
        assert await plex.client.append("c1", [line]) == 1
        assert await plex.client.append("c1", [line]) == 1
        assert await plex.read("c1") == [
            "app[web.1]: one",
            "app[web.1]: two",
            "app[web.1]: three",
            "heroku[web.1]: Process exited with status 1",
        ]
        plex.kill(signal.SIGTERM)
        plex.start()
        await plex.ready()
        assert len(await plex.read("c1")) == 4

    plex.run(story)


_WRITER = """
import os, signal, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
n = 0
while not told:
    os.write(fd, b"%s %08d " % (sys.argv[2].encode(), n) + b"x" * (n % 97) + b"\\n")
    n += 1
print(n)
"""


def _writer(plex: Plex, instance: str, name: str) -> subprocess.Popen[bytes]:
    path = plex.data / "dynos" / instance / "out"
    argv = [sys.executable, "-c", _WRITER, str(path), name]
    return subprocess.Popen(argv, stdout=subprocess.PIPE)


def _told(writer: subprocess.Popen[bytes]) -> int:
    writer.terminate()
    said, _ = writer.communicate(timeout=60)
    return int(said)


def _kills(plex: Plex, kills: int) -> None:
    chance = random.Random(2011)

    async def story() -> None:
        for name in ("w1", "w2"):
            os.close(plex.dyno(name, f"{name}.1", "c1"))
        plex.start()
        await plex.ready()
        writers = {name: _writer(plex, name, name) for name in ("w1", "w2")}
        last = 0
        for _ in range(kills):
            # A platform line now and then: its answer may be lost, it is sent again.
            last += 1
            line = {"id": last, "source": "heroku", "ps": "api", "text": f"act {last:04d}"}
            sent = asyncio.create_task(_until_kept(plex, line))
            await asyncio.sleep(chance.random() * 0.03)
            plex.kill()
            plex.start()
            await sent
        await plex.ready()
        # While it still reads, or a writer would wait for a full FIFO for ever.
        counts = {name: _told(writer) for name, writer in writers.items()}
        for name in writers:
            await plex.client.drain(name)
        for name, count in counts.items():
            said = await plex.read("c1", ps=(f"{name}.1",))
            assert len(said) == count
            for number, line in enumerate(said):
                assert line == f"app[{name}.1]: {name} {number:08d} {'x' * (number % 97)}"
        acts = await plex.read("c1", sources=("heroku",))
        assert acts == [f"heroku[api]: act {each:04d}" for each in range(1, last + 1)]

    plex.run(story)


async def _until_kept(plex: Plex, line: dict[str, object]) -> None:
    while True:
        try:
            await plex.client.append("c1", [line])
            return
        except faults.Unavailable:
            await asyncio.sleep(0.002)


@pytest.mark.real
def test_20_kills_lose_no_line_and_double_none(plex: Plex) -> None:
    _kills(plex, 20)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_100_kills_lose_no_line_and_double_none(plex: Plex) -> None:
    _kills(plex, 100)


@pytest.mark.real
def test_last_words_said_while_logplex_was_down_are_there_before_the_exit(plex: Plex) -> None:
    async def story() -> None:
        plex.start()
        fd = plex.dyno("i1", "web.1", "c1", 7)
        await plex.ready()
        await plex.client.open("i1")
        os.write(fd, b"up\n")
        plex.kill()
        # 50 KB and away, with nobody to read it but `oriel up` that holds the FIFO.
        words = "import os; os.write(1, b'last words\\n' * 4545 + b'Traceback'); os._exit(1)"
        ended = await asyncio.create_subprocess_exec(sys.executable, "-c", words, stdout=fd)
        os.close(fd)
        assert await ended.wait() == 1
        plex.start()
        await plex.ready()
        await plex.client.drain("i1")
        text = "Process exited with status 1"
        line = {"id": 1, "source": "heroku", "ps": "web.1", "text": text, "release": 7}
        await plex.client.append("c1", [line])
        said = await plex.read("c1")
        assert said == [
            "app[web.1]: up",
            *["app[web.1]: last words"] * 4545,
            "app[web.1]: Traceback",
            f"heroku[web.1]: {text}",
        ]

    plex.run(story)


@pytest.mark.real
def test_a_full_disk_loses_nothing_and_holds_up_no_other_channel(plex: Plex) -> None:
    async def story() -> None:
        plex.start()
        big, small = plex.dyno("big", "web.1", "c1"), plex.dyno("small", "web.1", "c2")
        await plex.ready()
        for instance in ("big", "small"):
            await plex.client.open(instance)
        assert plex.process
        hard = resource.prlimit(plex.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(plex.process.pid, resource.RLIMIT_FSIZE, (20_000, hard))
        for number in range(5000):
            os.write(big, b"line %d\n" % number)
        while not (await plex.client.status())["blocked"]:
            await asyncio.sleep(0.005)
        os.write(small, b"not held up\n")
        while await plex.read("c2") != ["app[web.1]: not held up"]:
            await asyncio.sleep(0.005)
        with pytest.raises(faults.Unavailable):
            await plex.client.drain("big")
        act = {"id": 1, "source": "heroku", "ps": "api", "text": "x" * 200}
        with pytest.raises(faults.Unavailable):
            await plex.client.append("c1", [act])
        resource.prlimit(plex.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        while (await plex.client.status())["blocked"]:
            await asyncio.sleep(0.005)
        await plex.client.drain("big")
        await plex.client.append("c1", [act])
        said = await plex.read("c1")
        assert said[:-1] == [f"app[web.1]: line {number}" for number in range(5000)]
        os.close(big)
        os.close(small)

    plex.run(story)


@pytest.mark.real
def test_router_lines_wait_in_the_socket_while_logplex_is_dead(plex: Plex) -> None:
    async def story() -> None:
        held = open_socket()
        os.set_inheritable(held.fileno(), True)
        plex.pass_fds = (held.fileno(),)
        plex.start()
        await plex.ready()
        await plex.client.append("c1", [{"id": 1, "source": "heroku", "ps": "api", "text": "x"}])
        plex.kill()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
            for number in range(300):
                frame = f'<158>1 t h haproxy 1 - [oriel channel="c1"] at=info n={number}'
                router.sendto(frame.encode(), held.getsockname())
            other = b'<158>1 t h haproxy 1 - [oriel channel="no-such"] at=info'
            router.sendto(other, held.getsockname())
            router.sendto(b"rubbish", held.getsockname())
        plex.start()
        status = await plex.ready()
        while status["router"]["kept"] < 300:  # type: ignore[index]
            status = await plex.client.status()
        assert status["router"] == {  # type: ignore[comparison-overlap]
            "port": status["router"]["port"],  # type: ignore[index]
            "kept": 300,
            "waiting": 0,
            "unknown_channel": 1,
            "heads_bad": 0,
            "heads_slow": 0,
            "heads_cut": 0,
            "malformed": 1,
            "kernel_dropped": 0,
            "disk_dropped": 0,
        }
        said = await plex.read("c1", ps=("router",))
        assert said == [f"heroku[router]: at=info n={number}" for number in range(300)]
        assert await plex.read("no-such-channel") == []
        with fetched(plex) as again:
            assert again.getsockname() == held.getsockname()
        held.close()

    plex.run(story)


def test_only_one_logplex_has_a_data_directory(plex: Plex, tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf(plex.data / "channels", Limits(), SystemClock(), BOOT, lock_wait_s=0.05)
        plex.start()
        await plex.ready()
        with pytest.raises(faults.Conflict, match="Another logplex"):
            await shelf.start()
        await shelf.close()

    plex.run(story)


def test_a_bad_start_ends_with_a_sentence(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("a file")
    argv = [sys.executable, "-m", "oriel.logplex.process", "--data", str(data)]
    ended = subprocess.run(argv, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert b"logplex cannot start" in ended.stderr
    assert b"Traceback" not in ended.stderr
