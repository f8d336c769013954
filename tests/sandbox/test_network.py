"""The machine's part of the network: two platforms, kills, and what a machine's name server needs.

As root alone. Everything is in this machine's own tables, under names of this test's directories.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.faults import Unavailable
from oriel.sandbox import Confinement, Openings, Overlay, Sandboxes, network
from oriel.sandbox.subnet import FIRST, LAST, Names

from .conftest import UID

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.getuid() != 0 or not shutil.which("nft", path="/usr/sbin:/sbin"),
        reason="only root, with nftables",
    ),
]


def tables() -> str:
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout


def directory(root: Path, name: str) -> Path:
    made = root / name
    made.mkdir()
    return made


def test_two_platforms_do_not_collide_and_leave_nothing(tmp_path: Path) -> None:
    data = [directory(tmp_path, name) for name in ("one", "two")]
    opened = [network.open_network(each, Openings()) for each in data]
    again = network.open_network(data[0], Openings())
    assert again.subnet == opened[0].subnet
    assert not opened[0].subnet.network.overlaps(opened[1].subnet.network)
    assert all(each.subnet.table in tables() for each in opened)
    for each in opened:
        each.close()
    assert not any(each.subnet.table in tables() for each in opened)


def test_what_a_removed_platform_left_goes_with_the_next_start_of_any(tmp_path: Path) -> None:
    gone, other = directory(tmp_path, "gone"), directory(tmp_path, "other")
    left = network.open_network(gone, Openings())  # and never closed: a kill
    shutil.rmtree(gone)
    opened = network.open_network(other, Openings())
    assert left.subnet.table not in tables()
    opened.close()


def test_a_subnet_that_another_took_meanwhile_is_given_up(tmp_path: Path) -> None:
    data = directory(tmp_path, "data")
    first = network.open_network(data, Openings())
    first.close()
    mark = network.MACHINE / f"{first.subnet.number:03x}"
    mark.write_text(json.dumps({"data": str(tmp_path)}))
    try:
        second = network.open_network(data, Openings())
        assert second.subnet != first.subnet
        second.close()
    finally:
        mark.unlink()


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"version": 9}', '{"version": 1, "subnet": -1}'])
def test_a_damaged_file_is_written_anew(tmp_path: Path, kept: str) -> None:
    (tmp_path / network.FILE).write_text(kept)
    opened = network.open_network(tmp_path, Openings())
    assert json.loads((tmp_path / network.FILE).read_text())["subnet"] == opened.subnet.number
    opened.close()


def test_addresses_go_round_and_end(tmp_path: Path) -> None:
    opened = network.open_network(tmp_path, Openings())
    first = opened.lease("a")
    opened.give_back("a")
    assert opened.lease("b") != first, "as late as can be"
    for number in range(LAST - FIRST):
        opened.lease(str(number))
    with pytest.raises(Unavailable, match="4093 addresses"):
        opened.lease("one more")
    opened.give_back("7")
    opened.lease("one more")
    opened._given.clear()
    opened.close()


def test_another_process_does_not_begin_with_the_same_address(tmp_path: Path) -> None:
    """What a killed one was about to start has an address that nobody sees yet."""
    firsts = set()
    for _ in range(4):
        opened = network.open_network(tmp_path, Openings())
        firsts.add(opened.lease("a"))
        opened._given.clear()
        opened.close()
    assert len(firsts) > 1


def test_a_refusal_of_the_firewall_is_told_in_its_words() -> None:
    with pytest.raises(Unavailable, match="nft: .*syntax error"):
        network.nft("table nonsense {{{\n")


async def _run(sandboxes: Sandboxes, root: Path, program: str, **more: object) -> str:
    read, write = os.pipe()
    what = Confinement(
        argv=("/usr/bin/python3", "-c", program),
        env={"PATH": "/usr/bin:/bin"},
        uid=UID,
        overlay=Overlay(None),
    )
    confined = await sandboxes.launch(
        replace(what, **more),  # type: ignore[arg-type]
        stdin=None,
        stdout=write,
        stderr=None,
        status_path=root / "status",
    )
    os.close(write)
    await confined.wait()
    with os.fdopen(read) as file:
        return file.read()


def serve_names(server: socket.socket, asked: list[str]) -> None:
    """Answer the first question with 192.0.2.77."""
    question, who = server.recvfrom(512)
    asked.append(who[0])
    end = question.index(b"\0", 12) + 5
    head = question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes((192, 0, 2, 77))
    server.sendto(head + question[12:end] + answer, who)


def test_a_name_server_on_the_machine_s_loopback_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd-resolved's or a dnsmasq's: it sees its own loopback ask."""

    def local(gateway: str) -> Names:
        return Names(f"nameserver {gateway}\n", loopback="127.0.0.77")

    monkeypatch.setattr(network, "look_for_names", local)

    async def story() -> None:
        sandboxes = Sandboxes(tmp_path)
        await sandboxes.start()
        opened = sandboxes.network
        assert opened is not None
        asked: list[str] = []
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind(("127.0.0.77", 53))
                server.settimeout(20)
                answering = threading.Thread(target=serve_names, args=(server, asked))
                answering.start()
                program = "import socket; print(socket.gethostbyname('oriel.example'))"
                assert await _run(sandboxes, tmp_path, program) == "192.0.2.77\n"
                answering.join()
            assert asked == ["127.0.0.1"]
            # And nothing else of the loopback.
            with socket.create_server(("127.0.0.77", 0)) as other:
                where = (opened.subnet.gateway, other.getsockname()[1])
                program = f"import socket; print(socket.socket().connect_ex({where!r}))"
                assert await _run(sandboxes, tmp_path, program) == "111\n"
        finally:
            await sandboxes.close()

    asyncio.run(story())


