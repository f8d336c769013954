"""control and `oriel up` are killed at random while apps serve, crash, scale and deploy.

No dyno that should be up stops, exits that happened meanwhile are known with their code, in the end
there runs what is wanted and nothing else is left; and a pid that now is another's is not fallen
for. The platform runs on a machine of its own (tests/story/machine.py), under the docs' unit.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from oriel.sandbox import capabilities
from tests.story.machine import Census, Housed, quiet_for, unit
from tests.story.platform import SERVER, AppCopy, Ran, User, eventually
from tests.story.records import entries, lines

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

# A slow start-up, so that kills come into it too.
EXITER = """
import os, random, signal, sys, time
chance = random.Random()
time.sleep(chance.random() * 0.3)
print("at work", flush=True)
time.sleep(0.3 + chance.random() * 2)
code = 10 + chance.randrange(100)
os.write(1, b"leaving with %d\\n" % code)
os._exit(code)
"""

SLEEPER = "import time\nprint('working', flush=True)\nwhile True:\n    time.sleep(60)\n"

STEADY = {
    "Procfile": "web: python3 server.py\nworker: python3 worker.py\n",
    "server.py": SERVER.format(version="steady"),
    "worker.py": SLEEPER,
}
ATTACHED = "echo begins; sleep 0.4; echo ends; exit 42"
EXITS = {"Procfile": "worker: python3 exiter.py\n", "exiter.py": EXITER}


def test_the_unit_of_the_docs_lets_dynos_live() -> None:
    said = unit()
    assert said["KillMode"] == "process"
    assert said["Restart"] == "on-failure"
    assert said["Delegate"] == "yes"
    assert said["OOMPolicy"] == "continue"
    assert not {"PrivateTmp", "ProtectSystem", "NoNewPrivileges", "PrivateDevices"} & set(said)


def test_6_kills_while_apps_serve_crash_scale_and_deploy(house: Housed) -> None:
    _play(house, ["control", "up", "control", "up", "control", "up"], seed=4)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_50_kills_each_while_apps_serve_crash_scale_and_deploy(house: Housed) -> None:
    parts = ["control", "up"] * 50
    random.Random(50).shuffle(parts)
    _play(house, parts, seed=5)


def _play(house: Housed, kills: list[str], *, seed: int) -> None:
    before = house.machine.census()
    house.start()
    rick = house.set_up("rick@foobazco.com")
    steady, exits, mover = _made(rick, {"steady": STEADY, "exits": EXITS, "mover": _mover(0)})
    steady.oriel("ps:scale", "web=2", "worker=2")
    steady.settles("up", "web.1", "web.2", "worker.1", "worker.2")
    steady.answers("steady")
    exits.oriel("ps:scale", "worker=5")
    alive = _alive(house, "steady")
    assert len(alive) == 4, alive
    assert all(alive.values())

    chance = random.Random(seed)
    with (
        _visits(house, "steady") as seen,
        _moves(mover, exits, seed),
        _attached(house, "mover") as ran,
    ):
        for part in kills:
            time.sleep(chance.random() * 1.2)
            pid = eventually(lambda part=part: house.pid(part), what=f"{part} runs")
            house.machine.signal(pid, signal.SIGKILL)
    house.is_ready(60)
    # Nothing but our kills ended it: systemd gives up on a unit that fails too often.
    _, ends = house.machine.ask("main")
    assert ends <= kills.count("up"), house.said(80)

    assert set(seen) == {200}, seen
    _one_offs_are_told_of(house, ran)
    assert _alive(house, "steady") == alive
    _settles_as_wanted(steady, exits, mover)
    assert _alive(house, "steady") == alive
    _exits_are_known(house, exits)
    _nothing_is_left_over(house, before)
    house.stop()
    after = eventually(lambda: _same(before, house.machine.census()), what="nothing is left")
    assert after.bare() == before.bare()
    assert list((house.data / "dynos").iterdir()) == []


def _same(before: Census, now: Census) -> Census | None:
    return now if now.bare() == before.bare() else None


def _made(rick: User, trees: dict[str, dict[str, str]]) -> list[AppCopy]:
    """Apps deployed at once."""
    copies = [rick.app(name) for name in trees]
    pushes = []
    for copy in copies:
        copy.commit(trees[copy.name])
        pushes.append(copy.begin_push())
    for each in pushes:
        said, _ = each.communicate(timeout=90)
        assert each.returncode == 0, said
    return copies


def _mover(version: int) -> dict[str, str]:
    return {**STEADY, "server.py": SERVER.format(version=f"mover-{version}")}


@contextlib.contextmanager
def _visits(house: Housed, app: str) -> Iterator[Counter[int]]:
    """Requests to an app all the time, and what it answered."""
    seen: Counter[int] = Counter()
    done = threading.Event()

    def visit() -> None:
        while not done.is_set():
            try:
                seen[house.get(f"{app}.localhost")[0]] += 1
            except OSError as error:
                seen[-(error.errno or 1)] += 1
            done.wait(0.02)

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield seen
    finally:
        done.set()
        visitor.join()


@contextlib.contextmanager
def _moves(mover: AppCopy, exits: AppCopy, seed: int) -> Iterator[None]:
    """Deploys, scalings, restarts and config changes all the time. A kill may refuse any."""
    done = threading.Event()
    chance = random.Random(seed + 1)

    def move() -> None:
        version = 0
        while not done.is_set():
            match chance.randrange(5):
                case 0:
                    version += 1
                    mover.commit(_mover(version))
                    mover.push(check=False)
                case 1:
                    web, worker = chance.randrange(1, 4), chance.randrange(4)
                    mover.oriel("ps:scale", f"web={web}", f"worker={worker}", check=False)
                case 2:
                    # A release begins the back-off of the crashing ones anew.
                    exits.oriel("config:set", f"N={chance.random()}", check=False)
                case 3:
                    mover.oriel("ps:restart", "web.1", check=False)
                case 4:
                    exits.oriel("ps:scale", f"worker={chance.randrange(4, 7)}", check=False)

    mover_of_things = threading.Thread(target=move)
    mover_of_things.start()
    try:
        yield
    finally:
        done.set()
        mover_of_things.join()


@contextlib.contextmanager
def _attached(house: Housed, app: str) -> Iterator[list[Ran]]:
    """Attached one-offs one after the other, and what their user was told."""
    ran: list[Ran] = []
    done = threading.Event()
    assert house.owner
    rick = house.owner

    def run() -> None:
        while not done.is_set():
            ran.append(rick.oriel("run", "-a", app, ATTACHED, check=False))

    runner = threading.Thread(target=run)
    runner.start()
    try:
        yield ran
    finally:
        done.set()
        runner.join()


def _one_offs_are_told_of(house: Housed, ran: list[Ran]) -> None:
    """Each came to its end, or its user was told what broke off and what to look at."""
    assert house.owner
    ran = [*ran, house.owner.oriel("run", "-a", "mover", ATTACHED, check=False)]
    whole = [each for each in ran if each.code == 42]
    cut = [each for each in ran if each.code != 42]
    print("\nattached one-offs, by exit code:", dict(Counter(each.code for each in ran)))
    assert ran[-1] in whole, ran[-1]
    for each in whole:
        assert each.out == "begins\nends\n", each
    for each in cut:
        assert each.code > 0, each
        assert " !    " in each.err, each
        assert "Traceback" not in each.err, each

    def ends() -> bool:
        last = {each.instance: each for each in entries(house, "mover") if "run." in each.name}
        return all(each.state == "complete" for each in last.values())

    eventually(ends, within_s=30, what="each one-off is known to have ended")


def _alive(house: Housed, app: str) -> dict[str, tuple[tuple[int, int], ...]]:
    """Of each instance of an app that runs, all processes with their start times."""
    census = house.machine.census()
    return {
        instance: tuple(sorted(census.inside(f"pid:[{each['pid-namespace']}]").items()))
        for instance, each in house.dynos().items()
        if each.get("app") == app and "pid-namespace" in each
    }


def _settles_as_wanted(*apps: AppCopy) -> None:
    """What runs is what the ledger asks for, of the head release, each name once."""
    for app in apps:
        head = max(
            each["version"] for each in app.json("releases") if each["status"] == "succeeded"
        )
        scales = {each["type"]: each["quantity"] for each in _formation(app)}
        wanted = sorted(f"{t}.{n}" for t, count in scales.items() for n in range(1, count + 1))

        def settled(app: AppCopy = app, head: int = head, wanted: list[str] = wanted) -> bool:
            dynos = app.json("ps")
            names = sorted(each["name"] for each in dynos)
            releases = {each["release"]["version"] for each in dynos}
            states = {each["state"] for each in dynos}
            # An app that crashes by itself is in any of its states.
            fine = {"up"} if app.name != "exits" else {"up", "starting", "crashed"}
            return names == wanted and releases <= {head} and states <= fine

        eventually(settled, within_s=60, what=f"{app.name} runs {wanted} of v{head}")


def _formation(app: AppCopy) -> list[dict[str, Any]]:
    return [each for each in app.json("ps:scale") if each["type"] != "release"]


def _exits_are_known(house: Housed, exits: AppCopy) -> None:
    """Every exit of its own accord has its code, in the channel and in the record."""

    def leavings() -> int:
        said = lines(house, "exits", "worker")
        return sum(each.text.startswith("leaving with ") for each in said)

    # On a busy machine, and with back-off, they take their time; that they go on is a proof too.
    eventually(lambda: leavings() >= 3, within_s=90, what="three exits")
    exits.oriel("ps:scale", "worker=0")
    eventually(lambda: not exits.states(), within_s=60, what="no dynos")

    said = quiet_for(lambda: lines(house, "exits", "worker"), 0.5, 30)
    left = {
        each.instance: int(each.text.rpartition(" ")[2])
        for each in said
        if each.source == "app" and each.text.startswith("leaving with ")
    }
    assert len(left) >= 3, said
    record = entries(house, "exits")
    for instance, code in left.items():
        mine = [each for each in said if each.instance == instance]
        ends = [each.text for each in mine if each.text.startswith("Process exited")]
        last = [each for each in record if each.instance == instance][-1:]
        shown = (code, mine, last)
        assert ends == [f"Process exited with status {code}"], shown
        # It comes behind its last words.
        assert (
            mine.index(next(each for each in mine if each.text == ends[0]))
            > [at for at, each in enumerate(mine) if each.text.startswith("leaving")][-1]
        ), shown
        assert [(each.state, each.status) for each in last] in (
            [("crashed", code)],
            [("down", code)],
            [("down", None)],  # asked to stop in the same moment: then that is the cause
        ), shown


def _nothing_is_left_over(house: Housed, before: Census) -> None:
    """While it runs: each process, FIFO, namespace and mount is somebody's who should run."""

    strange = quiet_for(lambda: house.strangers(house.machine.census()), 1.0, 30)
    assert strange == [], house.dynos()
    census = house.machine.census()
    assert census.files == []
    assert census.mounts == before.mounts
    wanted = 0
    assert house.owner
    for app in house.owner.json("apps"):
        wanted += len(house.owner.json("ps", "-a", app["name"]))
    instances = eventually(
        lambda: (lambda d: d if len(d) == wanted else None)(house.dynos()),
        what=f"{wanted} directories of dynos",
    )
    for instance in instances:
        assert {each.name for each in (house.data / "dynos" / instance).iterdir()} <= {
            *("identity.json", "out", "status", "record.json", "copy", "overflow", "begun"),
        }
    assert len(house.spares()) <= wanted


