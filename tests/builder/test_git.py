from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from oriel.builder import git
from oriel.builder.limits import Limits


def settings(env: dict[str, str]) -> dict[str, str]:
    count = int(env["GIT_CONFIG_COUNT"])
    return {env[f"GIT_CONFIG_KEY_{n}"]: env[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}


def test_no_configuration_but_ours() -> None:
    env = git.environment(Limits())
    assert env["GIT_CONFIG_NOSYSTEM"] == "1"
    assert env["GIT_CONFIG_GLOBAL"] == env["GIT_CONFIG_SYSTEM"] == "/dev/null"
    told = settings(env)
    assert told["receive.fsckObjects"] == told["transfer.fsckObjects"] == "true"
    assert told["protocol.allow"] == "never"
    assert told["receive.keepAlive"] == "5"
    assert told["core.hooksPath"] == "/oriel/hooks"
    assert told["receive.maxInputSize"] == str(500 * 1024 * 1024)
    assert settings(git.environment(Limits(), 7))["receive.maxInputSize"] == "7"
    # 0 would mean that there is no limit.
    assert settings(git.environment(Limits(), 0))["receive.maxInputSize"] == "1"


def test_git_itself_obeys_it(tmp_path: Path) -> None:
    env = {**git.environment(Limits()), "HOME": str(tmp_path)}
    answer = subprocess.run(
        ["git", "config", "--list", "--show-scope"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    scopes = {line.split("\t")[0] for line in answer.stdout.splitlines()}
    assert scopes == {"command"}


def test_packets() -> None:
    assert git.packet("hello\n") == b"000ahello\n"
    assert git.service_header("git-upload-pack") == b"001e# service=git-upload-pack\n0000"


@pytest.mark.parametrize("name", git.HOOK_TEXTS)
def test_hooks_are_posix_sh(name: str, tmp_path: Path) -> None:
    script = tmp_path / name
    script.write_text(git.HOOK_TEXTS[name])
    subprocess.run(["/bin/sh", "-n", str(script)], check=True)


def test_only_known_services_and_protocols() -> None:
    assert git.serve("git-receive-pack") == ("git", "receive-pack", "--stateless-rpc", "/repo")
    with pytest.raises(ValueError, match="upload-archive"):
        git.serve("git-upload-archive")
    assert git.protocol("version=2") == {"GIT_PROTOCOL": "version=2"}
    assert git.protocol("version=2:evil") == git.protocol("") == {}


def test_pushed_objects_are_seen_beside_the_others() -> None:
    assert git.waiting_objects("") == {}
    assert git.waiting_objects("tmp_objdir-incoming-x") == {
        "GIT_OBJECT_DIRECTORY": "/repo/objects/tmp_objdir-incoming-x",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "/repo/objects",
    }
