from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oriel.cli import repository
from tests.cli.conftest import Oriel
from tests.client.stub import Stub


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_remote_and_helper_of_this_repository_only(
    oriel: Oriel, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "_on_path", lambda name: True)
    git("init", "-q")
    stub.on("GET", "/apps/foobaz", {"name": "foobaz"})
    for _ in range(2):
        ended = oriel("git:remote", "-a", "foobaz")
        assert ended.out == f"set git remote oriel to {stub.url}/foobaz.git\n"
    assert git("remote", "get-url", "oriel") == f"{stub.url}/foobaz.git"
    # The empty one first: no other helper gets to see, and keep, the token.
    helpers = [
        line.strip()
        for line in Path(".git/config").read_text().splitlines()
        if line.strip().startswith("helper")
    ]
    assert helpers == ["helper =", "helper = !oriel git:credentials"]
    assert git("config", "--local", f"credential.{stub.url}.helper") == "!oriel git:credentials"
    assert not (tmp_path / "gitconfig").exists()


def test_outside_of_a_repository(oriel: Oriel, stub: Stub) -> None:
    ended = oriel("git:remote", "-a", "foobaz")
    assert (ended.code, stub.requests) == (1, [])
    assert "git init" in ended.err


def ask(netloc: str, protocol: str = "http") -> str:
    return f"protocol={protocol}\nhost={netloc}\n\n"


def test_credentials_are_for_their_host_only(oriel: Oriel, stub: Stub) -> None:
    ended = oriel("git:credentials", "get", stdin=ask(stub.netloc))
    assert ended.out == "username=oriel\npassword=ned-token\n"
    for other in (
        ask("127.0.0.1:1"),
        ask("evil.example.com"),
        ask(stub.netloc, "https"),
        ask(stub.netloc + ".evil.example.com"),
        "protocol=http\n",
        "host=\x00\n",
        "",
    ):
        assert oriel("git:credentials", "get", stdin=other).out == ""
    for operation in ("store", "erase", "capability"):
        assert oriel("git:credentials", operation, stdin=ask(stub.netloc)).out == ""


def test_git_itself_gets_the_token(
    oriel: Oriel, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real git, with a helper that would keep everything configured globally."""
    kept = tmp_path / "kept"
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\ncat >> "{kept}"\n')
    spy.chmod(0o755)
    git("config", "--global", "credential.helper", str(spy))
    git("init", "-q")
    stub.on("GET", "/apps/foobaz", {"name": "foobaz"})
    oriel("git:remote", "-a", "foobaz")
    helper = f"!{sys.executable} -m oriel.cli.main git:credentials"
    key = f"credential.{stub.url}.helper"
    git("config", "--local", "--replace-all", key, helper, "git:credentials")
    root = Path(repository.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))
    done = subprocess.run(
        ["git", "credential", "fill"],
        input=ask(stub.netloc),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "username=oriel\npassword=ned-token\n" in done.stdout
    subprocess.run(["git", "credential", "approve"], input=done.stdout, text=True, check=True)
    assert not kept.exists()