# A kill in the moment of a crash.


def test_5_kills_in_the_moment_of_a_crash(house: Housed) -> None:
    _crash_and_kill(house, 5, seed=6)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_60_kills_in_the_moment_of_a_crash(house: Housed) -> None:
    _crash_and_kill(house, 60, seed=7)


def _crash_and_kill(house: Housed, rounds: int, *, seed: int) -> None:
    """What took the place of a crashed dyno goes on, whether or not control came to record it."""
    if not capabilities.look().overlay:
        pytest.skip("no spares where an app's files would be copied for each")
    house.start()
    rick = house.set_up("rick@foobazco.com")
    (app,) = _made(rick, {"only": STEADY})
    app.oriel("ps:scale", "web=1", "worker=1")
    chance, kept = random.Random(seed), 0
    for round_ in range(rounds):
        app.settles("up", "web.1", "worker.1")
        eventually(lambda: len(house.spares()) == 2, within_s=60, what="both have a spare")
        kind = "web" if round_ % 2 else "worker"
        (old,) = [it for it, each in house.dynos().items() if each["type"] == kind]
        (main,) = _mains(house, dict(house.dynos()[old]))
        control = house.pid("control")
        house.machine.signal(main, signal.SIGKILL)
        time.sleep(chance.random() * 0.02)
        house.machine.signal(control, signal.SIGKILL)
        begun = {it for it in house.dynos() if (house.data / "dynos" / it / "begun").exists()}
        eventually(lambda pid=control: house.pid("control") != pid, what="another control")
        house.is_ready(60)
        app.settles("up", "web.1", "worker.1")
        ids = _ids(app)
        assert old not in ids
        assert begun <= ids, "what was begun has gone"
        record = entries(house, "only")
        ended = [each for each in record if each.instance == old]
        assert (ended[-1].state, ended[-1].status) == ("crashed", 137), ended
        for instance in begun:
            assert [e.state for e in record if e.instance == instance] == ["starting", "up"]
        kept += len(begun)
        app.oriel("ps:restart")  # So that the next crash is the first in a row.
    print(f"\n{kept} of {rounds} had been begun when control was killed")
    assert kept > 0, "every kill came too early"
    assert quiet_for(lambda: house.strangers(house.machine.census()), 1.0, 30) == []


