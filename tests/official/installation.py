"""The official Heroku command line, installed once into `.setup/`, which git ignores.

npm is asked as it is set up on the machine; no registry is named here. Its scripts do not run, no
lock file is written, and a broken installation is never used: it is moved into place when whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "11.10.0"
NODE_LEAST = 20
SETUP = Path(__file__).parents[2] / ".setup"
INSTALL_TIMEOUT_S = 600


class Missing(Exception):
    """Why the official command line cannot be had here."""


def installed() -> Path:
    """The directory with the `heroku` program; installs it first where it is not there."""
    _check_node()
    SETUP.mkdir(exist_ok=True)
    home = SETUP / f"heroku-cli-{VERSION}"
    with (SETUP / "heroku-cli.lock").open("w") as lock:
        # Several test processes may want it at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "node_modules/.bin/heroku").exists():
            _install(home)
    return home / "node_modules/.bin"


def _check_node() -> None:
    node = shutil.which("node")
    if not node or not shutil.which("npm"):
        raise Missing(f"Node {NODE_LEAST}+ with npm is not installed.")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(said.removeprefix("v").partition(".")[0]) < NODE_LEAST:
        raise Missing(f"Node is {said.strip()}; the official command line needs {NODE_LEAST}+.")


def _install(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=SETUP) as scratch:
        fresh = Path(scratch) / "cli"
        fresh.mkdir()
        (fresh / "package.json").write_text('{"private": true}\n')
        argv = ["npm", "install", "--no-save", "--no-package-lock", "--ignore-scripts"]
        done = subprocess.run(
            [*argv, "--no-audit", "--no-fund", f"heroku@{VERSION}"],
            cwd=fresh,
            # Its cache stays here too: the tests write nowhere in anybody's home.
            env={**os.environ, "NO_UPDATE_NOTIFIER": "1", "npm_config_cache": str(SETUP / "npm")},
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise Missing(f"npm could not install heroku@{VERSION}: {last[:200]}")
        fresh.rename(home)
