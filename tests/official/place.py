"""A running Oriel with two people, and apps pushed to it: what the official command line meets."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.certificates.real_pebble import Pebble, pebble
from tests.story.platform import Platform, free_port, tree

from .heroku import eventually

NED, KATE = "ned@foobazco.com", "kate@foobazco.com"
PASSWORD = "correct horse battery"


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status


class Place:
    """The platform, by its API alone."""

    platform: Platform
    secure: int
    """The port where apps answer with TLS."""
    authority: Pebble

    def __init__(self, root: Path, api: str, rendezvous: int) -> None:
        self.api = api
        self.port = int(api.rpartition(":")[2])
        self.rendezvous = rendezvous
        self.tokens: dict[str, str] = {}
        self._root = root

    def ask(self, method: str, path: str, body: Any = None, authorization: str = "") -> Any:
        request = urllib.request.Request(
            self.api + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": authorization or f"Bearer {self.tokens[NED]}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            # It holds the connection until it is closed.
            with error:
                raise Refused(error.code, error.read().decode(errors="replace")) from None

    def let_in(self, setup_token: str) -> None:
        """Ned sets Oriel up, and invites Kate."""
        person = {"email": NED, "password": PASSWORD}
        self.ask("POST", "/oriel/setup", {"token": setup_token, **person}, "none")
        self.tokens[NED] = self._log_in(NED)
        secret = self.ask("POST", "/oriel/users", {"email": KATE})["invitation"]
        chosen = {"token": secret, "password": PASSWORD}
        self.ask("POST", "/oriel/invitations", chosen, "none")
        self.tokens[KATE] = self._log_in(KATE)

    def app(self, name: str, *versions: str) -> None:
        """An app whose versions were pushed one after the other, the last one running."""
        self.ask("POST", "/apps", {"name": name})
        for version in versions:
            self.deploy(name, version)
        if versions:
            self.wait_up(name, "web.1")

    def deploy(self, name: str, version: str) -> None:
        """Push the small app of the story."""
        copy = self._root / name
        copy.mkdir(exist_ok=True)
        for path, text in tree(version).items():
            (copy / path).write_text(text)
        user = base64.b64encode(f"ned:{self.tokens[NED]}".encode()).decode()
        for argv in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["commit", "-q", "-m", version],
            ["push", "-q", f"{self.api}/{name}.git", "main"],
        ):
            env = {
                "PATH": os.environ["PATH"],
                "HOME": str(self._root),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_CONFIG_COUNT": "3",
                "GIT_CONFIG_KEY_0": "http.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {user}",
                "GIT_CONFIG_KEY_1": "user.name",
                "GIT_CONFIG_VALUE_1": "ned",
                "GIT_CONFIG_KEY_2": "user.email",
                "GIT_CONFIG_VALUE_2": NED,
            }
            done = subprocess.run(
                ["git", *argv], cwd=copy, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr

    def dynos(self, name: str) -> dict[str, str]:
        found = self.ask("GET", f"/apps/{name}/dynos")
        return {each["name"]: each["state"] for each in found}

    def wait_up(self, name: str, *dynos: str) -> None:
        """Wait until exactly these dynos are there and up."""
        wanted = dict.fromkeys(dynos, "up")
        eventually(lambda: self.dynos(name) == wanted, f"{name} runs {dynos}")

    def _log_in(self, email: str) -> str:
        both = base64.b64encode(f"{email}:{PASSWORD}".encode()).decode()
        made = self.ask("POST", "/oauth/authorizations", {}, f"Basic {both}")
        return str(made["access_token"]["token"])


@contextmanager
def running(root: Path) -> Iterator[Place]:
    """A real `oriel up`."""
    platform = Platform(root / "platform")
    secure = free_port()
    # No test may ask Let's Encrypt: the authority is one of our own.
    with pebble(root / "pebble", platform.web_port) as authority:
        platform.more = (
            *("--web-tls", f"127.0.0.1:{secure}", "--acme-directory", authority.directory),
            *("--acme-ca", str(authority.ca)),
        )
        platform.start()
        try:
            kept = json.loads((platform.data / "settings.json").read_text())
            place = Place(root, platform.api, kept["rendezvous"]["port"])
            place.platform, place.secure, place.authority = platform, secure, authority
            place.let_in((platform.data / "setup-token").read_text().strip())
            yield place
        finally:
            platform.stop()
