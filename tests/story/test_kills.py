"""Any part of the platform is killed at any step: what was acknowledged stays, nothing doubles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story.platform import HERE, AppCopy, Platform, User, eventually, tree

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

STEPS = [
    "before act",
    "after act",
    "after release",
    "before restart",
    "before wish",
    "after wish",
    "before append",
    "after append",
    "before delivered",
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("kills")
    env = {"PYTHONPATH": str(HERE / "failpoints"), "ORIEL_TEST_KILL_AT": str(root / "kill-at")}
    whole = Platform(root, env=env)
    whole.start()
    try:
        yield whole
    finally:
        whole.stop()


@pytest.fixture(scope="module")
def app(rick: User) -> AppCopy:
    made = rick.app("survivor")
    made.deploy("one")
    made.answers("one")
    return made


def test_control_dies_between_act_release_and_restart(platform: Platform, app: AppCopy) -> None:
    """A config change is killed at each step: it is then there once, or not at all."""
    for number, step in enumerate(STEPS):
        wanted = f"try-{number}"
        before = len(app.json("releases"))
        pid = platform.pid("control")
        Path(platform.env["ORIEL_TEST_KILL_AT"]).write_text(step)
        app.oriel("config:set", f"GREETING={wanted}", check=False)
        eventually(lambda pid=pid: platform.pid("control") != pid, what=f"killed {step}")
        platform.is_ready()
        after = app.json("releases")
        assert len(after) in (before, before + 1), step
        if len(after) == before:
            assert step in ("before act", "after act", "after release"), step
            app.oriel("config:set", f"GREETING={wanted}")
        app.answers(f"one {wanted}")
        app.settles("up", "web.1")
    _each_line_once(app)
    assert app.oriel("releases:verify").code == 0


def test_each_part_is_killed_under_a_running_app(platform: Platform, app: AppCopy) -> None:
    """control, logplex, HAProxy: killed in turn; the dyno does not notice."""
    instance = app.json("ps")[0]["id"]
    for part in ("control", "logplex", "haproxy"):
        pid = platform.pid(part)
        platform.kill(part)
        eventually(lambda part=part, pid=pid: platform.pid(part) != pid, what=f"{part} again")
        platform.is_ready()
        app.answers("one")
        assert [dyno["id"] for dyno in app.json("ps")] == [instance], part


def test_up_is_killed_and_the_next_one_adopts(platform: Platform, app: AppCopy) -> None:
    instance = app.json("ps")[0]["id"]
    pids = {part: platform.pid(part) for part in ("control", "logplex")}
    platform.kill("up")
    app.answers("one")
    platform.start()
    assert {part: platform.pid(part) for part in pids} == pids
    assert [dyno["id"] for dyno in app.json("ps")] == [instance]
    app.commit(tree("two"))
    app.push()
    app.answers("two")


def test_a_dyno_that_exits_while_control_is_dead(platform: Platform, app: AppCopy) -> None:
    """Its last words and its exit code are known afterwards, in that order."""
    words = "last words of a dyno"
    script = f"import time\ntime.sleep(2)\nprint({words!r}, flush=True)\nraise SystemExit(7)\n"
    app.commit(
        {"Procfile": "web: python3 server.py\nbrief: python3 brief.py\n", "brief.py": script}
    )
    app.push()
    app.oriel("ps:scale", "brief=1")
    eventually(lambda: "brief.1" in app.states(), what="brief.1")
    platform.kill("control")
    platform.kill("logplex")
    platform.is_ready()

    def told() -> list[str]:
        return [line for line in app.logs("--ps", "brief.1") if words in line or "status 7" in line]

    seen = eventually(lambda: (lambda t: t if len(t) >= 2 else None)(told()), what="both lines")
    assert words in seen[0]
    assert "Process exited with status 7" in seen[1]
    app.oriel("ps:scale", "brief=0")


def _each_line_once(app: AppCopy) -> None:
    said = app.logs("--source", "heroku", "--ps", "api")
    created = Counter(line for line in said if "created by" in line)
    versions = len(app.json("releases"))
    assert len(created) == versions
    assert set(created.values()) == {1}
