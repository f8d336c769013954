"""Whatever is done to an app under load, no request fails: not even of one that ends at once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.story.load import Client, Load, WebSocket, abrupt
from tests.story.platform import AppCopy, User, eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def running(rick: User, name: str, web: int, *, preboot: bool) -> AppCopy:
    app = rick.app(name)
    app.commit(abrupt("one"))
    app.push()
    app.oriel("ps:scale", f"web={web}")
    if preboot:
        app.oriel("features:enable", "preboot")
    app.settles("up", *[f"web.{number + 1}" for number in range(web)])
    app.answers("one")
    return app


def load(app: AppCopy, per_s: int = 150) -> Load:
    return Load(app.user.platform.web_port, f"{app.name}.localhost", per_s)


def is_up(app: AppCopy, web: int) -> None:
    app.settles("up", *[f"web.{number + 1}" for number in range(web)])


def test_under_load(rick: User) -> None:
    app = running(rick, "loaded", 2, preboot=True)

    def deploy() -> None:
        app.commit(abrupt("two"))
        app.push()
        app.answers("two")

    def crash() -> None:
        with contextlib.suppress(OSError):
            app.get("/crash")

    done: list[str] = []
    with load(app) as visitors:
        steps: list[tuple[str, Callable[[], object], int]] = [
            ("deploy", deploy, 2),
            ("config", lambda: app.oriel("config:set", "A=1"), 2),
            ("rollback", lambda: app.oriel("rollback"), 2),
            ("scale up", lambda: app.oriel("ps:scale", "web=3"), 3),
            ("scale down", lambda: app.oriel("ps:scale", "web=2"), 2),
            ("restart one", lambda: app.oriel("ps:restart", "web.1"), 2),
            ("restart all", lambda: app.oriel("ps:restart"), 2),
            ("scale to one", lambda: app.oriel("ps:scale", "web=1"), 1),
            ("restart the one", lambda: app.oriel("ps:restart"), 1),
            ("scale to two", lambda: app.oriel("ps:scale", "web=2"), 2),
        ]
        for name, step, web in steps:
            step()
            is_up(app, web)
            done.append(name)
            assert not visitors.failures, (done, visitors.seen)
        # What a dyno was doing when it crashed is lost; what comes then goes to the other one.
        with visitors.paused():
            crash()
        eventually(lambda: app.states()["web.1"] == app.states()["web.2"] == "up", what="both up")
    assert not visitors.failures, visitors.seen
    # That there was a load at all: how long it lasted is the machine's to say.
    assert visitors.count > 250


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("preboot", [True, False])
def test_slow_requests_and_websockets_end_on_their_old_dyno(rick: User, preboot: bool) -> None:
    app = running(rick, f"slow-{preboot}".lower(), 1, preboot=preboot)
    port, host = rick.platform.web_port, f"{app.name}.localhost"

    async def story() -> None:
        slow = [
            asyncio.create_task(Client(port, host).once(f"/slow?{wait_s}")) for wait_s in (3, 4, 5)
        ]
        socket = WebSocket(port, host)
        await socket.open()
        assert await socket.echoes(b"before")
        app.commit(abrupt("two"))
        await asyncio.to_thread(app.push)
        await asyncio.to_thread(app.answers, "two")
        switched = time.monotonic()
        assert await socket.echoes(b"after")
        assert await asyncio.gather(*slow) == [(200, "one web.1")] * 3
        # It goes on for as long as the old dyno may take, and no longer.
        await asyncio.wait_for(socket.ended(), 30)
        assert time.monotonic() - switched > 3

    asyncio.run(story())
    is_up(app, 1)
    assert not any("R12" in line for line in app.logs("--ps", "web.1"))


def test_reloads_of_haproxy_in_the_middle_of_a_deploy(rick: User) -> None:
    """What is under way ends where it began; what waits for the new dyno reaches it."""
    app = running(rick, "reloaded", 1, preboot=False)
    port, host = rick.platform.web_port, f"{app.name}.localhost"

    async def story() -> None:
        slow = [asyncio.create_task(Client(port, host).once(f"/slow?{s}")) for s in (3, 4)]
        socket = WebSocket(port, host)
        await socket.open()
        await asyncio.to_thread(rick.platform.reload_haproxy)
        files = abrupt("two")
        app.commit({**files, "server.py": "import time; time.sleep(3)\n" + files["server.py"]})
        push = asyncio.create_task(asyncio.to_thread(app.push))
        visits = []
        reloaded, lives = 0.0, True
        while not push.done() or not await answered(visits, "two web.1"):
            # On a busy machine the new dyno is up more than 10 s after the old one has left: that
            # one is then told to end, and its websocket ends with it.
            lives = lives and await socket.echoes(b"still")
            # A connection each: one that is kept may be closed in the moment in which it is used.
            visits.append(asyncio.create_task(Client(port, host).once("/")))
            await asyncio.sleep(0.1)
            if time.monotonic() - reloaded > 1:
                await asyncio.to_thread(rick.platform.reload_haproxy)
                reloaded = time.monotonic()
        # Nothing is sent to the dyno that leaves, whatever worker of HAProxy has the request.
        seen = Counter(await asyncio.gather(*visits))
        assert set(seen) <= {(200, "one web.1"), (200, "two web.1")}, seen
        assert await asyncio.gather(*slow) == [(200, "one web.1")] * 2
        await asyncio.wait_for(socket.ended(), 30)
        # What is cut with its worker has no line.
        await asyncio.to_thread(eventually, ended_with_its_dyno, what="the websocket's line")

    def ended_with_its_dyno() -> bool:
        lines = app.logs("--source", "heroku")
        return any('path="/ws"' in each and " status=101 " in each for each in lines)

    async def answered(visits: list[asyncio.Task[tuple[int, str]]], text: str) -> bool:
        return any(each.done() and each.result()[1] == text for each in visits)

    asyncio.run(story())
    is_up(app, 1)
