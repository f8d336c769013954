"""A request of an idle app tells control once, waits, and is answered when the app is up."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from oriel.clock import SystemClock
from oriel.router import Waker
from oriel.router.waker import address, waker_name

from .conftest import House, app, table

pytestmark = pytest.mark.real


def test_a_crowd_for_an_idle_app_is_one_call_and_nobody_is_refused(
    house: House, tmp_path: Path
) -> None:
    name = waker_name(tmp_path)
    calls = Counter[str]()
    statuses = Counter[int]()

    def visit() -> None:
        statuses[house.get("sleepy.localhost").status] += 1

    async def story() -> None:
        router = house.router(boot_hold_s=10, waker=name, first_byte_timeout_s=5)
        await router.start(table(app("sleepy", mode="idle"), app("other", house_server)))
        assert router.can_wake
        house.start_proxy()
        waker = Waker(name, lambda app_id: calls.update([app_id]), SystemClock(), user="haproxy")
        await waker.start()
        crowd = [threading.Thread(target=visit) for _ in range(60)]
        for each in crowd:
            each.start()
        async with asyncio.timeout(5):
            while not calls:
                await asyncio.sleep(0.005)
        assert (await asyncio.to_thread(house.get, "other.localhost")).status == 200
        await router.apply(table(app("sleepy", mode="booting"), app("other", house_server)))
        await asyncio.sleep(0.4)
        assert calls == {"id-sleepy": 1}
        await router.apply(table(app("sleepy", house_server), app("other", house_server)))
        for each in crowd:
            await asyncio.to_thread(each.join)
        await waker.close()
        await router.close()

    house_server = house.server(house.dyno("awake"))
    asyncio.run(story())
    assert statuses == {200: 60}


def test_a_request_that_comes_while_control_is_away_waits_for_it(
    house: House, tmp_path: Path
) -> None:
    name = waker_name(tmp_path)
    asked = threading.Event()

    async def story() -> None:
        router = house.router(boot_hold_s=10, waker=name)
        await router.start(table(app("sleepy", mode="idle")))
        house.start_proxy()
        visit = asyncio.create_task(asyncio.to_thread(house.get, "sleepy.localhost"))
        await asyncio.sleep(0.6)
        assert not visit.done()
        waker = Waker(name, lambda _: asked.set(), SystemClock(), user="haproxy")
        await waker.start()
        assert await asyncio.to_thread(asked.wait, 3)
        await router.apply(table(app("sleepy", house.server(house.dyno("awake")))))
        assert (await visit).body == "awake"
        await waker.close()
        await router.close()

    asyncio.run(story())


def test_one_that_does_not_come_up_in_time_is_h20(house: House, tmp_path: Path) -> None:
    async def story() -> None:
        router = house.router(boot_hold_s=0.4, waker=waker_name(tmp_path))
        await router.start(table(app("sleepy", mode="idle")))
        house.start_proxy()
        begun = time.monotonic()
        answer = await asyncio.to_thread(house.get, "sleepy.localhost")
        assert answer.status == 503
        assert 0.4 <= time.monotonic() - begun < 2
        assert "code=H20" in house.line()
        await router.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"id-1\n", b"ok\n"),
        (b"\n", b""),
        (b"a b\n", b""),
        (b"../x\n", b""),
        (b"x" * 300 + b"\n", b""),
        (b"no end", b""),
    ],
)
def test_only_an_apps_id_is_heard(tmp_path: Path, said: bytes, answer: bytes) -> None:
    heard: list[str] = []

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(5)
            door.connect(address(waker_name(tmp_path)))
            door.sendall(said)
            door.shutdown(socket.SHUT_WR)
            return door.recv(10)

    async def story() -> None:
        waker = Waker(waker_name(tmp_path), heard.append, SystemClock())
        await waker.start()
        assert waker.listens
        assert await asyncio.to_thread(ask) == answer
        await waker.close()

    asyncio.run(story())
    assert heard == (["id-1"] if answer else [])


def test_another_ones_socket_is_waited_for(tmp_path: Path) -> None:
    name = waker_name(tmp_path)

    async def story() -> None:
        first, second = (Waker(name, lambda _: None, SystemClock()) for _ in range(2))
        await first.start()
        await second.start()
        assert not second.listens
        await first.close()
        async with asyncio.timeout(3):
            while not second.listens:
                await asyncio.sleep(0.01)
        await second.close()

    asyncio.run(story())
    assert name != waker_name(tmp_path / "other")
