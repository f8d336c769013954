"""Owns how a Python tree is built: which files say what it needs, which steps install that.

Pure; uv does the work. Three kinds of trees: `requirements.txt`, `pyproject.toml` with `uv.lock`,
`pyproject.toml` alone. Files of other package managers are refused with the command that turns
them into one of these.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oriel.builder import interpreters, requirements
from oriel.builder.recipe import APP, UV, Interpreter, Kept, Machine, Plan, Profile, Step, Tree
from oriel.faults import Invalid

PLAN_VERSION = 1
"""Goes into the cache's keys: raise it when the steps change what they make."""

ENVIRONMENT = f"{APP}/.venv"
BUILD_ENV = {
    "VIRTUAL_ENV": ENVIRONMENT,
    "UV_PROJECT_ENVIRONMENT": ENVIRONMENT,
    "UV_CACHE_DIR": "/cache/uv",
    "UV_LINK_MODE": "copy",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
    "UV_COMPILE_BYTECODE": "1",
    "UV_PYTHON": f"{ENVIRONMENT}/bin/python",
}
PROFILE = Profile(
    path=(f"{ENVIRONMENT}/bin",),
    env={"PYTHONUNBUFFERED": "1", "VIRTUAL_ENV": ENVIRONMENT},
)

_REQUIREMENTS, _PROJECT, _LOCK = "requirements.txt", "pyproject.toml", "uv.lock"
_FOREIGN = {
    "poetry.lock": ("Poetry", "poetry export -f requirements.txt -o requirements.txt"),
    "Pipfile": ("Pipenv", "pipenv requirements > requirements.txt"),
    "Pipfile.lock": ("Pipenv", "pipenv requirements > requirements.txt"),
    "pdm.lock": ("PDM", "pdm export -o requirements.txt"),
    "environment.yml": ("conda", "pip list --format=freeze > requirements.txt"),
    "setup.py": ("setuptools", "echo . > requirements.txt"),
}
_INCLUDES_MAX = 100


@dataclass(frozen=True, slots=True)
class _Way:
    """What one kind of tree installs."""

    files: tuple[str, ...]
    """The files that decide it."""
    steps: tuple[Step, ...]
    always: tuple[Step, ...] = ()
    cacheable: bool = True
    notes: tuple[str, ...] = ()


class Python:
    """Trees with Python dependencies."""

    name = "Python"
    reads = (_REQUIREMENTS, _PROJECT, _LOCK, ".python-version", "runtime.txt")

    def also_reads(self, tree: Tree) -> tuple[str, ...]:
        """The requirement files that requirement files include."""
        names = [name for name in tree.texts if name == _REQUIREMENTS or name not in self.reads]
        found = [place for name in names for place in _reading(tree, name).includes]
        return tuple(dict.fromkeys(found))[:_INCLUDES_MAX]

    def detect(self, tree: Tree) -> bool:
        """Whether a file says what to install; a pyproject.toml that only sets up tools doesn't."""
        if tree.names & {_REQUIREMENTS, _LOCK, *_FOREIGN} - {"environment.yml"}:
            return True
        return bool(_project(tree).get("project"))

    def plan(self, tree: Tree, machine: Machine) -> Plan:
        """What to install and how."""
        way = _way(tree)
        requires = _requires(tree)
        python, source = interpreters.choose(
            interpreters.wanted(tree), requires, machine.interpreters
        )
        asked = f", as {source} asks" if source else ""
        return Plan(
            language=f"Python {python.short}",
            lines=(
                "-----> Python app detected",
                f"-----> Using Python {python.short}",
                f"       {python.full} ({python.path}){asked}",
                *_notes(tree, way),
            ),
            installing="Installing dependencies with uv",
            steps=(_venv(python), *way.steps),
            kept=_kept(tree, way, python, machine) if way.cacheable else None,
            always=way.always,
            env=BUILD_ENV,
            profile=PROFILE,
        )

    def process_types(self, tree: Tree) -> Mapping[str, str]:
        """None: nothing in a Python tree says which of its programs serves."""
        return {}


def _venv(python: Interpreter) -> Step:
    argv = (UV, "venv", "--quiet", "--clear", "--no-project", "--python", python.path, ENVIRONMENT)
    return Step("Making the virtual environment", argv)


def _install(*what: str) -> Step:
    return Step("Installing dependencies", (UV, "pip", "install", *what))


