"""One run of the official `heroku`: a home of its own, the environment that points it at Oriel,
and no way to any other host."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIMEOUT_S = 60.0

NOISE = ("Our terms of service have changed", "ExperimentalWarning", "HEROKU_API_KEY is set")


@dataclass(frozen=True)
class Ran:
    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"$ heroku {' '.join(self.argv)}\n{self.out}{self.err}[exit {self.code}]"


@dataclass(frozen=True)
class Heroku:
    """The command line as one account sees it."""

    bin: Path
    api: str
    home: Path
    token: str | None
    enter: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        authority = self.api.split("://", 1)[1]
        env = {
            "PATH": f"{self.bin}:{os.environ.get('PATH', '')}",
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local/share"),
            "HEROKU_HOST": self.api,
            "HEROKU_PARTICLEBOARD_URL": self.api,
            "HEROKU_LOGIN_HOST": self.api,
            "HEROKU_BUILDPACK_REGISTRY_URL": self.api,
            "HEROKU_GIT_HOST": authority,
            "HEROKU_DATA_HOST": "127.0.0.1",
            "DISABLE_TELEMETRY": "true",
            "HEROKU_SKIP_NEW_VERSION_CHECK": "true",
            # Else a first run leaves `heroku update` behind, which asks another host.
            "HEROKU_DISABLE_AUTOUPDATE": "true",
            "HEROKU_NETRC_WRITE": "true",
            "GIT_CONFIG_NOSYSTEM": "1",
            "TZ": "UTC",
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "TERM": "dumb",
            **self.more,
        }
        if not self.enter:
            # No namespace of its own: every other host is behind a proxy that is not there.
            for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
                env[name] = "http://127.0.0.1:9"
            env["no_proxy"] = env["NO_PROXY"] = "127.0.0.1,localhost"
        return env if self.token is None else {**env, "HEROKU_API_KEY": self.token}

    def argv(self, *argv: str) -> list[str]:
        return [*self.enter, str(self.bin / "heroku"), *argv]

    def __call__(
        self, *argv: str, check: bool = True, stdin: str = "", cwd: Path | None = None
    ) -> Ran:
        done = subprocess.run(
            self.argv(*argv),
            env=self.env,
            cwd=cwd or self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        ran = Ran(argv, done.returncode, done.stdout, done.stderr)
        if check:
            assert ran.code == 0, str(ran)
        return ran

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """A run that goes on beside the test."""
        return subprocess.Popen(
            self.argv(*argv),
            env=self.env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def lingering(home: Path) -> list[str]:
    """What still runs of anything that was started with this home."""
    mark = f"HOME={home}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes() + b"\0":
                argv = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                found.append(f"{process.name}: {argv.decode(errors='replace')}")
        except OSError:
            continue  # It has ended, or is somebody else's.
    return found


def eventually(ask: Callable[[], Any], what: str, within_s: float = 20.0) -> Any:
    """The first true answer, or a failure with what was seen last."""
    deadline = time.monotonic() + within_s
    while not (seen := ask()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}; last: {seen!r}"
        time.sleep(0.05)
    return seen
