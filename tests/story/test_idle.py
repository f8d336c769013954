"""An app without requests goes idle, and the next one wakes it and is answered."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import Counter

import pytest

from tests.router.crowd import many_files, visit
from tests.router.test_crowds import resident_mb
from tests.story.load import abrupt
from tests.story.platform import AppCopy, User, eventually, tree

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


def hurry(app: AppCopy) -> None:
    """As `ps:idle --after 2s` would, which is not allowed: nobody shall wait a minute here."""
    app.oriel("ps:idle", "--after", "1m")
    database = sqlite3.connect(app.user.platform.data / "oriel.db", timeout=10)
    with database:
        database.execute("update app_idling set after_s = 2")
    database.close()


def sleeps(app: AppCopy) -> None:
    eventually(lambda: app.states().get("web.1") == "idle", within_s=30, what="web.1 is idle")


def test_it_goes_idle_and_any_number_of_requests_wake_it_once(rick: User) -> None:
    app = rick.app("sleepy")
    app.deploy("one")
    app.oriel("ps:scale", "web=2", "worker=1")
    app.answers("one")
    assert app.json("ps:idle") == {"app": "sleepy", "after_s": None, "asleep": False}
    said = app.oriel("ps:idle", "--after", "30m").out
    assert "30 minutes without a request" in said
    hurry(app)
    sleeps(app)
    asleep = {"web.1": "idle", "web.2": "idle", "worker.1": "up"}
    eventually(lambda: app.states() == asleep, what="all web dynos have ended")
    assert app.json("ps:idle")["asleep"] is True
    statuses = Counter[int]()

    def visit() -> None:
        statuses[app.get()[0]] += 1

    crowd = [threading.Thread(target=visit) for _ in range(40)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert statuses == {200: 40}
    app.settles("up", "web.1", "web.2", "worker.1")
    lines = app.logs("--ps", "web.1")
    assert sum("Idling" in line for line in lines) == 1
    assert sum("Unidling" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("apps", "visits"), [(1, 1000), pytest.param(40, 25, marks=pytest.mark.long)]
)
def test_a_stampede_on_real_dynos(rick: User, apps: int, visits: int) -> None:
    copies = [rick.app(f"stampede-{apps}-{number}") for number in range(apps)]
    for each in copies:
        each.commit(abrupt("one"))
        each.push()
    for each in copies:
        each.answers("one")
        hurry(each)
    for each in copies:
        sleeps(each)
    platform = rick.platform
    control = platform.pid("control")

    async def crowd() -> list[int]:
        hosts = [f"{each.name}.localhost" for each in copies] * visits
        return await asyncio.gather(
            *(visit(platform.web_port, host, number) for number, host in enumerate(hosts))
        )

    before_mb, begun = resident_mb(control), time.monotonic()
    with many_files(apps * visits + 2000):
        answered = asyncio.run(crowd())
    took_s, more_mb = time.monotonic() - begun, resident_mb(control) - before_mb
    print(
        f"\n{apps} idle apps x {visits} requests at once, real dynos: all answered in"
        f" {took_s:.1f} s; control takes {more_mb:.0f} MB more"
    )
    assert Counter(answered) == {200: apps * visits}
    assert more_mb < 30
    for each in copies:
        assert sum("Unidling" in line for line in each.logs("--ps", "web.1")) == 1
        each.oriel("ps:idle", "--off")


def test_control_is_killed_while_a_request_wakes_it(rick: User) -> None:
    app = rick.app("sleepy-kill")
    app.deploy("one")
    app.answers("one")
    hurry(app)
    sleeps(app)
    platform = rick.platform
    platform.kill("control")
    begun = time.monotonic()
    status, body = app.get()
    assert (status, body.split()[0]) == (200, "one"), time.monotonic() - begun
    sleeps(app)
    app.oriel("ps:idle", "--off")
    app.settles("up", "web.1")
    assert app.json("ps:idle") == {"app": "sleepy-kill", "after_s": None, "asleep": False}


def test_wrong_words(rick: User) -> None:
    app = rick.app("sleepy-wrong")
    app.commit(tree("one"))
    assert "1 minute" in app.oriel("ps:idle", "--after", "1s", check=False).err
    assert app.oriel("ps:idle", "--after", "soon", check=False).code != 0
    assert app.oriel("ps:idle", "--after", "1h", "--off", check=False).code != 0
