"""The tale of the seed, from push to fix, told by real users to a real platform."""

from __future__ import annotations

import re

import pytest

from tests.story.platform import AppCopy, Platform, User, broken_tree, tree

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
RULE = "------------  ------------------  ------------------------------"


def test_deploy_gone_wrong(platform: Platform, rick: User, ned: User) -> None:
    """Ned pushes a tree without its new module, looks, rolls back, and pushes the fix."""
    app = rick.app("foobaz-production")
    good = app.commit(tree("one"))
    pushed = app.push()
    remote = [line.removeprefix("remote: ").rstrip() for line in pushed.err.splitlines()]
    assert "-----> Oriel receiving push" in remote
    assert "-----> Launching... done, v2" in remote
    url = f"       http://foobaz-production.localhost:{platform.web_port} deployed to Oriel"
    assert url in remote
    app.settles("up", "web.1")
    scaled = app.oriel("ps:scale", "web=2", "worker=2")
    assert "now running 2" in scaled.out
    app.settles("up", "web.1", "web.2", "worker.1", "worker.2")
    app.answers("one")

    app.oriel("access:add", "ned@foobazco.com")
    mine = ned.clone("foobaz-production")
    bad = mine.commit(broken_tree("two"), "Move duplicated code into story_utils")
    assert "-----> Launching... done, v3" in mine.push().err
    everything = ("web.1", "web.2", "worker.1", "worker.2")
    mine.settles("crashed", *everything)
    lines = mine.oriel("ps").out.splitlines()
    assert lines[0] == "Process       State               Command"
    assert lines[1] == RULE
    assert re.fullmatch(r"web\.1         crashed for \d+s +python3 server\.py *", lines[2])
    assert [line.split()[0] for line in lines[2:]] == list(everything)

    said = mine.oriel("logs", "--ps", "web.1").out
    assert re.search(
        rf"{STAMP} heroku\[web\.1\]: Starting process with command: `python3 server\.py`\n", said
    )
    assert re.search(rf"{STAMP} app\[web\.1\]: ModuleNotFoundError: .*story_utils", said)
    last_words = said.index("ModuleNotFoundError")
    assert said.index("Process exited with status 1", last_words) > last_words
    assert mine.get()[0] == 503

    rolled = mine.oriel("rollback")
    assert rolled.out.splitlines()[0] == "-----> Rolling back to v2... done, v4"
    assert "oriel rollback v3" in rolled.out + rolled.err
    mine.settles("up", *everything)
    mine.answers("one")

    fixed = mine.commit({"story_utils.py": ""}, "Add the module")
    mine.push()
    mine.answers("two")
    mine.settles("up", *everything)
    _releases(mine, {"v5": fixed, "v3": bad, "v2": good})
    _api_lines(mine)


def _releases(app: AppCopy, commits: dict[str, str]) -> None:
    lines = app.oriel("releases").out.splitlines()
    assert lines[0] == "Rel   Change                          By                    When"
    assert (
        lines[1].rstrip()
        == "----  ----------------------          ----------            ----------"
    )
    rows = [re.split(r" {2,}", line.strip()) for line in lines[2:]]
    assert [row[0] for row in rows] == ["v5", "v4", "v3", "v2", "v1"]
    for row in rows:
        if row[0] in commits:
            assert row[1] == f"Deploy {commits[row[0]]}"
        assert re.fullmatch(r"\d+ (second|minute)s? ago", row[3])
    assert rows[1][1] == "Rollback to v2"
    assert [row[2] for row in rows] == ["ned@foobazco.com"] * 3 + ["rick@foobazco.com"] * 2
    assert app.oriel("releases:verify").code == 0


def _api_lines(app: AppCopy) -> None:
    asked = app.oriel("logs", "--source", "heroku", "--ps", "api", "-n", "1500").out
    assert asked == app.oriel("logs", "--source", "app", "--dyno", "api", "-n", "1500").out
    said = [line.partition(" ")[2] for line in asked.splitlines()]
    assert "heroku[api]: Scale to web=2, worker=2 by rick@foobazco.com" in said
    assert "heroku[api]: Rollback to v2 by ned@foobazco.com" in said
    assert "heroku[api]: Release v4 created by ned@foobazco.com" in said
    numbered = [line for line in said if "created by" in line]
    assert len(numbered) == len(set(numbered)) == 5


