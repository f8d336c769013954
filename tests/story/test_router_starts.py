"""What HAProxy starts from is damaged, stale or refused: apps answer all the same."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from oriel.house import processes
from tests.story.platform import AppCopy, Platform, eventually, tree

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

WRAPPER = """#!/bin/sh
for word in "$@"; do
  if [ "$word" = -c ] && [ -e {flag} ]; then
    echo "[NOTICE]   (7) : haproxy version is 2.6.12"
    echo "[ALERT]    (7) : config : unknown keyword 'from-tomorrow' in 'frontend' section"
    exit 1
  fi
done
exec {real} "$@"
"""


@pytest.fixture(scope="module")
def fussy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH, whose haproxy refuses every configuration while a file is there."""
    real = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if real is None:
        pytest.skip("HAProxy is not installed")
    directory = tmp_path_factory.mktemp("bin")
    (directory / "haproxy").write_text(WRAPPER.format(flag=directory / "refuse", real=real))
    (directory / "haproxy").chmod(0o755)
    return directory


def doctor(platform: Platform) -> dict[str, dict[str, str]]:
    """What `oriel doctor` finds, by name."""
    assert platform.owner
    said = platform.owner.run(
        str(Path(sys.executable).parent / "oriel"),
        *("doctor", "--data", str(platform.data), "--json"),
        check=False,
    )
    return {each["name"]: each for each in json.loads(said.out)}


def app_of(platform: Platform) -> AppCopy:
    app = platform.set_up("rick@foobazco.com").app("steady")
    app.deploy("one")
    app.answers("one")
    return app


def comes_back(app: AppCopy, text: str) -> None:
    """HAProxy was killed: what was under way is lost, and so is a connection until it listens."""

    def answers() -> bool:
        with contextlib.suppress(OSError):
            status, body = app.get()
            return status == 200 and text in body
        return False

    eventually(answers, what=f"{app.name} answers {text}")


def test_a_refused_configuration_is_told_and_the_last_good_one_serves(
    own_platform: Platform, fussy: Path
) -> None:
    platform = own_platform
    platform.env["PATH"] = f"{fussy}:{os.environ['PATH']}"
    platform.start()
    app = app_of(platform)
    assert "router" not in doctor(platform)
    (fussy / "refuse").touch()
    # What a running HAProxy is told needs no configuration: releases go on.
    app.deploy("two")
    app.answers("two")
    found = eventually(lambda: doctor(platform).get("router"), what="doctor says so")
    assert found["state"] == "fail"
    assert "from-tomorrow" in found["said"]
    assert "from-tomorrow" in (platform.data / "router" / "refused.txt").read_text()
    assert "configuration refused" in (platform.data / "log" / "control.log").read_text()
    # It starts again from the last good one, and is told the rest at once.
    platform.kill("haproxy")
    comes_back(app, "two")
    (fussy / "refuse").unlink()
    app.oriel("ps:restart")
    eventually(lambda: "router" not in doctor(platform), what="doctor is content", pause_s=0.2)
    app.answers("two")


def descendants(pid: int) -> list[int]:
    """All processes below one, itself first."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def test_all_is_killed_and_what_is_left_lies_in_the_way(own_platform: Platform) -> None:
    platform = own_platform
    platform.start()
    app = app_of(platform)
    assert platform.up
    everything = descendants(platform.up.pid)
    for pid in everything:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    platform.up.wait()
    eventually(lambda: not any(map(lives, everything)), what="nothing of it runs")
    run, router = platform.data / "run", platform.data / "router"
    sockets = [each.name for each in run.iterdir() if each.is_socket()]
    assert {"haproxy.sock", "haproxy-master.sock", "logplex.sock", "up.sock"} <= set(sockets)
    config = router / "haproxy.cfg"
    whole = config.read_text()
    config.write_text(whole[: len(whole) // 2])
    (router / "haproxy.cfg.new").write_text(whole[:100])
    (router / "haproxy.cfg.part").write_text("global\n  nonsense")
    (router / "onward.key").write_text("half")
    (router / "refused.txt").write_text("what was wrong long ago\n")
    mine = processes.identify(os.getpid())
    stranger = processes.Identity(mine.pid, mine.start_time + 1, mine.boot_id)
    for name in ("haproxy", "control", "logplex"):
        processes.write_pid_file(platform.data / "run" / f"{name}.pid.json", stranger)

    platform.start()
    app.answers("one")
    # Not only the new one answers: it is what HAProxy would start from.
    platform.kill("haproxy")
    comes_back(app, "one")
    assert "nonsense" not in config.read_text()
    assert not (router / "refused.txt").exists()
    app.commit(tree("two"))
    app.push()
    app.answers("two")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
