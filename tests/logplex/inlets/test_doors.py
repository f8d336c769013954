"""The ways in, through real sockets: what is kept, of whom, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from oriel import faults
from oriel.logplex.client import Query
from oriel.logplex.inlets.places import Place
from oriel.logplex.tokens import new_token
from tests.logplex.inlets.conftest import STAMP, Bench, Play, counted, packet

TCP = ("syslog", "127.0.0.1:0")


async def hung_up(reader: asyncio.StreamReader) -> bool:
    """Wait for the other side to close, in whichever way."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("framing", ["counted", "newline"])
def test_frames_go_where_their_token_says(play: Play, framing: str) -> None:
    async def story(bench: Bench) -> None:
        app, redis = await bench.token("c", "app"), await bench.token("c", "redis")
        other = await bench.token("d", "app")
        packets = [
            packet(app, "one"),
            packet(app, "two"),
            packet(redis, "three", "-"),
            packet(other, "four"),
            packet(new_token(), "nobody's"),
            packet(app, "five", "web.2"),
        ]
        data = counted(*packets) if framing == "counted" else b"\n".join(packets) + b"\n"
        await bench.send("syslog", data)
        door = await bench.until("syslog", frames=5, unknown_token=1)
        assert door["malformed"] == 0
        assert await bench.read("c") == [
            "app[web.1]: one",
            "app[web.1]: two",
            "redis: three",
            "app[web.2]: five",
        ]
        assert await bench.read("d") == ["app[web.1]: four"]
        assert await bench.read("c", ps=("web.2",)) == ["app[web.2]: five"]

    play(story, TCP)


