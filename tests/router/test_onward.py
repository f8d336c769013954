"""Over a reload: what an old worker carries, what it would begin, and what is known of both."""

from __future__ import annotations

import asyncio
import re
import socket
import time

import pytest

from .conftest import House, app, table, until

pytestmark = pytest.mark.real

LONG = {"boot_hold_s": 20, "first_byte_timeout_s": 20, "idle_timeout_s": 20}


class Visit:
    """A request that is written when it is told to be, and read to its end."""

    def __init__(self, house: House, host: str, path: str = "/", more: str = "") -> None:
        self.rest = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode()
        )
        self.client = socket.create_connection(("127.0.0.1", house.port), timeout=15)

    def send(self, size: int | None = None) -> Visit:
        """The next so many bytes of it, or all that is left."""
        size = len(self.rest) if size is None else size
        self.client.sendall(self.rest[:size])
        self.rest = self.rest[size:]
        return self

    def answer(self) -> bytes:
        with self.client:
            return self.client.makefile("rb").read()


def holds(house: House, count: int) -> None:
    """So many requests are under way at the newest worker."""

    def open_now() -> int:
        names, values = (each.split(",") for each in house.ask("show stat web 1 -1").split()[-2:])
        return int(values[names.index("scur")])

    until(lambda: open_now() == count, f"{count} requests")


def old_workers(house: House) -> list[int]:
    text = house.ask_master("show proc").partition("# old workers")[2]
    return [int(each) for each in re.findall(r"^(\d+) +worker", text, re.MULTILINE)]


@pytest.mark.parametrize("reloads", [1, 3])
def test_a_request_that_is_held_over_a_reload_meets_what_the_app_becomes(
    house: House, reloads: int
) -> None:
    async def story() -> None:
        router = house.router(**LONG)
        first = [app(name, mode="booting") for name in ("foo", "bar", "baz")]
        await router.start(table(*first))
        await asyncio.to_thread(house.start_proxy)
        visits = {name: Visit(house, f"{name}.localhost").send() for name in ("foo", "bar", "baz")}
        holds(house, 3)
        for _ in range(reloads):
            await asyncio.to_thread(house.reload)
            await asyncio.sleep(0.3)
        assert old_workers(house)
        # Where the reload had not yet come about: a dyno of which no old worker has ever heard.
        server = house.server(house.dyno("awake"))
        await router.apply(table(app("foo", server), app("bar", mode="crashed")))
        answers = {name: await asyncio.to_thread(each.answer) for name, each in visits.items()}
        assert answers["foo"].startswith(b"HTTP/1.1 200 ")
        assert answers["foo"].lower().count(b"\r\nvia: ") == 1
        assert answers["foo"].endswith(b"awake")
        assert answers["bar"].startswith(b"HTTP/1.1 503 ")
        assert answers["baz"].startswith(b"HTTP/1.1 404 ")
        await router.close()

    began = time.time()
    asyncio.run(story())
    lines = sorted(house.line() for _ in range(2))
    assert house.no_line()
    assert "code=H10" in lines[0]
    assert 'fwd="127.0.0.1" dyno=web.1 ' in lines[1]
    # From where it began, not from where it was handed over.
    service_ms = int(re.search(r"service=(\d+)ms", lines[1])[1])  # type: ignore[index]
    assert 300 <= service_ms <= (time.time() - began) * 1e3