# Pids of somebody else.


def _one_web(house: Housed) -> tuple[AppCopy, str, dict[str, Any]]:
    house.start()
    rick = house.set_up("rick@foobazco.com")
    (app,) = _made(rick, {"only": {**STEADY, "exit.py": ""}})
    app.settles("up", "web.1")
    ((instance, told),) = house.dynos().items()
    return app, instance, dict(told)


def _ids(app: AppCopy) -> set[str]:
    """The instances that `ps` shows, as their directories are called."""
    return {each["id"].replace("-", "") for each in app.json("ps")}


def _die(house: Housed, *parts: str) -> None:
    """They die, and nobody starts them again for now."""
    house.machine.ask("restarts", on=False)
    for part in parts:
        pid = house.pid(part)
        house.kill(part)
        eventually(lambda pid=pid: pid not in house.machine.census().living(), what=f"no {part}")


def _gone(house: Housed, *pids: int) -> None:
    eventually(
        lambda: not {each["pid"] for each in house.machine.census().processes} & set(pids),
        what=f"{pids} are gone",
    )


def _starts(house: Housed, pids: list[int]) -> dict[int, int]:
    living = house.machine.census().living()
    return {pid: living[pid]["start"] for pid in pids if pid in living}


@pytest.mark.parametrize("end", ["killed", "exited"])
def test_a_dynos_pids_now_are_strangers(house: Housed, end: str) -> None:
    """It ended while nobody looked, and its pids were given away: the strangers are left alone."""
    app, instance, told = _one_web(house)
    pids = [told["outer"], told["child-pid"]]
    _die(house, "up", "control")
    if end == "killed":
        for pid in pids:
            house.machine.signal(pid, signal.SIGKILL)
    else:
        (main,) = _mains(house, told)
        house.machine.signal(main, signal.SIGSEGV)
    _gone(house, *pids)
    strangers = _starts(house, [house.machine.ask("bystander", pid=pid) for pid in pids])
    assert len(strangers) == 2
    house.machine.ask("restarts", on=True)
    house.is_ready(60)

    def replaced() -> bool:
        dynos = app.json("ps")
        return [each["state"] for each in dynos] == ["up"] and instance not in _ids(app)

    eventually(replaced, within_s=30, what="another in its place")
    ends = [each for each in entries(house, "only") if each.instance == instance]
    assert ends[-1].state == "crashed"
    assert ends[-1].status == (139 if end == "exited" else None)
    app.oriel("ps:restart")
    house.stop()
    assert _starts(house, pids) == strangers


