from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.client import credentials
from oriel.client.credentials import Login
from oriel.client.refusal import Refusal

HERE = "http://127.0.0.1:5050"
THERE = "https://oriel.example.com"


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ned")
    assert credentials.path_of({"XDG_CONFIG_HOME": "/c"}, "linux") == "/c/oriel/credentials.json"
    home = "/home/ned/.config/oriel/credentials.json"
    assert credentials.path_of({}, "darwin") == home
    assert credentials.path_of({"XDG_CONFIG_HOME": "relative"}, "linux") == home
    assert credentials.path_of({"APPDATA": "/roaming"}, "linux") == home
    assert credentials.path_of({"APPDATA": "/roaming"}, "win32").startswith("/roaming")


def test_one_login_for_each_api(tmp_path: Path) -> None:
    path = str(tmp_path / "oriel" / "credentials.json")
    assert credentials.load(path) == {}
    credentials.remember(path, HERE, Login("ned@foobazco.com", "one", "id-1"))
    credentials.remember(path, THERE, Login("rick@foobazco.com", "two"))
    credentials.remember(path, HERE, Login("ned@foobazco.com", "three", "id-3"))
    assert credentials.token_for(path, HERE) == "three"
    assert credentials.token_for(path, THERE) == "two"
    assert credentials.token_for(path, "http://127.0.0.1:5051") == ""
    gone = credentials.forget(path, HERE)
    assert gone is not None
    assert gone.authorization == "id-3"
    assert credentials.forget(path, HERE) is None
    assert list(credentials.load(path)) == [THERE]
    assert os.listdir(tmp_path / "oriel") == ["credentials.json"]


def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "oriel" / "credentials.json"
    old = os.umask(0)
    try:
        credentials.remember(str(path), HERE, Login("ned@foobazco.com", "one"))
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    credentials.load(str(path))
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 1, "apis": {"a": {}}}',
        '{"version": 2}',
    ],
)
def test_a_damaged_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(text)
    with pytest.raises(Refusal) as refused:
        credentials.load(str(path))
    assert "oriel login" in refused.value.hint


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_any_content_is_read_or_refused(text: bytes | str) -> None:
    raw = text if isinstance(text, bytes) else text.encode()
    with contextlib.suppress(Refusal):
        credentials._parse("credentials.json", raw)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "oriel").write_text("a file")
    with pytest.raises(Refusal, match="cannot be"):
        credentials.remember(str(tmp_path / "oriel" / "c.json"), HERE, Login("a@b", "t"))
