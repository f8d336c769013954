"""Owns which Pythons there are and which of them an app gets.

Choosing is pure; `find` looks at the machine. Only places that every sandbox shows count: a
Python in somebody's home directory would be gone at run time.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel.builder.recipe import Interpreter, Tree
from oriel.faults import Invalid

PLACES = ("/usr/bin", "/usr/local/bin", "/opt/*/bin")
SHOWN = ("/usr/", "/opt/", "/lib/", "/bin/")
OLDEST = (3, 8)

_PROBE = "import sys; print('%d.%d.%d %s' % sys.version_info[:4])"
_PROBE_TIMEOUT_S = 10.0
_VERSION = re.compile(r"(?:c?python[-@]?)?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.[x*])?", re.IGNORECASE)
_CLAUSE = re.compile(r"(~=|===?|!=|<=|>=|<|>)\s*v?(\d+(?:\.\d+)*)(\.\*)?[\w.+-]*")

_known: dict[tuple[str, int, int], Interpreter | None] = {}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The version that a tree asks for."""

    release: tuple[int, ...]
    source: str
    """The file that says so."""
    text: str


def find(places: Iterable[str] = PLACES) -> tuple[Interpreter, ...]:
    """The Pythons of this machine, the newest first. Blocks for as long as they take to answer."""
    found: dict[tuple[int, int, int], Interpreter] = {}
    for place in places:
        for path in sorted(Path("/").glob(place.lstrip("/") + "/python3.*")):
            interpreter = _look(path) if re.fullmatch(r"python3\.\d+", path.name) else None
            if interpreter and interpreter.version >= OLDEST:
                found.setdefault(interpreter.version, interpreter)
    return tuple(sorted(found.values(), reverse=True))


def _look(path: Path) -> Interpreter | None:
    try:
        real = path.resolve(strict=True)
        status = real.stat()
    except (OSError, RuntimeError):
        return None
    if not str(real).startswith(SHOWN) or not os.access(real, os.X_OK):
        return None
    key = (str(path), status.st_mtime_ns, status.st_ino)
    if key not in _known:
        _known[key] = _probe(path)
    return _known[key]


def _probe(path: Path) -> Interpreter | None:
    try:
        answer = subprocess.run(
            [str(path), "-I", "-S", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
            env={},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+) final\n", answer.stdout)
    if not match:
        return None
    return Interpreter((int(match[1]), int(match[2]), int(match[3])), str(path))


def wanted(tree: Tree) -> Wanted | None:
    """The version that `.python-version` or `runtime.txt` names; raises Invalid for neither."""
    for name in (".python-version", "runtime.txt"):
        lines = [line.partition("#")[0].strip() for line in (tree.text(name) or "").splitlines()]
        for text in filter(None, lines):
            match = _VERSION.fullmatch(text)
            if not match:
                raise Invalid(
                    f"{name} asks for {ascii(text[:60])}, which is no version of Python that "
                    "Oriel knows.",
                    hint=f'A number will do: echo "3.11" > {name}',
                )
            release = tuple(int(part) for part in match.groups() if part)
            return Wanted(release, name, ".".join(map(str, release)))
    return None


def choose(
    request: Wanted | None, requires: str, there: Sequence[Interpreter]
) -> tuple[Interpreter, str]:
    """The interpreter for a tree, and the file that asked for it.

    `requires` is pyproject's `requires-python`. Raises Invalid with the list of what is there.
    """
    if not there:
        raise Invalid(
            "There is no Python on this machine that builds can use.",
            hint="On the server: apt-get install python3 (or put one below /opt).",
        )
    if request:
        fitting = [i for i in there if i.version[: len(request.release)] == request.release]
        if not fitting:
            raise Invalid(
                f"{request.source} asks for Python {request.text}, but this machine has "
                f"{_listed(there)}.",
                hint=f'Ask for one of those: echo "{max(there).short}" > {request.source}',
            )
        return max(fitting), request.source
    fitting = [i for i in there if satisfies(i.version, requires)]
    if not fitting:
        raise Invalid(
            f'pyproject.toml requires Python "{requires}", but this machine has {_listed(there)}.'
        )
    return max(fitting), "pyproject.toml" if requires else ""


def _listed(there: Sequence[Interpreter]) -> str:
    return ", ".join(f"{i.full} ({i.path})" for i in sorted(there))


def satisfies(version: tuple[int, int, int], requires: str) -> bool:
    """Whether a version fits a specifier such as `>=3.10,<4`; raises Invalid for another text."""
    for clause in filter(None, (part.strip() for part in requires.split(","))):
        match = _CLAUSE.fullmatch(clause)
        if not match:
            raise Invalid(f"pyproject.toml: requires-python has {ascii(clause)}, which is unclear.")
        if not _fits(version, match[1], tuple(map(int, match[2].split("."))), bool(match[3])):
            return False
    return True


def _fits(version: tuple[int, ...], operator: str, bound: tuple[int, ...], any_patch: bool) -> bool:
    if any_patch and operator in ("==", "!="):
        return (version[: len(bound)] == bound) == (operator == "==")
    if operator == "~=":
        return version >= _full(bound) and version[: len(bound) - 1] == bound[:-1]
    full = _full(bound)
    comparisons = {
        "==": version == full,
        "===": version == full,
        "!=": version != full,
        "<": version < full,
        "<=": version <= full,
        ">": version > full,
        ">=": version >= full,
    }
    return comparisons[operator]


def _full(bound: tuple[int, ...]) -> tuple[int, ...]:
    return (*bound, 0, 0, 0)[:3]
