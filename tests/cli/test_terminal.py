"""What only a real terminal shows: colour, width, a password that is not echoed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import oriel
from oriel.cli import terminal
from tests.cli.commands.test_ps import CRASHED
from tests.client.stub import Stub, sse

pty = pytest.importorskip("pty")

ROOT = Path(oriel.__file__).parents[1]
OnTerminal = Callable[..., tuple[int, str]]


@pytest.fixture
def on_terminal(stub: Stub, tmp_path: Path) -> OnTerminal:
    """Run a command line on a terminal of its own, typing `typed` at the prompts."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "ORIEL_API": stub.url,
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
    }

    def run(*words: str, typed: tuple[tuple[str, str], ...] = (), **more: str) -> tuple[int, str]:
        # A process of its own for the terminal: this one has threads, which do not fork well.
        read, write = os.pipe()
        script = (
            "import os, pty, sys\n"
            "status = pty.spawn(sys.argv[2:], lambda fd: os.read(fd, 65536))\n"
            "os.write(int(sys.argv[1]), str(os.waitstatus_to_exitcode(status)).encode())\n"
        )
        with subprocess.Popen(
            [
                sys.executable,
                "-c",
                script,
                str(write),
                sys.executable,
                "-m",
                "oriel.cli.main",
                *words,
            ],
            env={**environ, **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[write],
        ) as process:
            os.close(write)
            assert process.stdin is not None
            assert process.stdout is not None
            shown = b""
            for prompt, answer in typed:
                while not shown.endswith(prompt.encode()):
                    got = os.read(process.stdout.fileno(), 65536)
                    assert got, shown
                    shown += got
                process.stdin.write(answer.encode() + b"\n")
                process.stdin.flush()
            # What is left; its input must stay open until then, or the terminal hangs up.
            while got := os.read(process.stdout.fileno(), 65536):
                shown += got
            process.stdin.close()
        code = int(os.read(read, 10) or b"-1")
        os.close(read)
        return code, shown.decode().replace("\r\n", "\n")

    return run


def test_states_have_colours(on_terminal: OnTerminal, stub: Stub) -> None:
    stub.on("GET", "/apps/foobaz/dynos", CRASHED)
    code, shown = on_terminal("ps", "-a", "foobaz", ORIEL_TOKEN="t")
    assert code == 0
    assert "web.1         \x1b[31mcrashed\x1b[0m for 4s      bundle" in shown
    _, plain = on_terminal("ps", "-a", "foobaz", ORIEL_TOKEN="t", NO_COLOR="1")
    assert "\x1b" not in plain


def test_log_headers_have_colours_and_nothing_else_steers(
    on_terminal: OnTerminal, stub: Stub
) -> None:
    line = b"2011-06-19T08:35:21.5+00:00 app[web.1]: hi\x1b[2J"
    stub.on("POST", "/apps/foobaz/log-sessions", {"logplex_url": f"{stub.url}/log-sessions/x"})
    stub.on("GET", "/log-sessions/x", sse(("1", [line])))
    _, shown = on_terminal("logs", "-a", "foobaz", ORIEL_TOKEN="t")
    assert shown == "\x1b[36m2011-06-19T08:35:21+00:00 app[web.1]:\x1b[0m hi^[[2J\n"


def test_a_password_is_not_shown(on_terminal: OnTerminal, stub: Stub) -> None:
    made = {"id": "i", "access_token": {"token": "oriel-secret"}, "user": {"email": "ned@foobaz"}}
    stub.on("POST", "/oauth/authorizations", made)
    code, shown = on_terminal(
        "login", typed=(("E-mail: ", "ned@foobaz"), ("Password: ", "correct horse"))
    )
    assert code == 0
    assert "Logged in" in shown
    assert "horse" not in shown
    assert "secret" not in shown
    assert stub.requests[0].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("text", "safe"),
    [("plain é漢", "plain é漢"), ("a\x1b[2J\x9b\u202eb\tc\n", "a?[2J??b c ")],
)
def test_shown(text: str, safe: str) -> None:
    assert terminal.shown(text) == safe
