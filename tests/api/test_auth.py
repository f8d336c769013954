"""Credentials from headers, and what a token's scopes are good for."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel import faults
from oriel.api import auth
from oriel.api.auth import Credentials


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Bearer abc", Credentials("abc")),
        ("bearer  abc ", Credentials("abc")),
        (_basic("ned@foobazco.com:pass:word"), Credentials("pass:word", "ned@foobazco.com")),
        (_basic(":token"), Credentials("token", "")),
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic !!!", None),
        (_basic("nocolon"), None),
        (_basic("user:"), None),
        (_basic("a\0b:c"), None),
        ("Digest x", None),
        ("Bearer " + "x" * 5000, None),
    ],
)
def test_headers(header: str | None, expected: Credentials | None) -> None:
    assert auth.read(header) == expected


@given(st.text(max_size=100))
def test_any_header_can_be_read(header: str) -> None:
    auth.read(header)
    auth.read("Basic " + header)


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(auth.read("Bearer hunter2"))


@pytest.mark.parametrize(
    ("scope", "method", "path", "good"),
    [
        ("global", "DELETE", "/apps/a", True),
        ("identity", "GET", "/account", True),
        ("identity", "GET", "/apps", False),
        ("read", "GET", "/apps/a/releases", True),
        ("read", "GET", "/apps/a/config-vars", False),
        ("read", "GET", "/apps/a/releases/7/config-vars", False),
        ("read", "GET", "/oriel/apps/a/releases/7/diff/8", False),
        ("read", "PATCH", "/apps/a/formation", False),
        ("read-protected", "GET", "/apps/a/config-vars", True),
        ("read-protected", "PATCH", "/apps/a/config-vars", False),
        ("write", "PATCH", "/apps/a/formation", True),
        ("write", "PATCH", "/apps/a/config-vars", False),
        ("write", "POST", "/a.git/git-receive-pack", True),
        ("write-protected", "PATCH", "/apps/a/config-vars", True),
        ("write-protected", "POST", "/oauth/authorizations", False),
        ("write-protected", "POST", "/oriel/users", False),
        ("nonsense", "GET", "/apps", False),
    ],
)
def test_scopes_limit_a_token(scope: str, method: str, path: str, good: bool) -> None:
    assert auth.allows([scope], method, path) is good


@pytest.mark.parametrize(
    ("scope", "path", "good"),
    [
        ("write", "/apps/a/dynos", False),
        ("write", "/apps/a/dynos/web.1", False),
        ("write-protected", "/apps/a/dynos", True),
        ("write", "/apps/a/dynos/web.1/actions/stop", True),
        ("read-protected", "/apps/a/dynos", False),
    ],
)
def test_a_command_in_a_dyno_sees_config(scope: str, path: str, good: bool) -> None:
    assert auth.allows([scope], "POST", path) is good


def test_an_unknown_scope_is_refused() -> None:
    auth.check_scopes(["global", "read"])
    with pytest.raises(faults.Invalid):
        auth.check_scopes(["everything"])