def _way(tree: Tree) -> _Way:
    if _LOCK in tree.names:
        return _locked(tree)
    if _REQUIREMENTS in tree.names:
        return _listed(tree)
    for name, (manager, command) in _FOREIGN.items():
        if name in tree.names and not _project(tree).get("project"):
            raise _foreign(name, manager, command)
    if "poetry.lock" in tree.names:
        raise _foreign("poetry.lock", *_FOREIGN["poetry.lock"])
    return _unlocked(tree)


def _foreign(name: str, manager: str, command: str) -> Invalid:
    return Invalid(
        f"{name} is of {manager}, which Oriel doesn't build with.",
        hint=f"Make a requirements.txt and commit it: {command}",
    )


def _listed(tree: Tree) -> _Way:
    files, local = _requirement_files(tree)
    return _Way(files, (_install("--requirement", _REQUIREMENTS),), cacheable=not local)


def _locked(tree: Tree) -> _Way:
    if _PROJECT not in tree.names:
        raise Invalid(f"There is a {_LOCK} but no {_PROJECT}.", hint=f"git add {_PROJECT}")
    sync = (UV, "sync", "--frozen", "--no-default-groups")
    project = Step("Installing the project", sync)
    first = Step("Installing dependencies", (*sync, "--no-install-local"))
    return _Way((_PROJECT, _LOCK), (first,), (project,) if _has_local_parts(tree) else ())


def _unlocked(tree: Tree) -> _Way:
    project = Step("Installing the project", (UV, "pip", "install", "--no-deps", "--editable", "."))
    table = _project(tree)
    dynamic = _table(table, "project").get("dynamic") or ()
    return _Way(
        (_PROJECT,),
        (_install("--requirement", _PROJECT),),
        (project,) if "build-system" in table else (),
        cacheable="dependencies" not in str(dynamic) and not _has_sources(table),
        notes=("There is no lock: `uv lock` makes one, so that each build installs the same.",),
    )


def _has_local_parts(tree: Tree) -> bool:
    """Whether uv installs something of the tree itself: the project, a member, a path."""
    table = _project(tree)
    uv = _table(_table(table, "tool"), "uv")
    is_package = uv.get("package", "build-system" in table)
    return bool(is_package) or "workspace" in uv or _has_sources(table)


def _has_sources(table: Mapping[str, Any]) -> bool:
    return bool(_table(_table(table, "tool"), "uv").get("sources"))


def _notes(tree: Tree, way: _Way) -> list[str]:
    notes = list(way.notes)
    if _LOCK in tree.names and _REQUIREMENTS in tree.names:
        notes.append(f"There are a {_LOCK} and a {_REQUIREMENTS}: the lock is used.")
    if ".venv" in tree.names:
        notes.append("The .venv in git is not used: take it out (git rm -r --cached .venv).")
    return [f"       {note}" for note in notes]


def _requirement_files(tree: Tree) -> tuple[tuple[str, ...], bool]:
    """requirements.txt and all that it includes; and whether something local is installed."""
    waiting, files, local = [_REQUIREMENTS], list[str](), False
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        files.append(name)
        reading = _reading(tree, name)
        local = local or reading.local or name not in tree.texts
        waiting += reading.includes
    return tuple(files), local


def _reading(tree: Tree, name: str) -> requirements.Reading:
    return requirements.read(name, tree.text(name) or "")


def _requires(tree: Tree) -> str:
    """pyproject's requires-python, where that file is what is installed from."""
    if _REQUIREMENTS in tree.names and _LOCK not in tree.names:
        return ""
    requires = _table(_project(tree), "project").get("requires-python", "")
    return requires if isinstance(requires, str) else ""


def _project(tree: Tree) -> dict[str, Any]:
    """pyproject.toml; empty when there is none."""
    text = tree.text(_PROJECT)
    try:
        return tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{_PROJECT}: {error}.", hint=f"Correct {_PROJECT} and commit.") from None
    except RecursionError:
        raise Invalid(f"{_PROJECT} is nested too deeply.") from None


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = table.get(name)
    return value if isinstance(value, dict) else {}


def _kept(tree: Tree, way: _Way, python: Interpreter, machine: Machine) -> Kept:
    """The installed environment, known by everything that decides what is in it."""
    what = {
        "version": PLAN_VERSION,
        "python": [python.full, python.path],
        "files": {name: hashlib.sha256(tree.texts[name]).hexdigest() for name in way.files},
        "settings": sorted(machine.settings),
        "steps": [step.argv for step in way.steps],
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    decisive = way.files[-1] if _LOCK in way.files else way.files[0]
    return Kept(key[:32], ENVIRONMENT, f"{decisive} is unchanged")
