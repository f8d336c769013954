"""The host reboots: all is gone but the data directory, and every app comes back by itself."""

from __future__ import annotations

import os
import subprocess

import pytest

from oriel.manifold.local.launcher import BOOTS_A_CPU
from tests.story.machine import Housed
from tests.story.platform import SERVER, AppCopy, User, eventually
from tests.story.records import entries, lines

SLOW_ONES = 24

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

# Says when it begins, takes its time, and says when it is done with that.
SLOW = """
import os, time
os.write(1, b"begins %d\\n" % time.monotonic_ns())
until = time.process_time() + 0.3
while time.process_time() < until:
    pass
os.write(1, b"began %d\\n" % time.monotonic_ns())
while True:
    time.sleep(60)
"""


def _app(version: str) -> dict[str, str]:
    return {
        "Procfile": "web: python3 server.py\nworker: python3 slow.py\ncrash: python3 crash.py\n",
        "server.py": SERVER.format(version=version),
        "slow.py": SLOW,
        "crash.py": "import sys\nprint('no', flush=True)\nsys.exit(5)\n",
    }


def _apps(rick: User, names: list[str]) -> list[AppCopy]:
    copies = [rick.app(name) for name in names]
    pushes: list[subprocess.Popen[str]] = []
    for copy in copies:
        copy.commit(_app(f"{copy.name}-one"))
        pushes.append(copy.begin_push())
    for each in pushes:
        said, _ = each.communicate(timeout=120)
        assert each.returncode == 0, said
    return copies


def test_all_apps_come_back_to_their_head_release(house: Housed) -> None:
    house.start()
    rick = house.set_up("rick@foobazco.com")
    plain, changed, back, many, crasher, rests = _apps(
        rick, ["plain", "changed", "back", "many", "crasher", "rests"]
    )
    changed.oriel("config:set", "GREETING=hello")
    back.commit(_app("back-two"))
    back.push()
    back.oriel("rollback")
    many.oriel("ps:scale", "web=2", f"worker={SLOW_ONES}")
    crasher.oriel("ps:scale", "crash=1")
    rests.oriel("ps:stop", "web.1")
    rests.oriel("maintenance:on", "-a", "rests", check=False)
    plain.answers("plain-one")
    changed.answers("changed-one hello")
    back.answers("back-one")
    many.settles("up", "web.1", "web.2", *(f"worker.{n}" for n in range(1, SLOW_ONES + 1)))
    eventually(lambda: crasher.states().get("crash.1") == "crashed", what="crash.1 crashes")
    rests.settles("down", "web.1")
    heads = {each.name: each.releases() for each in (plain, changed, back, many, crasher, rests)}
    old = {each.instance for each in entries(house)}
    last = entries(house)[-1].id
    # A push that is under way when the power fails.
    plain.commit(_app("plain-two"))
    push = plain.begin_push()

    house.reboot()
    push.kill()
    push.communicate()

    changed.answers("changed-one hello")
    back.answers("back-one")
    plain.answers("plain-")
    many.settles("up", "web.1", "web.2", *(f"worker.{n}" for n in range(1, SLOW_ONES + 1)))
    rests.settles("down", "web.1")
    assert {each.name: each.releases() for each in (changed, back, many, crasher, rests)} == {
        name: releases for name, releases in heads.items() if name != "plain"
    }
    for app in (plain, changed, back, many, crasher):
        head = next(
            each["version"] for each in app.json("releases") if each["status"] == "succeeded"
        )
        assert {each["release"]["version"] for each in app.json("ps")} == {head}, app.name
        assert app.oriel("releases:verify").code == 0
    news = [each for each in entries(house) if each.id > last]
    ended = {each.instance for each in news if each.state in ("crashed", "down", "complete")}
    assert {each.instance for each in news if each.state == "up"} & old <= ended
    eventually(lambda: set(house.dynos()) & old == set(), what="nothing of the old boot is kept")
    assert house.strangers(house.machine.census()) == []
    began = eventually(
        lambda: (lambda b: b if len(b) == 2 * SLOW_ONES else None)(_began(house, old)),
        what="all say that they began",
    )
    most, bound = _most_at_once(began), BOOTS_A_CPU * len(os.sched_getaffinity(0))
    print(f"booting at once: {most} of {SLOW_ONES}, bound {bound}")
    assert most <= bound


def _began(house: Housed, old: set[str]) -> list[list[str]]:
    """What the slow ones that were not there before said of their start-up."""
    said = [each for each in lines(house, "many", "worker") if each.instance not in old]
    words = [each.text.split() for each in said]
    return [each for each in words if each and each[0] in ("begins", "began")]


def _most_at_once(said: list[list[str]]) -> int:
    """How many programs were at their start-up at once, by their own account."""
    most = now = 0
    for _, change in sorted((int(at), 1 if word == "begins" else -1) for word, at in said):
        now += change
        most = max(most, now)
    return most


def test_three_power_cuts_in_a_row(house: Housed) -> None:
    """The second one comes while the platform is still finding out about the first."""
    house.start()
    rick = house.set_up("rick@foobazco.com")
    (app,) = _apps(rick, ["thrice"])
    app.oriel("ps:scale", "web=2", "worker=4")
    names = ["web.1", "web.2", *(f"worker.{n}" for n in range(1, 5))]
    app.settles("up", *names)
    for _ in range(2):
        house.machine.cut_power()
        house.machine.boot()
        house.begin()
        eventually(lambda: house.pid("control") > 1 and house.dynos(), what="control begins")
    house.reboot()
    app.settles("up", *names)
    app.answers("thrice-one")
    eventually(lambda: len(house.dynos()) == len(names), what="one directory a dyno")
    assert house.strangers(house.machine.census()) == []
