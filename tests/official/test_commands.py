"""The rows of heroku-cli-contract section 2 that this version brings, from the official program.

Each test has an app of its own; what is checked is what the program printed and what then is.
"""

from __future__ import annotations

import re

from .heroku import Heroku, eventually
from .place import KATE, NED, Place


def test_apps(heroku: Heroku, oriel: Place) -> None:
    made = heroku("apps:create", "born")
    authority = oriel.api.removeprefix("http://")
    assert f"https://{authority}/born.git" in made.out
    assert "Creating born... done" in made.err
    info = heroku("apps:info", "-a", "born").out
    for name, value in (("Owner", NED), ("Region", "us"), ("Stack", "oriel-1")):
        assert re.search(rf"^{name}: +{re.escape(value)}$", info, re.MULTILINE), info
    assert "=== born" in info
    assert "Repo Size:" in info
    assert "Slug Size:" in info
    assert re.search(r"Web URL: +http://born\.localhost:\d+/\n", info)
    assert "Creating app... done, " in heroku("apps:create").err
    renamed = heroku("apps:rename", "reborn", "-a", "born")
    assert "Renaming born to reborn... done" in renamed.err
    assert "reborn" in heroku("apps").out.split()
    gone = heroku("apps:destroy", "-a", "reborn", "-c", "reborn")
    assert "Destroying reborn (including all add-ons)... done" in gone.err
    missing = heroku("apps:info", "-a", "reborn", check=False)
    assert missing.code == 2
    assert "Error: Couldn't find that app." in missing.err
    assert "Error ID: not_found" in missing.err


def test_ps(heroku: Heroku, oriel: Place) -> None:
    oriel.app("scaled", "one")
    shown = heroku("ps", "-a", "scaled").out
    assert "=== web (Standard-1X): " in shown
    assert re.search(r"web\.1: up \d{4}/\d\d/\d\d \d\d:\d\d:\d\d \+0000 \(~ \d+s ago\)", shown)
    assert heroku("ps:scale", "-a", "scaled").out.split() == [
        "web=1:Standard-1X", "worker=0:Standard-1X"]  # fmt: skip
    scaled = heroku("ps:scale", "web=2", "worker+1:Standard-2X", "-a", "scaled")
    assert "now running web at 2:Standard-1X, worker at 1:Standard-2X" in scaled.err
    oriel.wait_up("scaled", "web.1", "web.2", "worker.1")
    listed = heroku("ps", "--json", "-a", "scaled").json
    assert {each["name"]: each["size"] for each in listed} == {
        "web.1": "Standard-1X",
        "web.2": "Standard-1X",
        "worker.1": "Standard-2X",
    }

    def ids() -> dict[str, str]:
        return {each["name"]: each["id"] for each in oriel.ask("GET", "/apps/scaled/dynos")}

    def restarted(before: dict[str, str], *names: str) -> bool:
        oriel.wait_up("scaled", *before)
        return {name for name, id in ids().items() if before[name] != id} == set(names)

    for argv, names, said in (
        (["-d", "web.1"], ["web.1"], "Restarting dyno web.1 on scaled... done"),
        (["-p", "worker"], ["worker.1"], "Restarting all worker dynos on scaled... done"),
        ([], ["web.1", "web.2", "worker.1"], "Restarting all dynos on scaled... done"),
    ):
        before = ids()
        assert said in heroku("ps:restart", *argv, "-a", "scaled").err
        eventually(lambda b=before, n=names: restarted(b, *n), f"{names} restarted")  # type: ignore[misc]
    assert "=== web (Standard-1X): " in heroku("ps", "web", "-a", "scaled").out
    extended = heroku("ps", "-x", "-a", "scaled").out
    assert re.search(r"web\.1 .* 2 +python3 server", extended), extended
    assert "Stopping dyno web.2 on scaled... done" in heroku("ps:stop", "web.2", "-a", "scaled").err
    stopped = heroku("ps:stop", "-p", "worker", "-a", "scaled")
    assert "Stopping all worker dynos on scaled... done" in stopped.err
    eventually(
        lambda: (
            [name for name, state in oriel.dynos("scaled").items() if state == "up"] == ["web.1"]
        ),
        "web.2 and worker.1 stopped",
    )


def test_ps_type(heroku: Heroku, oriel: Place) -> None:
    oriel.app("sized", "one")
    shown = heroku("ps:type", "-a", "sized").out
    assert re.search(r"web +Standard-1X +1", shown), shown
    sized = heroku("ps:type", "web=standard-2x", "-a", "sized")
    assert "Scaling dynos on sized... done" in sized.err
    assert re.search(r"web +Standard-2X +1", sized.out), sized.out
    eventually(
        lambda: {each["size"] for each in oriel.ask("GET", "/apps/sized/dynos")} == {"Standard-2X"},
        "it runs in its new size",
    )
    every = heroku("ps:type", "basic", "-a", "sized")
    assert re.search(r"worker +Basic +0", every.out), every.out
    wrong = heroku("ps:type", "web=huge", "-a", "sized", check=False)
    assert wrong.code != 0
    assert "is not known" in wrong.err


