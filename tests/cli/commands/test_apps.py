from __future__ import annotations

import json
import subprocess
import webbrowser
from typing import Any

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal

APP: dict[str, Any] = {
    "name": "foobaz",
    "web_url": "http://foobaz.localhost:8080/",
    "git_url": "https://elsewhere.example.com/foobaz.git",
    "owner": {"email": "ned@foobazco.com"},
    "created_at": "2011-06-18T08:00:00Z",
    "maintenance": False,
    "stack": {"name": "oriel-1"},
    "slug_size": 1_234_567,
    "repo_size": 2048,
    "oriel": {"current": 76},
}


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_list(oriel: Oriel, stub: Stub) -> None:
    other = {**APP, "name": "bar", "owner": {"email": "rick@foobazco.com"}}
    stub.on("GET", "/apps", [APP, other])
    stub.on("GET", "/account", {"email": "ned@foobazco.com"})
    assert oriel("apps").out == "bar                             rick@foobazco.com\nfoobaz\n"
    assert json.loads(oriel("apps:list", "--json").out) == [APP, other]
    stub.on("GET", "/apps", [])
    assert "oriel apps:create" in oriel("list").err


def test_create_outside_of_a_repository(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/apps", APP)
    stub.on("GET", "/apps/foobaz/releases", [{"version": 1}])
    ended = oriel("apps:create", "foobaz")
    urls = f"http://foobaz.localhost:8080/ | {stub.url}/foobaz.git\n"
    assert (ended.out, ended.err) == (f"Creating foobaz... done, v1\n{urls}", "")
    assert stub.requests[0].json == {"name": "foobaz"}
    assert oriel("create").out == f"Creating app... done, foobaz, v1\n{urls}"


def test_create_in_a_repository_adds_the_remote_once(oriel: Oriel, stub: Stub) -> None:
    git("init", "-q")
    stub.on("POST", "/apps", APP)
    stub.on("GET", "/apps/foobaz/releases", [{"version": 1}])
    assert oriel("apps:create", "foobaz", "--no-remote").err == ""
    assert oriel("apps:create", "foobaz").err == "Git remote oriel added\n"
    assert git("remote", "get-url", "oriel") == f"{stub.url}/foobaz.git"
    assert "oriel git:remote -a foobaz" in oriel("apps:create", "foobaz").err


def test_info(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz", APP)
    assert oriel("apps:info", "foobaz").out == (
        "=== foobaz\n"
        "Web URL:     http://foobaz.localhost:8080/\n"
        f"Git URL:     {stub.url}/foobaz.git\n"
        "Owner:       ned@foobazco.com\n"
        "Release:     v76\n"
        "Maintenance: off\n"
        "Stack:       oriel-1\n"
        "Slug size:   1.2 MB\n"
        "Repo size:   2.0 kB\n"
        "Created:     2011-06-18 08:00:00 +0000\n"
    )
    assert "slug_size='1.2 MB'\n" in oriel("info", "-s", "-a", "foobaz").out


@pytest.mark.parametrize(("words", "stdin"), [(["--confirm", "foobaz"], ""), ([], "foobaz\n")])
def test_destroy(oriel: Oriel, stub: Stub, words: list[str], stdin: str) -> None:
    git("init", "-q")
    git("remote", "add", "oriel", f"{stub.url}/foobaz.git")
    git("remote", "add", "other", f"{stub.url}/other.git")
    stub.on("GET", "/apps/foobaz", APP)
    stub.on("DELETE", "/apps/foobaz", APP)
    ended = oriel("apps:destroy", "foobaz", *words, stdin=stdin)
    assert ended.out == "Destroying foobaz... done\n"
    assert git("remote") == "other"


@pytest.mark.parametrize(("words", "stdin"), [(["-c", "fobaz"], "foobaz"), ([], "n\n"), ([], "")])
def test_destroy_without_the_name_does_nothing(
    oriel: Oriel, stub: Stub, words: list[str], stdin: str
) -> None:
    stub.on("GET", "/apps/foobaz", APP)
    ended = oriel("destroy", "-a", "foobaz", *words, stdin=stdin)
    assert ended.code == 6
    assert "--confirm foobaz" in ended.err
    assert not stub.calls("DELETE")


def test_rename_takes_the_remote_along(oriel: Oriel, stub: Stub) -> None:
    git("init", "-q")
    git("remote", "add", "oriel", f"{stub.url}/foobaz.git")
    stub.on("PATCH", "/apps/foobaz", {**APP, "name": "barfoo"})
    ended = oriel("rename", "barfoo")
    assert ended.out.splitlines()[0] == "Renaming foobaz to barfoo... done"
    assert stub.requests[0].json == {"name": "barfoo"}
    assert git("remote", "get-url", "oriel") == f"{stub.url}/barfoo.git"


def test_open(oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return len(opened) == 1

    monkeypatch.setattr(webbrowser, "open", browse)
    stub.on("GET", "/apps/foobaz", APP)
    about = "http://foobaz.localhost:8080/about"
    assert oriel("open", "/about", "--url", "-a", "foobaz").out == f"{about}\n"
    assert opened == []
    assert oriel("open", "about", "-a", "foobaz").out == ""
    assert oriel("apps:open", "-a", "foobaz").out == "http://foobaz.localhost:8080/\n"
    assert opened == [about, "http://foobaz.localhost:8080/"]
    stub.on("GET", "/apps/foobaz", {**APP, "web_url": "file:///etc/passwd"})
    assert oriel("open", "-a", "foobaz").code == 1


def test_maintenance(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz", APP)
    stub.on("PATCH", "/apps/foobaz", APP)
    assert oriel("maintenance", "-a", "foobaz").out == "off\n"
    assert json.loads(oriel("maintenance", "-j", "-a", "foobaz").out) == {"maintenance": False}
    assert oriel("maintenance:on", "-a", "foobaz").out == "Maintenance mode enabled.\n"
    assert oriel("maintenance:off", "-a", "foobaz").out == "Maintenance mode disabled.\n"
    assert [each.json["maintenance"] for each in stub.calls("PATCH")] == [True, False]


def test_access(oriel: Oriel, stub: Stub) -> None:
    path = "/apps/foobaz/collaborators"
    found = [
        {"role": "owner", "user": {"email": "ned@foobazco.com"}},
        {"role": None, "user": {"email": "kate@foobazco.com"}},
    ]
    stub.on("GET", path, found)
    stub.on("POST", path, {})
    stub.on("DELETE", f"{path}/rick@foobazco.com", {})
    assert oriel("access", "-a", "foobaz").out == (
        "User                            Role\n"
        "------------------------------  ------------\n"
        "kate@foobazco.com\n"
        "ned@foobazco.com                owner\n"
    )
    added = oriel("access:add", "rick@foobazco.com", "-a", "foobaz").out
    assert added == "Adding rick@foobazco.com to foobaz... done\n"
    assert stub.calls("POST")[0].json == {"user": "rick@foobazco.com"}
    removed = oriel("sharing:remove", "rick@foobazco.com", "-a", "foobaz").out
    assert removed == "Removing rick@foobazco.com from foobaz... done\n"


BUILD = {
    "id": "0b8c41d2-0000-4000-8000-000000000000",
    "status": "failed",
    "message": "There is no Procfile.",
    "source_blob": {"version": "20a5742f00"},
    "user": {"email": "ned@foobazco.com"},
    "created_at": "2011-06-19T08:34:25Z",
    "release": None,
}


def test_builds(oriel: Oriel, stub: Stub) -> None:
    good = {**BUILD, "id": "1" * 36, "status": "succeeded", "release": {"version": 74}}
    stub.on("GET", "/apps/foobaz/builds", [BUILD, {**good, "created_at": "2011-06-19T07:00:00Z"}])
    assert oriel("builds", "-a", "foobaz").out == (
        "Build     Commit   Status                By                    When\n"
        "--------  -------  ----------            ----------            ----------\n"
        "0b8c41d2  20a5742  failed                ned@foobazco.com      1 minute ago\n"
        "11111111  20a5742  succeeded, v74        ned@foobazco.com      1 hour ago\n"
    )


def test_a_build_with_its_transcript(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/builds", [BUILD])
    output = f"/apps/foobaz/builds/{BUILD['id']}/output"
    stub.on("GET", output, "-----> Oriel receiving push\n")
    ended = oriel("builds:info", "0b8c", "-a", "foobaz")
    assert ended.out.splitlines()[:4] == [
        f"=== Build {BUILD['id']}",
        "Commit:      20a5742f00",
        "By:          ned@foobazco.com",
        "When:        1 minute ago",
    ]
    assert "-----> Oriel receiving push" in ended.out
    stub.on("GET", output, refusal(404, "not_found", "None."))
    assert oriel("builds:info", "-a", "foobaz").err == "It has no transcript.\n"
    assert oriel("builds:info", "ffff", "-a", "foobaz").code == 4
