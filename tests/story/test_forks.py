"""The tale's forks: what else could have happened that day."""

from __future__ import annotations

import os
import signal

import pytest

from tests.story.platform import User, broken_tree, eventually, tree

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


def test_rolling_back_twice_goes_two_back(rick: User) -> None:
    app = rick.app("two-back")
    for version in ("one", "two", "three"):
        app.deploy(version)
    assert "Rolling back to v3... done, v5" in app.oriel("rollback").out
    app.answers("two")
    assert "Rolling back to v2... done, v6" in app.oriel("rollback").out
    app.answers("one")
    back = app.oriel("rollback", "v4")
    assert "Rolling back to v4... done, v7" in back.out
    app.answers("three")


def test_rollback_takes_the_config_along(rick: User) -> None:
    app = rick.app("config-back")
    app.deploy("one")
    app.oriel("config:set", "GREETING=old")
    app.oriel("config:set", "GREETING=new")
    app.answers("one new")
    assert "Rolling back to v3... done, v5" in app.oriel("rollback").out
    app.answers("one old")
    assert app.oriel("config:get", "GREETING").out == "old\n"
    shown = app.oriel("releases:diff", "v3", "v4").out
    assert "GREETING" in shown
    assert "old" not in shown


def test_push_during_a_crash_loop(rick: User) -> None:
    app = rick.app("crash-loop")
    app.commit(broken_tree("one"))
    app.push()
    app.settles("crashed", "web.1")
    app.deploy("two")
    app.answers("two")
    app.settles("up", "web.1")


def test_scale_while_deploying(rick: User) -> None:
    """A scale that comes while a push builds holds for the release of that push."""
    app = rick.app("scale-deploy")
    app.deploy("one")
    app.commit(tree("two"))
    push = app.begin_push()
    app.oriel("ps:scale", "web=3")
    out, _ = push.communicate(timeout=60)
    assert push.returncode == 0, out
    app.settles("up", "web.1", "web.2", "web.3")
    app.answers("two")


def test_config_change_while_a_push_builds(rick: User) -> None:
    """The push's release has the config that was set while it was built."""
    app = rick.app("config-deploy")
    app.deploy("one")
    app.commit(tree("two"))
    push = app.begin_push()
    app.oriel("config:set", "GREETING=meanwhile")
    out, _ = push.communicate(timeout=60)
    assert push.returncode == 0, out
    app.answers("two meanwhile")
    assert {change for _, change in app.releases()[:2]} >= {"Config add GREETING"}


def test_a_failed_build_changes_nothing(rick: User) -> None:
    app = rick.app("bad-build")
    app.deploy("one")
    app.commit({"Procfile": "web python3 server.py\n"})
    refused = app.push(check=False)
    assert refused.code != 0
    assert "Procfile" in refused.err
    assert "line 1" in refused.err or ":1" in refused.err
    assert app.releases()[0][0] == "v2"
    app.answers("one")
    newest = app.json("builds")[0]
    assert newest["status"] == "failed"
    assert "Procfile" in app.oriel("builds:info", newest["id"]).out


SLOW_BUILD = {
    "pyproject.toml": """
[project]
name = "slow"
version = "1"
[build-system]
requires = []
build-backend = "slow_backend"
backend-path = ["."]
""",
    "slow_backend.py": "import time\ntime.sleep(600)\n",
}


def test_an_interrupted_push_cancels_its_build(rick: User) -> None:
    app = rick.app("interrupted")
    app.deploy("one")
    app.commit(tree("two", **SLOW_BUILD))
    push = app.begin_push()
    building = lambda: "Installing" in app.oriel("builds:info").out  # noqa: E731
    eventually(building, what="the build is under way", within_s=30)
    os.killpg(push.pid, signal.SIGKILL)
    push.communicate()
    statuses = lambda: [each["status"] for each in app.json("builds")]  # noqa: E731
    eventually(lambda: statuses() == ["failed", "succeeded"], what="the build has failed")
    assert app.releases()[0][0] == "v2"
    app.answers("one")
    rick.run("git", "rm", "-q", *SLOW_BUILD, cwd=app.path)
    app.deploy("three")
    app.answers("three")


def test_a_failing_release_command_keeps_the_head(rick: User) -> None:
    app = rick.app("release-phase")
    app.deploy("one")
    procfile = "web: python3 server.py\nrelease: echo migrating; exit 3\n"
    app.commit(tree("two", Procfile=procfile))
    refused = app.push(check=False)
    assert "migrating" in refused.err
    assert "Release v3 failed: release command exited with status 3" in refused.err
    assert app.json("releases")[0]["status"] == "failed"
    app.answers("one")
    eventually(
        lambda: "app[release.3]: migrating" in app.logs(), what="what the release command said"
    )
    procfile = "web: python3 server.py\nrelease: echo migrated\n"
    app.commit(tree("two", Procfile=procfile))
    assert "migrated" in app.push().err
    app.answers("two")
    assert [each["status"] for each in app.json("releases")[:2]] == ["succeeded", "failed"]


def test_other_branches_are_stored_and_not_deployed(rick: User) -> None:
    app = rick.app("branches")
    app.deploy("one")
    rick.run("git", "checkout", "-q", "-b", "feature", cwd=app.path)
    app.commit(tree("feature"))
    pushed = rick.run("git", "push", "oriel", "feature", cwd=app.path)
    assert "main" in pushed.err
    assert app.releases()[0][0] == "v2"
    app.answers("one")


def test_destroy_leaves_nothing(rick: User) -> None:
    app = rick.app("doomed")
    app.deploy("one")
    app.answers("one")
    data = rick.platform.data
    app_id = app.json("apps:info")["id"]
    channels = {each.name for each in (data / "channels").iterdir()}
    app.oriel("apps:destroy", "--confirm", "doomed")
    assert app.get()[0] == 404
    assert not (data / "repos" / f"{app_id}.git").exists()
    assert not (data / "slugs" / app_id).exists()
    assert {each.name for each in (data / "channels").iterdir()} < channels
    assert not any(app_id in each.read_text() for each in (data / "dynos").glob("*/identity.json"))
    rick.oriel("apps:create", "doomed", cwd=rick.home)
