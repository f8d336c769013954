"""What HAProxy knows of an app's requests, and of one dyno's."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from oriel.router import Server
from oriel.router.sticky import COOKIE

from .conftest import House, app, free_port, table

pytestmark = pytest.mark.real


async def soon(holds: object) -> None:
    async with asyncio.timeout(5):
        while not await holds():  # type: ignore[operator]
            await asyncio.sleep(0.02)


def test_requests_under_way_count_over_a_reload_too(house: House) -> None:
    async def story() -> None:
        server = house.server(house.dyno("a"))
        router = house.router(first_byte_timeout_s=20, idle_timeout_s=20)
        assert await router.activity(["id-aaa"]) == {}
        await router.start(table(app("aaa", server), app("bbb")))
        house.start_proxy()
        await router.apply(table(app("aaa", server), app("bbb")))

        async def is_known() -> bool:
            # The master takes a moment longer to listen than its worker does.
            return bool(await router.activity(["id-aaa"]))

        await soon(is_known)
        assert [*(await router.activity(["id-aaa", "id-nobody"]))] == ["id-aaa"]
        assert (await router.activity(["id-aaa"]))["id-aaa"].open == 0
        await asyncio.to_thread(house.get, "aaa.localhost")
        assert (await router.activity(["id-aaa"]))["id-aaa"].quiet_s <= 1
        with contextlib.closing(socket.create_connection(("127.0.0.1", house.port))) as client:
            client.sendall(b"GET /hang HTTP/1.1\r\nHost: aaa.localhost\r\n\r\n")

            async def is_open() -> bool:
                seen = await router.activity(["id-aaa"])
                return bool(seen) and seen["id-aaa"].open == 1  # None while a master reloads.

            await soon(is_open)
            drained = asyncio.create_task(router.drained("id-aaa", server.label))
            await asyncio.sleep(0.1)
            assert not drained.done()
            # The new worker knows nothing of what the old one carries on.
            before = house.worker()
            many = [app(f"more-{number}") for number in range(8)]
            await router.apply(table(app("aaa", server), app("bbb"), *many))

            async def is_reloaded() -> bool:
                return await asyncio.to_thread(house.worker) != before

            await soon(is_reloaded)
            await soon(is_open)
        await asyncio.wait_for(drained, 5)

        async def is_over() -> bool:
            seen = await router.activity(["id-aaa"])
            return bool(seen) and seen["id-aaa"].open == 0

        await soon(is_over)
        await router.close()

    asyncio.run(story())


def test_a_sticky_app_has_each_client_come_back_to_its_dyno(house: House) -> None:
    async def story() -> None:
        servers = [house.server(house.dyno(f"d{n}"), f"web.{n}") for n in (1, 2, 3)]
        sticky = app("aaa", *servers, sticky=True)
        loose = app("bbb", *servers)
        router = house.router()
        await router.start(table(sticky, loose))
        house.start_proxy()
        first = await asyncio.to_thread(house.get, "aaa.localhost")
        cookie = first.headers["Set-Cookie"]
        assert cookie.startswith(f"{COOKIE}=web.")
        assert cookie.endswith("; Path=/; HttpOnly")
        assert first.headers["Cache-Control"] == "private"
        sent = {"Cookie": f"x=1; {cookie.partition(';')[0]}; y=2"}

        def bodies(host: str, **headers: str) -> set[str]:
            answers = [house.get(host, **headers) for _ in range(6)]
            assert {each.status for each in answers} == {200}
            return {each.body for each in answers}

        assert bodies("aaa.localhost", **sent) == {first.body}
        assert len(bodies("aaa.localhost")) > 1
        again = await asyncio.to_thread(lambda: house.get("aaa.localhost", **sent))
        assert "Set-Cookie" not in again.headers
        # Another app knows nothing of it, and sets none.
        assert len(bodies("bbb.localhost", **sent)) > 1
        assert "Set-Cookie" not in house.get("bbb.localhost").headers
        # Its dyno is known over a reload, and by the one that took over its socket.
        more = [app(f"more-{number}") for number in range(8)]
        before = house.worker()
        await router.apply(table(sticky, loose, *more))

        async def is_reloaded() -> bool:
            return await asyncio.to_thread(house.worker) != before

        await soon(is_reloaded)
        assert bodies("aaa.localhost", **sent) == {first.body}
        # It leaves: the client goes elsewhere, and stays there.
        left = [each for each in servers if each.label not in cookie]
        await router.apply(table(app("aaa", *left, sticky=True), loose, *more))
        moved = await asyncio.to_thread(lambda: house.get("aaa.localhost", **sent))
        assert moved.status == 200
        assert moved.body != first.body
        assert moved.headers["Set-Cookie"] != cookie
        await router.close()

    asyncio.run(story())


def test_a_dead_dyno_costs_a_sticky_client_nothing(house: House) -> None:
    async def story() -> None:
        dead = Server("web.1", "d" * 32, "127.0.0.1", free_port())
        servers = [dead, house.server(house.dyno("alive"), "web.2")]
        router = house.router()
        await router.start(table(app("aaa", *servers, sticky=True)))
        house.start_proxy()
        sent = {"Cookie": f"{COOKIE}={servers[0].label}"}
        for headers in ({}, sent):
            for _ in range(10):
                answer = await asyncio.to_thread(lambda h=headers: house.get("aaa.localhost", **h))
                assert (answer.status, answer.body) == (200, "alive")
        await router.close()

    asyncio.run(story())