def test_config_is_a_release(rick: User) -> None:
    """Setting, removing and importing config: each a release, to the letter of the seed."""
    app = rick.app("config-story")
    app.deploy("one")
    app.answers("one")
    added = app.oriel("config:add", "GREETING=hello")
    assert added.out.splitlines() == [
        "Adding config vars:",
        "  GREETING => hello",
        "Restarting app... done, v3",
    ]
    app.answers("one hello")
    assert "done, v4" in app.oriel("config:remove", "GREETING").out
    assert app.releases()[:2] == [("v4", "Config remove GREETING"), ("v3", "Config add GREETING")]
    exported = "GREETING='it'\"'\"'s me'\nOTHER=two\n"
    app.oriel("config:import", stdin=exported)
    assert app.oriel("config:get", "GREETING").out == "it's me\n"
    assert rick.json("config", "-a", "config-story") == {"GREETING": "it's me", "OTHER": "two"}


def test_maintenance(rick: User) -> None:
    """Maintenance answers 503 with a page; the dynos go on."""
    app = rick.app("maintenance-story")
    app.deploy("one")
    app.answers("one")
    for _ in range(5):  # What a command says is done is so for the very next request.
        app.oriel("maintenance:on")
        status, body = app.get()
        assert status == 503
        assert "aintenance" in body
        app.settles("up", "web.1")
        app.oriel("maintenance:off")
        assert app.get()[0] == 200
    said = app.logs("--source", "heroku", "--ps", "api")
    assert "heroku[api]: Set maintenance mode on by rick@foobazco.com" in said


def test_router_lines(rick: User) -> None:
    """Each request is a line in the app's channel."""
    app = rick.app("router-story")
    app.deploy("one")
    app.answers("one")
    app.get("/a/path?with=query")

    from tests.story.platform import eventually

    def line() -> str:
        said = [each for each in app.logs("--ps", "router") if "/a/path" in each]
        return said[0] if said else ""

    seen = eventually(line, what="the router's line")
    assert re.fullmatch(
        r'heroku\[router\]: at=info method=GET path="/a/path\?with=query" '
        r'host=router-story\.localhost request_id=\S+ fwd="127\.0\.0\.1" dyno=web\.1 '
        r"connect=\d+ms service=\d+ms status=200 bytes=\d+ protocol=http1\.1 tls=false",
        seen,
    )


def test_one_users_app_is_not_anothers(platform: Platform, rick: User, ned: User) -> None:
    """An app that one is no member of does not exist for one: neither to see nor to push to."""
    app = rick.app("private-story")
    app.deploy("one")
    for argv in (
        ("ps",),
        ("logs",),
        ("releases",),
        ("config",),
        ("config:set", "A=1"),
        ("ps:scale", "web=0"),
        ("rollback",),
        ("maintenance:on",),
        ("access:add", "ned@foobazco.com"),
        ("apps:destroy", "--confirm", "private-story"),
        ("builds",),
    ):
        refused = ned.oriel(*argv, "-a", "private-story", check=False)
        assert refused.code != 0, refused
        assert "Couldn't find that app" in refused.err
    copy = ned.home / "sneaky"
    copy.mkdir()
    ned.run("git", "init", "-q", "-b", "main", cwd=copy)
    ned.run("git", "commit", "-q", "--allow-empty", "-m", "x", cwd=copy)
    ned.run("git", "remote", "add", "oriel", f"{platform.api}/private-story.git", cwd=copy)
    helper = f"credential.{platform.api}.helper"
    ned.run("git", "config", helper, "!oriel git:credentials", cwd=copy)
    assert ned.run("git", "push", "oriel", "main", cwd=copy, check=False).code != 0
    assert "private-story" not in ned.oriel("apps").out
    app.answers("one")
