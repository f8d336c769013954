from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.cli.repository import app_in, read_config, remotes


@pytest.mark.parametrize(
    ("url", "app"),
    [
        ("http://127.0.0.1:5050/foobaz.git", ("127.0.0.1:5050", "foobaz")),
        ("https://oriel.Example.com/foobaz.git", ("oriel.example.com", "foobaz")),
        ("https://ned:token@oriel.example.com/foobaz", ("oriel.example.com", "foobaz")),
        ("http://[::1]:5050/foobaz.git/", ("[::1]:5050", "foobaz")),
        ("ssh://git@127.0.0.1:2222/foobaz.git", ("127.0.0.1:2222", "foobaz")),
        ("git@heroku.com:foobaz.git", ("heroku.com", "foobaz")),
        ("https://github.com/ned/foobaz.git", ("", "")),
        ("/srv/git/foobaz.git", ("", "")),
        ("../foobaz", ("", "")),
        ("", ("", "")),
    ],
)
def test_app_in_a_url(url: str, app: tuple[str, str]) -> None:
    assert app_in(url) == app


@given(st.text(max_size=40))
def test_any_url(url: str) -> None:
    host, name = app_in(url)
    assert bool(host) == bool(name)


@pytest.mark.parametrize("setting", ["plain", "quoted", "included", "worktree"])
def test_remotes_are_what_git_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    here = tmp_path / "repository"
    (here / "below").mkdir(parents=True)
    monkeypatch.chdir(here)
    for words in (
        ["init", "-q"],
        ["remote", "add", "oriel", "http://127.0.0.1:5050/foobaz.git"],
        ["remote", "add", "my-remote/x", "https://oriel.example.com/bar.git"],
    ):
        subprocess.run(["git", *words], check=True)
    expected = {
        "oriel": "http://127.0.0.1:5050/foobaz.git",
        "my-remote/x": "https://oriel.example.com/bar.git",
    }
    if setting == "quoted":
        subprocess.run(["git", "config", "remote.x.url", "http://a/b#c;d"], check=True)
        expected["x"] = "http://a/b#c;d"
    if setting == "included":
        (tmp_path / "more").write_text('[remote "y"]\n\turl = http://a/y.git\n')
        subprocess.run(["git", "config", "include.path", str(tmp_path / "more")], check=True)
        expected["y"] = "http://a/y.git"
    if setting == "worktree":
        who = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
        subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "m"], check=True)
        subprocess.run(["git", "worktree", "add", "-q", "../tree"], check=True, capture_output=True)
        monkeypatch.chdir(tmp_path / "tree")
    else:
        monkeypatch.chdir(here / "below")
    text = (here / ".git" / "config").read_text()
    assert (read_config(text) is None) == (setting in ("quoted", "included"))
    assert remotes() == expected


def test_outside_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GIT_DIR", raising=False)
    assert remotes() == {}


@given(st.text(max_size=80) | st.text('[remote"] \nurl=x\\#;', max_size=60))
def test_any_config_is_read(text: str) -> None:
    read_config(text)