def test_severity_facility_and_the_senders_time_are_kept(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        sent = packet(token, "disk is failing", priority=26)
        await bench.send("syslog", counted(sent))
        await bench.until("syslog", frames=1)
        (batch,) = [each async for each in bench.client.read("c", Query(format="json"))]
        line = json.loads(batch.text)
        assert (line["severity"], line["text"]) == (2, "disk is failing")
        assert (line["facility"], line["sent"]) == (3, STAMP)
        stored = next((bench.data / "channels" / "c").glob("*.log")).read_bytes()
        assert stored == sent + b"\n"

    play(story, TCP)


def test_a_listener_of_one_source_takes_whatever_comes(play: Play) -> None:
    async def story(bench: Bench) -> None:
        lines = (
            b"<134>Oct 11 22:14:15 box redis[123]: Ready to accept connections\n"
            b"<30>Oct 11 22:14:15 memcached: <10 new auto-negotiating client\n"
            b"<134>Oct 11 22:14:15 box postgres[9]: [3-1] LOG:  statement: select 1\n"
            b"only text\n"
        )
        await bench.send("syslog", lines + packet("sshd", "modern", "77") + b"\n")
        door = await bench.until("syslog", frames=5)
        assert door["malformed"] == 0
        assert await bench.read("shop") == [
            "db[redis]: Ready to accept connections",
            "db[memcached]: <10 new auto-negotiating client",
            "db[postgres]: [3-1] LOG:  statement: select 1",
            "db: only text",
            "db[sshd]: modern",
        ]

    play(story, ("syslog", "127.0.0.1:0=shop/db"))


def test_a_bad_frame_is_kept_marked_and_the_connection_goes_on(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        good = counted(packet(token, "good"))
        bad = b"99999999 lying\n16 \x1b[31mno frame!!!"
        await bench.send("syslog", good + bad + good)
        door = await bench.until("syslog", frames=4)
        assert door["malformed"] == 2
        assert await bench.read() == [
            "app[web.1]: good",
            "app[malformed]: 99999999 lying",
            "app[malformed]: ^[[31mno frame!!!",
            "app[web.1]: good",
        ]
        (batch,) = [
            each async for each in bench.client.read("c", Query(format="json", ps=("malformed",)))
        ]
        first = json.loads(batch.text.splitlines()[0])
        assert first["data"] == {"malformed": "length"}

    play(story, TCP)


def test_a_bad_frame_of_nobody_or_of_several_is_only_counted(play: Play) -> None:
    async def story(bench: Bench) -> None:
        one, two = await bench.token("c"), await bench.token("d")
        await bench.send("syslog", b"99999999 who am I\n")
        await bench.until("syslog", malformed=1, unknown_token=1)
        await bench.send(
            "syslog", counted(packet(one, "a"), packet(two, "b")) + b"99999999 which\n"
        )
        await bench.until("syslog", frames=2, malformed=2)
        assert await bench.read("c") == ["app[web.1]: a"]
        assert await bench.read("d") == ["app[web.1]: b"]

    play(story, TCP)


def test_a_name_of_a_process_looks_like_no_header_and_names_are_bounded(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        await bench.send("syslog", counted(packet(token, "x", "web.1]:\x1b[2Jheroku[api")))
        frames = [packet(token, "y", f"p{number}") for number in range(50)]
        await bench.send("syslog", counted(*frames))
        await bench.until("syslog", frames=51)
        said = await bench.read()
        assert said[0] == "app[web.1_:__2Jheroku_api]: x"
        assert said[-1] == "app[other]: y"
        assert len({line.partition(":")[0] for line in said}) == 11

    play(story, TCP, processes=10)


def test_a_revoked_token_writes_no_more_and_a_removed_channel_has_none(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        await bench.send("syslog", counted(packet(token, "a")))
        await bench.until("syslog", frames=1)
        assert await bench.client.revoke_token(token)
        assert not await bench.client.revoke_token(token)
        await bench.send("syslog", counted(packet(token, "b")))
        await bench.until("syslog", unknown_token=1)
        assert await bench.read() == ["app[web.1]: a"]
        gone = await bench.token("gone")
        await bench.client.forget("gone")
        await bench.send("syslog", counted(packet(gone, "c")))
        await bench.until("syslog", unknown_token=2)
        assert [each["name"] for each in await bench.client.channels()] == ["c"]
        with pytest.raises(faults.NotFound):
            await bench.client.create_token("gone", "app")

    play(story, TCP)


def test_udp(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        port = await bench.port("syslog-udp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(300):
                sender.sendto(packet(token, f"n{number}"), ("127.0.0.1", port))
            bsd = f"<13>Oct 11 22:14:15 {token} redis[1]: by host".encode()
            sender.sendto(bsd, ("127.0.0.1", port))
            sender.sendto(b"rubbish", ("127.0.0.1", port))
            sender.sendto(b"", ("127.0.0.1", port))
        await bench.until("syslog-udp", frames=301, unknown_token=1)
        said = await bench.read()
        assert said == [f"app[web.1]: n{number}" for number in range(300)] + ["app[redis]: by host"]

    play(story, ("syslog-udp", "127.0.0.1:0"))


def test_local_sockets(play: Play, tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        for kind, name in ((socket.SOCK_STREAM, "s"), (socket.SOCK_DGRAM, "d")):
            path = tmp_path / name
            assert path.stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX, kind) as sender:
                sender.connect(str(path))
                sender.sendall(packet(token, f"by {name}") + b"\0")
        await bench.until("unix", frames=1)
        await bench.until("unix-dgram", frames=1)
        assert sorted(await bench.read()) == ["app[web.1]: by d", "app[web.1]: by s"]

    play(story, ("unix", f"{tmp_path}/s"), ("unix-dgram", f"{tmp_path}/d"))
    assert not (tmp_path / "s").exists()
    (tmp_path / "s").write_text("precious")
    with pytest.raises(FileExistsError):
        Place.parse("unix", f"{tmp_path}/s").socket()
    assert (tmp_path / "s").read_text() == "precious"


def test_one_that_says_nothing_is_closed_and_there_are_only_so_many(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        port = await bench.port("syslog")
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await bench.until("syslog", connections=3)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        await bench.until("syslog", refused=1, silent=3)
        for reader, writer in silent:
            assert await hung_up(reader)
            writer.close()
        await bench.send("syslog", counted(packet(token, "room again")))
        await bench.until("syslog", frames=1)

    play(story, TCP, silent_s=0.1, connections=3)


def test_a_stream_that_lost_its_place_is_closed(play: Play) -> None:
    async def story(bench: Bench) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", await bench.port("syslog"))
        writer.write(b"99999999 " + b"x" * 200_000)
        assert await hung_up(reader)
        writer.close()
        door = await bench.until("syslog", malformed=1)
        assert door["cut_bytes"] > 50_000

    play(story, TCP, resync_bytes=50_000)


def test_a_slow_sender_of_many_small_writes_is_one_line(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        _, writer = await asyncio.open_connection("127.0.0.1", await bench.port("syslog"))
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in counted(packet(token, "tiny")):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await bench.until("syslog", frames=1)
        assert await bench.read() == ["app[web.1]: tiny"]
        writer.close()

    play(story, TCP)


def test_a_full_disk_holds_the_sender_and_loses_nothing(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", await bench.port("syslog"))
            for number in range(3000):
                writer.write(counted(packet(token, f"line {number}")))
            await bench.until("syslog", frames=0)
            await asyncio.sleep(0.1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await writer.drain()
        writer.close()
        door = await bench.until("syslog", frames=3000)
        assert door["dropped"] == 0
        assert await bench.read() == [f"app[web.1]: line {number}" for number in range(3000)]

    play(story, TCP)


def test_a_channel_over_its_byte_rate_is_slowed_down_and_loses_nothing(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token, other = await bench.token("c"), await bench.token("d")
        await bench.client.policy("c", {"rate_bytes": 400_000})
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        flood = asyncio.create_task(
            bench.send("syslog", counted(*[packet(token, "y" * 900)] * 1000))
        )
        await bench.send("syslog", counted(packet(other, "not held up")))
        while await bench.read("d") != ["app[web.1]: not held up"]:
            await asyncio.sleep(0.002)
        assert loop.time() - began_s < 1
        await flood
        await bench.until("syslog", frames=1001)
        assert loop.time() - began_s > 0.3
        assert len(await bench.read()) == 1000

    play(story, TCP, chunk_bytes=16_384)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    argv = [
        *"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(made)),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    return made, key


def test_tls(play: Play, certificate: tuple[Path, Path]) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        port = await bench.port("syslog-tls")
        context = ssl.create_default_context(cafile=str(certificate[0]))
        _, writer = await asyncio.open_connection("localhost", port, ssl=context)
        for number in range(2000):
            writer.write(counted(packet(token, f"line {number}")))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await bench.until("syslog-tls", frames=2000)
        assert await bench.read() == [f"app[web.1]: line {number}" for number in range(2000)]
        reader, plain = await asyncio.open_connection("127.0.0.1", port)
        plain.write(counted(packet(token, "not secret")))
        assert counted(packet(token, "not secret")) not in await reader.read()
        plain.close()
        reader, mute = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        mute.close()
        await bench.until("syslog-tls", silent=2)
        assert len(await bench.read()) == 2000

    play(
        story,
        ("syslog-tls", "127.0.0.1:0"),
        certificate=certificate[0],
        key=certificate[1],
        handshake_s=0.2,
    )


def test_descriptors_are_given_back(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        await bench.send("syslog", counted(packet(token, "x")))
        await bench.until("syslog", frames=1)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            await bench.send("syslog", counted(packet(token, "x")))
        await bench.until("syslog", frames=51)
        async with asyncio.timeout(5):
            while len(os.listdir("/proc/self/fd")) > before:
                await asyncio.sleep(0.01)

    play(story, TCP)
