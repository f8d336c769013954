"""Owns how a process type's command is shown and how it is run. Pure.

Must not show config: of the variables only PORT and the well-known names of the environment's
kind are expanded (a start line with a secret in it is a known wound of Heroku's).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

SHOWN_VARIABLES = ("PORT", "RACK_ENV", "RAILS_ENV", "NODE_ENV")

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)

_EXIT_STATUS = re.compile(r"\s*;\s*echo \"\uffff heroku-command-exit-status: \$\?\"\s*$")

_SCRIPT = (
    # A name that no app's config var is likely to have: it is unset.
    'for _oriel_file in /app/.profile.d/*.sh; do [ -r "$_oriel_file" ] && . "$_oriel_file"; done; '
    "[ -r /app/.profile ] && . /app/.profile; unset _oriel_file; "
    # A shell of its own, so that a simple command takes the shell's place and gets its signals.
    'exec /bin/bash -c "$0"'
)

PATH = "/usr/local/bin:/usr/bin:/bin"


def shown(command: str, env: Mapping[str, str]) -> str:
    """The command as log lines show it: `$PORT` as its number, everything secret as it is."""

    def expand(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return env.get(name, match[0]) if name in SHOWN_VARIABLES else match[0]

    return _VARIABLE.sub(expand, plain(command))


def plain(command: str) -> str:
    """The command without what the official `heroku run -x` adds to it, to be told its status."""
    return _EXIT_STATUS.sub("", command)


def argv(command: str, *, is_profiled: bool = True) -> tuple[str, ...]:
    """What is executed: bash reads the app's profile, if it has one, then runs the command."""
    if not is_profiled:
        return ("/bin/bash", "-c", command)
    return ("/bin/bash", "-c", _SCRIPT, command)


def environment(
    config: Mapping[str, str], profile: Mapping[str, Any], dyno: str, port: int | None
) -> dict[str, str]:
    """A dyno's whole environment: the build's defaults, then config, then what is Oriel's.

    `profile` is the slug's `.oriel/profile.json`: {"path": [directory...], "env": {name: value}}.
    """
    path = config.get("PATH", PATH)
    env = {
        "LANG": "C.UTF-8",
        **{str(key): str(value) for key, value in dict(profile.get("env", {})).items()},
        **config,
        "HOME": "/app",
        "PATH": ":".join([*map(str, profile.get("path", ())), path]),
        "DYNO": dyno,
    }
    if port is not None:
        env["PORT"] = str(port)
    return env


def read_profile(text: bytes) -> dict[str, Any]:
    """A slug's profile; an empty one where it cannot be read (the app may have broken it)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    path, env = value.get("path", []), value.get("env", {})
    if not (isinstance(path, list) and isinstance(env, dict)):
        return {}
    return {"path": [each for each in path if isinstance(each, str)], "env": env}
