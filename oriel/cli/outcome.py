"""Owns how a change tells what it came to: `Restarting app... done, v11`.

Must not know which change it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from oriel.cli import terminal
from oriel.client.address import below
from oriel.client.refusal import Refusal
from oriel.client.wire import Client

T = TypeVar("T")

SETTLE_PAUSE_S = 1.0
SETTLE_TRIES_MAX = 3700
"""Release commands end after an hour at most."""

NEWEST = 5
"""How many releases are looked at to find the one just made, should somebody else be at it too."""


def step(text: str, work: Callable[[], T]) -> T:
    """Print `text...`, do the work, leave the line open for how it ended."""
    print(f"{text}...", end="", flush=True)
    try:
        return work()
    except BaseException:
        print(" failed", flush=True)
        raise


def done(text: str = "") -> None:
    """End the line of a step: ` done`, and what came of it."""
    print(f" done{', ' + text if text else ''}", flush=True)


def released(client: Client, app: str, release: dict[str, Any]) -> None:
    """End the line of a step that made a release. Raises Refusal if that release failed.

    The server answers before a long release command has ended; that is waited for here.
    """
    release = _settled(client, app, release)
    version = f"v{release['version']}"
    if release.get("status") != "failed":
        done(version)
        return
    print(f" failed, {version}", flush=True)
    raise failure(release)


def _settled(client: Client, app: str, release: dict[str, Any]) -> dict[str, Any]:
    """The release once its command has ended, or as it is after SETTLE_TRIES_MAX looks."""
    path = below("apps", app, "releases", str(release["version"]))
    for tried in range(SETTLE_TRIES_MAX):
        if release.get("status") != "pending":
            break
        if not tried:
            terminal.note(
                f"its release command runs still; waiting. Ctrl-C ends the waiting, not "
                f"v{release['version']}."
            )
        time.sleep(SETTLE_PAUSE_S)
        release = client.get(path).data
    return release


def failure(release: dict[str, Any]) -> Refusal:
    """Why a release is not in force."""
    version = release["version"]
    reason = (release.get("oriel") or {}).get("reason") or "its release command failed"
    return Refusal(
        f"Release v{version} failed: {reason}. The release before it stays in force.",
        id="release_failed",
        hint=f"See what it said: oriel logs --release v{version}",
    )


def newest(client: Client, app: str, most: int) -> list[dict[str, Any]]:
    """The newest releases of an app, newest first."""
    return client.listing(
        below("apps", app, "releases"),
        range=f"version ..; max={min(most, 1000)}, order=desc",
        most=most,
    )


def just_made(client: Client, app: str, verb: str, keys: set[str]) -> dict[str, Any]:
    """The release that a change of these config vars made: `Config add FOO, BAR`."""
    found = newest(client, app, NEWEST)
    for release in found:
        said = str(release.get("description", "")).partition(f"Config {verb} ")[2]
        if set(said.partition(";")[0].split(", ")) == keys:
            return release
    if not found:
        raise Refusal(f"{app} has no release.", id="not_found")
    return found[0]


def undo_hint(release: dict[str, Any], suffix: str) -> None:
    """Say how to take a rollback back."""
    previous = (release.get("oriel") or {}).get("previous")
    if previous:
        terminal.note(f"       To undo: oriel rollback v{previous}{suffix}")