def _mains(house: Housed, told: dict[str, Any]) -> list[int]:
    """The programs in a dyno, without bubblewrap's own first process."""
    inside = house.machine.census().inside(f"pid:[{told['pid-namespace']}]")
    return [pid for pid in inside if pid != told["child-pid"]]


def test_a_record_that_names_another_dynos_pids(house: Housed) -> None:
    """A record and a status that name processes of today that are another dyno's or the machine's:
    what runs there is neither adopted nor ended.
    """
    app, instance, told = _one_web(house)
    app.oriel("ps:scale", "web=2")
    app.settles("up", "web.1", "web.2")
    (other,) = set(house.dynos()) - {instance}
    others = dict(house.dynos()[other])
    stranger = house.machine.ask("bystander", pid=31000)
    _die(house, "up", "control")
    for pid in (told["outer"], told["child-pid"]):
        house.machine.signal(pid, signal.SIGKILL)
    _gone(house, told["outer"], told["child-pid"])
    place = house.data / "dynos" / instance
    (place / "record.json").unlink()
    said = [
        {"outer": others["outer"], "outer-start": told["outer-start"]},
        {"boot-id": told["boot-id"], "child-pid": stranger},
        {"pid-namespace": told["pid-namespace"]},
    ]
    (place / "status").write_text("".join(json.dumps(each) + "\n" for each in said))
    before = house.machine.census().inside(f"pid:[{others['pid-namespace']}]")
    strangers = _starts(house, [stranger])
    house.machine.ask("restarts", on=True)
    house.is_ready(60)
    app.settles("up", "web.1", "web.2")
    ids = _ids(app)
    assert other in ids
    assert instance not in ids
    assert house.machine.census().inside(f"pid:[{others['pid-namespace']}]") == before
    assert _starts(house, [stranger]) == strangers


def test_the_platforms_own_pids_now_are_strangers(house: Housed) -> None:
    """Pid files of a killed platform name strangers: they are neither adopted nor stopped."""
    app, instance, _ = _one_web(house)
    parts = ("control", "logplex", "haproxy")
    pids = [house.pid(part) for part in parts]
    _die(house, "up", *parts)
    _gone(house, *pids)
    strangers = _starts(house, [house.machine.ask("bystander", pid=pid) for pid in pids])
    house.machine.ask("restarts", on=True)
    house.is_ready(60)
    assert not {house.pid(part) for part in parts} & set(pids)
    assert _ids(app) == {instance}
    app.answers("steady")
    house.stop()
    assert _starts(house, pids) == strangers