def test_ps_wait(heroku: Heroku, oriel: Place) -> None:
    oriel.app("awaited", "one")
    assert heroku("ps:wait", "-a", "awaited").code == 0
    # A release that takes the dynos down and up again, and one who waits for it from before.
    before = {each["id"] for each in oriel.ask("GET", "/apps/awaited/dynos")}
    oriel.ask("PATCH", "/apps/awaited/config-vars", {"FOO": "bar"})
    waiting = heroku.start("ps:wait", "-a", "awaited", "--wait-interval", "10")
    try:
        out, err = waiting.communicate(timeout=60)
    finally:
        waiting.kill()
    assert waiting.returncode == 0, (out, err)
    found = oriel.ask("GET", "/apps/awaited/dynos")
    assert {(each["state"], each["release"]["version"]) for each in found} == {("up", 3)}
    assert not before & {each["id"] for each in found}
    # A release whose web dynos never come up: nothing will ever run it, and who waits is told.
    oriel.ask("PATCH", "/apps/awaited/features/preboot", {"enabled": True})
    oriel.ask("PATCH", "/apps/awaited/config-vars", {"PYTHONHOME": "/nowhere"})
    told = heroku("ps:wait", "-a", "awaited", check=False)
    assert told.code != 0
    assert "Release v4 of awaited failed: preboot failed: web.1 exited" in told.err
    assert heroku("ps", "-a", "awaited").code == 0


def test_releases(heroku: Heroku, oriel: Place) -> None:
    oriel.app("rolled", "one", "two")
    listed = heroku("releases", "-a", "rolled").out
    assert "=== rolled Releases - Current: v3" in listed
    assert re.search(rf"v3 +Deploy [0-9a-f]{{7}} +{NED} +\d{{4}}/", listed)
    assert re.search(r"v1 +Initial release", listed)
    shown = heroku("releases:info", "v2", "-a", "rolled").out
    for said in ("=== Release v2", f"By:                     {NED}", "Eligible for Rollback?: Yes",
                 "=== v2 Config vars"):  # fmt: skip
        assert said in shown
    assert "=== Release v3" in heroku("releases:info", "-a", "rolled").out
    back = heroku("rollback", "-a", "rolled")
    assert "Rolling back rolled to v2... done, v4" in back.err
    assert "To undo, run: heroku rollback v3" in " ".join(back.err.split())
    again = heroku("releases:rollback", "v3", "-a", "rolled")
    assert "Rolling back rolled to v3... done, v5" in again.err
    newest = heroku("releases", "--json", "-n", "2", "-a", "rolled").json
    assert [(each["version"], each["description"], each["current"]) for each in newest] == [
        (5, "Rollback to v3", True), (4, "Rollback to v2", False)]  # fmt: skip


def test_config(heroku: Heroku, oriel: Place) -> None:
    oriel.app("tuned")
    made = heroku("config:set", "FOO=bar", "URL=postgres://a:b@c/d?e=f", "-a", "tuned")
    assert "Setting FOO, URL and restarting tuned... done, v2" in made.err
    assert "FOO: bar" in made.out
    assert heroku("config:get", "FOO", "-a", "tuned").out == "bar\n"
    assert heroku("config:get", "NONE", "-a", "tuned").out == "\n"
    assert "done, v3" in heroku("config:add", "MORE=1", "-a", "tuned").err
    shown = heroku("config", "-a", "tuned").out
    assert "=== tuned Config Vars" in shown
    assert re.search(r"^FOO: +bar$", shown, re.MULTILINE)
    assert "Unsetting MORE and restarting tuned... done, v4" in heroku(
        "config:remove", "MORE", "-a", "tuned").err  # fmt: skip
    assert heroku("config", "-s", "-a", "tuned").out.splitlines()[0] == "FOO=bar"
    assert "done, v5" in heroku("config:unset", "URL", "-a", "tuned").err
    assert heroku("config", "-j", "-a", "tuned").json == {"FOO": "bar"}
    wrong = heroku("config:set", "1BAD=x", "-a", "tuned", check=False)
    assert wrong.code == 2
    assert "is not allowed" in wrong.err


def test_features(heroku: Heroku, oriel: Place) -> None:
    oriel.app("featured")
    shown = heroku("features", "-a", "featured").out
    assert re.search(r"\[ \] +preboot", shown)
    enabled = heroku("features:enable", "preboot", "-a", "featured")
    assert "preboot" in enabled.err
    assert oriel.ask("GET", "/apps/featured/features/preboot")["enabled"] is True
    assert re.search(r"\[\+\] +preboot", heroku("features", "-a", "featured").out)
    info = heroku("features:info", "preboot", "-a", "featured").out
    assert re.search(r"Enabled: +true", info)
    heroku("features:disable", "preboot", "-a", "featured")
    assert oriel.ask("GET", "/apps/featured/features/preboot")["enabled"] is False


def test_maintenance_and_access(heroku: Heroku, oriel: Place) -> None:
    oriel.app("shared")
    assert "Enabling maintenance mode for shared... done" in heroku(
        "maintenance:on", "-a", "shared").err  # fmt: skip
    assert heroku("maintenance", "-a", "shared").out == "on\n"
    assert "Disabling maintenance mode for shared... done" in heroku(
        "maintenance:off", "-a", "shared").err  # fmt: skip
    assert oriel.ask("GET", "/apps/shared")["maintenance"] is False
    added = heroku("access:add", KATE, "-a", "shared")
    assert f"Adding {KATE} access to the app shared... done" in added.err
    shown = heroku("access", "-a", "shared").out
    assert re.search(rf"{KATE} +collaborator", shown)
    assert re.search(rf"{NED} +owner", shown)
    removed = heroku("access:remove", KATE, "-a", "shared")
    assert f"Removing {KATE} access from the app shared... done" in removed.err
    members = oriel.ask("GET", "/apps/shared/collaborators")
    assert [each["user"]["email"] for each in members] == [NED]
