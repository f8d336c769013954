from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Oriel
from tests.client.stub import Stub, refusal

MADE = {
    "id": "authorization-id",
    "access_token": {"token": "oriel-secret"},
    "user": {"email": "ned@foobazco.com"},
}
LINES = "ned@foobazco.com\ncorrect horse\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "config" / "oriel" / "credentials.json"


@pytest.fixture(autouse=True)
def _nobody(oriel: Oriel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORIEL_TOKEN")


def test_login_and_out(oriel: Oriel, stub: Stub, kept: Path) -> None:
    stub.on("POST", "/oauth/authorizations", MADE)
    ended = oriel("login", "--stdin", stdin=LINES)
    assert (ended.out, ended.code) == (f"Logged in to {stub.url} as ned@foobazco.com\n", 0)
    assert "secret" not in ended.out + ended.err
    asked = stub.requests[0]
    given = base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")).decode()
    assert given == "ned@foobazco.com:correct horse"
    assert asked.json["scope"] == ["global"]
    assert json.loads(kept.read_text())["apis"][stub.url]["token"] == "oriel-secret"
    assert kept.stat().st_mode & 0o777 == 0o600

    stub.on("GET", "/account", {"email": "ned@foobazco.com"})
    assert oriel("whoami").out == "ned@foobazco.com\n"
    assert stub.requests[-1].headers["Authorization"] == "Bearer oriel-secret"

    stub.on("DELETE", "/oauth/sessions/~", refusal(404, "not_found", "None."))
    stub.on("DELETE", "/oauth/authorizations/authorization-id", {})
    assert oriel("logout").out == f"Logged out of {stub.url}\n"
    assert stub.requests[-1].path == "/oauth/authorizations/authorization-id"
    assert json.loads(kept.read_text())["apis"] == {}
    assert oriel("whoami").code == 8
    assert "not logged in" in oriel("logout").err


def test_logging_out_of_what_is_away_forgets_all_the_same(
    oriel: Oriel, stub: Stub, kept: Path
) -> None:
    stub.on("POST", "/oauth/authorizations", MADE)
    oriel("login", "--stdin", stdin=LINES)
    stub.on("DELETE", "/oauth/sessions/~", refusal(503, "unavailable", "Away."))
    ended = oriel("logout")
    assert "may go on being valid" in ended.err
    assert json.loads(kept.read_text())["apis"] == {}


def test_a_wrong_password_keeps_nothing(oriel: Oriel, stub: Stub, kept: Path) -> None:
    wrong = refusal(401, "unauthorized", "E-mail address or password is wrong.")
    stub.on("POST", "/oauth/authorizations", wrong)
    ended = oriel("login", "--stdin", stdin=LINES)
    assert ended.code == 8
    assert ended.err == " !    E-mail address or password is wrong.\n"
    assert not kept.exists()


def test_a_script_without_lines_is_told_what_to_do(oriel: Oriel, stub: Stub) -> None:
    assert "--stdin" in oriel("login").err
    assert "Password is missing" in oriel("login", "--stdin", stdin="ned@foobazco.com\n").err
    assert stub.requests == []


@pytest.mark.parametrize("as_file", [True, False])
def test_setup(oriel: Oriel, stub: Stub, tmp_path: Path, as_file: bool) -> None:
    stub.on("POST", "/oriel/setup", {"email": "ned@foobazco.com"})
    stub.on("POST", "/oauth/authorizations", MADE)
    token = "one-time"
    if as_file:
        (tmp_path / "setup-token").write_text("one-time\n")
        token = str(tmp_path / "setup-token")
    assert oriel("login", "--setup", token, "--stdin", stdin=LINES).code == 0
    assert stub.requests[0].json == {
        "token": "one-time",
        "email": "ned@foobazco.com",
        "password": "correct horse",
    }
    assert oriel("login", "--setup", "/nowhere/token", "--stdin", stdin=LINES).code == 4


def test_invitation(oriel: Oriel, stub: Stub) -> None:
    stub.on("POST", "/oriel/invitations", {"email": "ned@foobazco.com"})
    stub.on("POST", "/oauth/authorizations", MADE)
    ended = oriel("login", "--invitation", "--stdin", stdin="once\r\ncorrect horse\r\n")
    assert ended.code == 0
    assert stub.requests[0].json == {"token": "once", "password": "correct horse"}


@pytest.mark.parametrize("lines", ["", "one\n", "\n\n"])
def test_an_invitation_that_is_not_there(oriel: Oriel, stub: Stub, lines: str) -> None:
    assert oriel("login", "--invitation", "--stdin", stdin=lines).code == 2
    assert oriel("login", "--invitation", "--setup", "b").code == 2
    assert stub.requests == []


def test_a_password_over_plain_http_is_warned_of(
    oriel: Oriel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORIEL_API", "http://oriel.invalid")
    assert "goes unencrypted" in oriel("login", "--stdin", stdin="").err


def test_users(oriel: Oriel, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIEL_TOKEN", "owner")
    rick = {"email": "rick@foobazco.com", "created_at": "2011-06-19T08:00:00Z"}
    owner = {**rick, "email": "ned@foobazco.com", "oriel": {"owner": True, "active": True}}
    stub.on("GET", "/oriel/users", [{**rick, "oriel": {"owner": False, "active": False}}, owner])
    lines = oriel("users").out.splitlines()
    assert lines[2] == "ned@foobazco.com                owner         35 minutes ago"
    assert lines[3] == "rick@foobazco.com               invited       35 minutes ago"
    stub.on("POST", "/oriel/users", {**rick, "invitation": "once"})
    ended = oriel("users:add", "rick@foobazco.com")
    assert ended.out == f"ORIEL_API={stub.url} oriel login --invitation\nonce\n"
    assert ended.err.startswith("Invited rick@foobazco.com.")
    stub.on("POST", "/oriel/users/rick@foobazco.com/actions/reset", {**rick, "invitation": "two"})
    assert oriel("users:reset", "rick@foobazco.com").out.endswith("--invitation\ntwo\n")
    stub.on("DELETE", "/oriel/users/rick@foobazco.com", rick)
    assert oriel("users:remove", "rick@foobazco.com").out == "Removing rick@foobazco.com... done\n"
