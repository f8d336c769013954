"""A whole Oriel for a test: a real `oriel up`, real users with homes of their own, real git.

Everything lives below one temporary directory. Nothing sleeps to wait: what must become true is
asked for until it is, or until a deadline says what was seen last.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PASSWORD = "correct horse battery"
HERE = Path(__file__).parent

SERVER = """
import http.server, os, sys
VERSION = {version!r}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = (VERSION + " " + os.environ.get("GREETING", "") + " " + os.environ["DYNO"]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        print("answered", self.path, flush=True)
print("serving", VERSION, flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""

PROCFILE = "web: python3 server.py\nworker: python3 -u worker.py\n"
WORKER = "import time\nprint('working', flush=True)\nwhile True:\n    time.sleep(60)\n"


def tree(version: str, **more: str) -> dict[str, str]:
    """A small app that needs no build and answers with its version."""
    return {
        "Procfile": PROCFILE,
        "server.py": SERVER.format(version=version),
        "worker.py": WORKER,
        **more,
    }


def broken_tree(version: str) -> dict[str, str]:
    """The same after a refactoring whose new module was not added to git."""
    files = tree(version)
    for name in ("server.py", "worker.py"):
        files[name] = "import story_utils\n" + files[name]
    return files


def eventually(
    ask: Callable[[], Any], *, within_s: float = 20.0, what: str = "", pause_s: float = 0.02
) -> Any:
    """The first true answer of `ask`; fails with what was seen last when none comes in time."""
    deadline = time.monotonic() + within_s
    while True:
        seen = ask()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or ask}; last seen: {seen!r}")
        time.sleep(pause_s)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Ran:
    """What a command said and how it ended."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {' '.join(self.argv)}\n{self.out}{self.err}[exit {self.code}]"


@dataclass
class User:
    """Somebody with a home, a login and an `oriel` command."""

    platform: Platform
    email: str
    home: Path

    @property
    def env(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "SSL_CERT_FILE")}
        return {
            **keep,
            "PATH": f"{Path(sys.executable).parent}:{keep.get('PATH', '')}",
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "ORIEL_API": self.platform.api,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": self.email.split("@")[0],
            "GIT_AUTHOR_EMAIL": self.email,
            "GIT_COMMITTER_NAME": self.email.split("@")[0],
            "GIT_COMMITTER_EMAIL": self.email,
            "GIT_TERMINAL_PROMPT": "0",
            "TERM": "dumb",
        }

    def run(
        self,
        *argv: str,
        cwd: Path | None = None,
        stdin: str = "",
        check: bool = True,
        timeout_s: float = 90.0,
        env: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run a command as this user."""
        done = subprocess.run(
            argv,
            cwd=cwd or self.home,
            env={**self.env, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        ran = Ran(argv, done.returncode, done.stdout, done.stderr)
        if check:
            assert ran.code == 0, f"{ran}\n{self.platform.said()}"
        return ran

    def oriel(self, *argv: str, **more: Any) -> Ran:
        """Run an `oriel` command."""
        return self.run("oriel", *argv, **more)

    def json(self, *argv: str, **more: Any) -> Any:
        """The answer of a reading command as data."""
        return json.loads(self.oriel(*argv, "--json", **more).out)

    def app(self, name: str) -> AppCopy:
        """Create an app, with a working copy that can be pushed."""
        copy = self.home / name
        copy.mkdir()
        self.run("git", "init", "-q", "-b", "main", cwd=copy)
        self.oriel("apps:create", name, cwd=copy)
        return AppCopy(self, name, copy)

    def clone(self, name: str) -> AppCopy:
        """A working copy of an app that another made."""
        copy = self.home / name
        copy.mkdir()
        self.run("git", "init", "-q", "-b", "main", cwd=copy)
        self.oriel("git:remote", "-a", name, cwd=copy)
        self.run("git", "fetch", "-q", "oriel", cwd=copy)
        self.run("git", "reset", "-q", "--hard", "oriel/main", cwd=copy)
        return AppCopy(self, name, copy)


@dataclass
class AppCopy:
    """One user's working copy of an app."""

    user: User
    name: str
    path: Path

    def commit(self, files: Mapping[str, str], message: str = "change") -> str:
        """Make the tree be `files`; returns the short hash."""
        for name, text in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.user.run("git", "add", "-A", cwd=self.path)
        self.user.run("git", "commit", "-q", "--allow-empty", "-m", message, cwd=self.path)
        return self.user.run("git", "rev-parse", "HEAD", cwd=self.path).out.strip()[:7]

    def push(self, *, check: bool = True) -> Ran:
        return self.user.run("git", "push", "oriel", "main", cwd=self.path, check=check)

    def begin_push(self) -> subprocess.Popen[str]:
        """A push in the background, in a process group of its own."""
        return subprocess.Popen(
            ["git", "push", "oriel", "main"],
            cwd=self.path,
            env=self.user.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def deploy(self, version: str) -> str:
        """Commit and push the small app in that version; returns the short hash."""
        commit = self.commit(tree(version))
        self.push()
        return commit

    def oriel(self, *argv: str, **more: Any) -> Ran:
        return self.user.oriel(*argv, cwd=self.path, **more)

    def json(self, *argv: str) -> Any:
        return self.user.json(*argv, cwd=self.path)

    def get(self, path: str = "/") -> tuple[int, str]:
        """The app's HTTP answer, through the router."""
        return self.user.platform.get(f"{self.name}.localhost", path)

    def answers(self, text: str, within_s: float = 30.0) -> str:
        """Wait until the app answers 200 with `text` in it."""

        def ask() -> str:
            status, body = self.get()
            return body if status == 200 and text in body else ""

        return str(eventually(ask, within_s=within_s, what=f"{self.name} answers {text!r}"))

    def states(self) -> dict[str, str]:
        """Dyno names and their states."""
        return {dyno["name"]: dyno["state"] for dyno in self.json("ps")}

    def settles(self, state: str, *names: str, within_s: float = 30.0) -> dict[str, str]:
        """Wait until exactly these dynos are there, all in `state`."""
        wanted = dict.fromkeys(names, state)

        def ask() -> dict[str, str]:
            seen = self.states()
            return seen if seen == wanted else {}

        try:
            return dict(eventually(ask, within_s=within_s, what=f"{wanted}"))
        except AssertionError as error:
            raise AssertionError(f"{error}; now {self.states()}") from None

    def logs(self, *argv: str) -> list[str]:
        """What each log line says behind its time."""
        lines = self.oriel("logs", "-n", "1500", *argv).out.splitlines()
        return [line.partition(" ")[2] for line in lines]

    def releases(self) -> list[tuple[str, str]]:
        """(v74, Deploy df7bb82)..., newest first."""
        return [(f"v{each['version']}", each["description"]) for each in self.json("releases")]


@dataclass
class Platform:
    """One `oriel up` and its directory."""

    root: Path
    more: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    """What its commands are run by: as another user, say."""
    env: dict[str, str] = field(default_factory=dict)
    api_port: int = 0
    web_port: int = 0
    up: subprocess.Popen[bytes] | None = None
    owner: User | None = None

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.api_port = self.api_port or free_port()
        self.web_port = self.web_port or free_port()

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def start(self) -> None:
        """Start `oriel up` and wait until its API answers."""
        out = (self.root / "up.log").open("ab")
        self.up = subprocess.Popen(
            [
                *self.under,
                *(str(Path(sys.executable).parent / "oriel"), "up", "--data", str(self.data)),
                *("--api", f"127.0.0.1:{self.api_port}", "--web", f"127.0.0.1:{self.web_port}"),
                *self.more,
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **self.env},
            start_new_session=True,
        )
        out.close()
        try:
            self.is_ready()
        except BaseException:
            self.up.terminate()
            self.up.wait(timeout=60)
            self.up = None
            raise

    def is_ready(self, within_s: float = 40.0) -> None:
        """Wait until API and router answer."""
        try:
            eventually(self._answers, within_s=within_s, what="the platform answers")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None

    def _answers(self) -> bool:
        if self.up is not None and self.up.poll() is not None:
            raise AssertionError(f"oriel up has ended with {self.up.returncode}\n{self.said()}")
        try:
            self._open(f"{self.api}/account", {})
            self.get("nobody.localhost")
        except urllib.error.HTTPError as error:
            if error.code != 401:
                return False
            try:
                return self.get("nobody.localhost")[0] == 404
            except OSError:
                return False
        except OSError:
            return False
        return False

    def stop(self, *, dynos: bool = True) -> None:
        """`oriel down`, and the end of `oriel up`."""
        if self.up is None:
            return
        oriel = str(Path(sys.executable).parent / "oriel")
        argv = [*self.under, oriel, "down", "--data", str(self.data)]
        done = subprocess.run(
            [*argv, *(["--dynos"] if dynos else [])],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.said()}"
        self.up.wait(timeout=30)
        self.up = None

    def pid(self, name: str) -> int:
        """The process id of `control`, `logplex` or `haproxy`."""
        return int(json.loads((self.data / "run" / f"{name}.pid.json").read_text())["pid"])

    def kill(self, name: str) -> None:
        """SIGKILL a part of the platform."""
        if name == "up":
            assert self.up is not None
            self.up.kill()
            self.up.wait()
        else:
            os.kill(self.pid(name), signal.SIGKILL)

    def reload_haproxy(self) -> None:
        """As control does when there are more apps than slots; back when the new worker serves."""
        master = str(self.data / "run" / "haproxy-master.sock")

        def workers() -> str:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as door:
                door.connect(master)
                door.sendall(b"show proc\nquit\n")
                shown = door.makefile("rb").read().decode()
                return shown.partition("# workers")[2].partition("# old workers")[0]
            return ""

        def asked() -> bool:
            # Of a master that executes itself anew just then it is reset, and was not asked.
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as door:
                door.connect(master)
                door.sendall(b"reload\n")
                while door.recv(4096):
                    pass
                return True
            return False

        before = eventually(workers, what="the master answers").split()[0]
        eventually(asked, what="the master takes a reload")
        eventually(lambda: (workers().split() or [before])[0] != before, what="a new worker")

    def set_up(self, email: str) -> User:
        """Make the owner with the setup token."""
        self.owner = self.user(email)
        token = str(self.data / "setup-token")
        login = f"{email}\n{PASSWORD}\n"
        self.owner.oriel("login", "--setup", token, "--stdin", stdin=login)
        return self.owner

    def user(self, email: str) -> User:
        """A home for somebody, without an account yet."""
        home = self.root / "homes" / email.split("@")[0]
        home.mkdir(parents=True)
        return User(self, email, home)

    def invite(self, email: str) -> User:
        """A second account, invited by the owner."""
        assert self.owner is not None
        invitation = self.owner.json("users:add", email)["invitation"]
        user = self.user(email)
        user.oriel("login", "--invitation", "--stdin", stdin=f"{invitation}\n{PASSWORD}\n")
        return user

    def get(self, host: str, path: str = "/") -> tuple[int, str]:
        """An HTTP answer through the router."""
        try:
            return self._open(f"http://127.0.0.1:{self.web_port}{path}", {"Host": host})
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def _open(self, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
        request = urllib.request.Request(url, headers=dict(headers))
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace")

    def said(self, lines: int = 60) -> str:
        """The last words of `oriel up` and what it started."""
        text = (self.root / "up.log").read_text(errors="replace")
        return "--- up.log\n" + "\n".join(text.splitlines()[-lines:])