def test_a_build_reaches_the_index_that_was_named_and_nothing_beside(tmp_path: Path) -> None:
    async def story() -> None:
        sandboxes = Sandboxes(tmp_path)
        await sandboxes.start()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"you said " + await reader.readline())
            writer.close()

        named = await asyncio.start_server(answer, "127.0.0.1", 0)
        other = await asyncio.start_server(answer, "127.0.0.1", 0)
        ports = [each.sockets[0].getsockname()[1] for each in (named, other)]
        program = f"""
import socket
for host in ("localhost", "127.0.0.1", "::1"):
    s = socket.create_connection((host, {ports[0]}), 5); s.sendall(b"hello\\n"); s.shutdown(1)
    print(s.makefile().read())
print(socket.socket().connect_ex(("127.0.0.1", {ports[1]})))
"""
        try:
            said = await _run(sandboxes, tmp_path, program, reach=(ports[0],))
            assert said.split("\n") == ["you said hello", ""] * 3 + ["111", ""]
        finally:
            named.close()
            other.close()
            await sandboxes.close()

    asyncio.run(story())


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from oriel.sandbox import Confinement, Overlay, Sandboxes

async def main():
    data = Path(sys.argv[1])
    sandboxes = Sandboxes(data)
    await sandboxes.start()
    for number in range(4):
        (data / str(number)).mkdir()
        what = Confinement(("/bin/sleep", "1000"), {}, int(sys.argv[2]), overlay=Overlay(None))
        launching = asyncio.ensure_future(sandboxes.launch(
            what, stdin=None, stdout=1, stderr=None,
            status_path=data / str(number) / "status", name=f"n{number}"))
        await asyncio.sleep(0 if number == 3 else 0.3)
    asyncio.get_running_loop().call_later(float(sys.argv[3]), os.kill, 0, signal.SIGKILL)
    await asyncio.sleep(10)

asyncio.run(main())
"""


@pytest.mark.parametrize("after_s", [0.0, 0.004, 0.012])
def test_a_kill_at_any_moment_leaves_nothing_that_the_next_start_does_not_find(
    tmp_path: Path, after_s: float
) -> None:
    """The whole process group dies: control, and what it was just starting."""
    subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(UID), str(after_s)],
        start_new_session=True,
    )

    async def story() -> None:
        sandboxes = Sandboxes(tmp_path)
        await sandboxes.start()
        mine, groups = sandboxes.network, sandboxes.cgroups
        assert mine is not None
        for number in range(4):
            status = tmp_path / str(number) / "status"
            for _ in range(50):
                found = await sandboxes.adopt({}, status, f"n{number}")
                if found is not None or not status.exists():
                    break
                await asyncio.sleep(0.02)
            if found is not None and hasattr(found, "kill"):
                await found.kill()
            sandboxes.forget(f"n{number}")
        sandboxes.sweep(set())
        await sandboxes.close()
        assert not list(network.DEVICES.glob(f"{mine.subnet.devices}*"))
        assert mine.subnet.table not in tables()
        if groups is not None:
            assert not any(place.exists() for place in groups.places.values())

    asyncio.run(story())
