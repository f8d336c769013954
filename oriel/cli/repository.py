"""Owns what the command line reads and writes in the git repository around it.

Only ever that repository's own config, never the global one. Without git, or outside of a
repository, reading finds nothing. Must not know the API.

Starting git to look at the remotes would be a tenth of what `oriel ps` may cost, so a config file
of the plain form is read here; git is asked about any other, and does all writing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from oriel.client.refusal import Refusal

TYPE_CHECKING = False  # As in typing, without importing it.
if TYPE_CHECKING:
    from subprocess import CompletedProcess

TIMEOUT_S = 10.0
CONFIG_MAX = 1 << 20


def remotes() -> dict[str, str]:
    """The URL of each remote; empty outside of a repository."""
    plain = _plain_remotes()
    return _asked_remotes() if plain is None else plain


def _plain_remotes() -> dict[str, str] | None:
    """The remotes as the config file of the nearest `.git` has them; None where git must say."""
    if "GIT_DIR" in os.environ:
        return None
    here = os.path.abspath(os.curdir)
    while not os.path.exists(os.path.join(here, ".git")):
        above = os.path.dirname(here)
        if above == here:
            return {}
        here = above
    try:
        with open(os.path.join(here, ".git", "config"), encoding="utf-8") as file:
            return read_config(file.read(CONFIG_MAX))
    except (OSError, ValueError):  # A worktree's .git is a file; a config may hold any bytes.
        return None


def read_config(text: str) -> dict[str, str] | None:
    """The remotes of a git config; None where it has more to it than plain lines."""
    found: dict[str, str] = {}
    remote = ""
    for line in text.splitlines():
        line = line.strip()
        if line[:8].lower() == "[include" or line.endswith("\\"):
            return None
        if line.startswith("["):
            title, _, name = line.removesuffix("]").partition(' "')
            remote = name.removesuffix('"') if title.lower() == "[remote" else ""
            if not line.endswith("]") or "\\" in line:
                return None
        elif remote:
            key, _, value = line.partition("=")
            if key.strip().lower() == "url":
                if set(value) & set('"\\;#'):
                    return None
                found.setdefault(remote, value.strip())
    return found


def _asked_remotes() -> dict[str, str]:
    """The remotes as git has them."""
    text = _git("config", "-z", "--get-regexp", r"^remote\..*\.url$") or ""
    found: dict[str, str] = {}
    for entry in text.split("\0"):
        key, _, url = entry.partition("\n")
        if url:
            found.setdefault(key.removeprefix("remote.").removesuffix(".url"), url)
    return found


def inside() -> bool:
    """Whether there is a repository here."""
    return (_git("rev-parse", "--git-dir") or "") != ""


def app_in(url: str) -> tuple[str, str]:
    """Host (with its port) and app of a remote's URL; both empty where it is no app's."""
    scheme, found, rest = url.partition("://")
    if found and scheme in ("http", "https", "ssh"):
        host, _, path = rest.partition("/")
        host = host.rpartition("@")[2]
    else:
        host, _, path = url.rpartition("@")[2].partition(":")
    name = path.strip("/").removesuffix(".git")
    if not host or not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
        return "", ""
    return host.lower(), name


def pointing_to(host: str, app: str, found: Mapping[str, str]) -> list[str]:
    """The remotes that are an app of an API."""
    return [name for name, url in found.items() if app_in(url) == (host.lower(), app)]


def set_remote(name: str, url: str) -> None:
    """Make the remote point to `url`, whether it is there already or not."""
    verb = "set-url" if name in remotes() else "add"
    _must("remote", verb, name, url)


def remove_remote(name: str) -> None:
    """Remove a remote."""
    _must("remote", "remove", name)


def set_helper(origin: str) -> None:
    """Let git ask `oriel` for the token, for this API only, in this repository only.

    The empty entry first keeps every other helper out of it: one of those might store the token.
    """
    key = f"credential.{origin}.helper"
    _must("config", "--local", "--replace-all", key, "")
    _must("config", "--local", "--add", key, f"!{program()} git:credentials")


def program() -> str:
    """How to call this very command from a shell."""
    import shlex

    if _on_path("oriel"):
        return "oriel"
    if os.path.basename(sys.argv[0]).startswith("oriel"):
        return shlex.quote(os.path.abspath(sys.argv[0]).replace(os.sep, "/"))
    return f"{shlex.quote(sys.executable.replace(os.sep, '/'))} -m oriel.cli.main"


def _on_path(name: str) -> bool:
    import shutil

    return shutil.which(name) is not None


def _git(*args: str) -> str | None:
    """What git answers; None when it fails or is not there."""
    try:
        done = _run(args)
    except OSError:
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _must(*args: str) -> None:
    try:
        done = _run(args)
    except FileNotFoundError:
        raise Refusal(
            "git is not installed.", id="fault", hint="Install git, then try again."
        ) from None
    except OSError:
        raise Refusal("git does not answer.", id="fault") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise Refusal(f"git {args[0]} failed: {said}", id="fault")


def _run(args: tuple[str, ...]) -> CompletedProcess[bytes]:
    """Run git; raises OSError, a time-out included."""
    import subprocess

    try:
        return subprocess.run(
            ("git", *args),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
