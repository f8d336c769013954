"""The rules of the house that no linter knows: what files begin with, hold, and do not hold."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "oriel"
TESTS = ROOT / "tests"
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations/versions" not in str(path))
LINES_MAX = 350
LONG = {
    "oriel/api/representations.py": "one function for each value that Heroku's schema names",
    "oriel/builder/builder.py": "one build from tree to slug, in the order in which it happens",
    "oriel/builder/repository.py": "a push's two sides, git and the verdict, are one conversation",
    "oriel/builder/tree.py": "run as a script of its own, so it can share nothing",
    "oriel/logplex/cursor.py": "one step from records to lines, with all that may cross it",
    "oriel/manifold/conductor.py": "every verb on an app's dynos, in one loop's hands",
    "oriel/manifold/life.py": "one instance from its beginning to its end, in one task's hands",
    "oriel/manifold/machine.py": "one life: its events, its orders and its table are one thing",
}
"""Modules over LINES_MAX, each with the reason why splitting would hide the story."""

WORKING_TREES = re.compile(r"/(?:work|home/\w+|root)/(?:main|shared|\w+/oriel)\b|/tmp/contract")
REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted|npmjs|crates\.io|proxy\.golang|rubygems\.org|deb\.debian|archive\.ubuntu"
)
CHORES = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
OWN = "tests/test_house_rules.py"
BINARY = (".png", ".ico", ".gz", ".woff2")


@cache
def tracked() -> tuple[str, ...]:
    """The files of the repository, and those that would be; without git, what lies there."""
    try:
        said = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "-c", "-o"]
            + ["--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no git here to say which files are the repository's")
    return tuple(
        name
        for name in sorted(set(said.split("\0")))
        if name and (ROOT / name).is_file() and not name.endswith(BINARY)
    )


@cache
def content(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def test_every_module_begins_with_what_it_owns() -> None:
    silent = [str(path.relative_to(ROOT)) for path in MODULES if len(docstring(path)) < 20]
    assert silent == []


def test_every_room_says_what_it_must_not_know() -> None:
    assert ROOMS
    open_ = [
        path.name
        for path in ROOMS
        if "must not know" not in docstring(path / "__init__.py").lower()
    ]
    assert open_ == []


def test_no_room_is_called_after_nothing() -> None:
    empty = {"utils", "util", "helpers", "common", "core", "services", "models", "misc", "manager"}
    named = {path.stem for path in MODULES} | {path.name for path in ROOMS}
    assert named & empty == set()


def found_for(room: str) -> list[Path]:
    return [path for path in (TESTS / room).rglob("test_*.py") if "def test_" in path.read_text()]


def test_every_room_has_tests() -> None:
    assert [path.name for path in ROOMS if not found_for(path.name)] == []


def test_every_directory_of_tests_is_a_rooms() -> None:
    known = {path.name for path in ROOMS} | {"story", "official", "fakes", "bench"}
    there = {path.parent.name for path in TESTS.glob("*/__init__.py")}
    assert there - known == set()


def test_no_file_names_a_place_of_somebodys_machine_or_a_registry() -> None:
    wrong = [
        (name, found[0])
        for name in tracked()
        if name != OWN
        for rule in (WORKING_TREES, REGISTRIES)
        if (found := rule.search(content(name)))
    ]
    assert wrong == []


def test_lock_files_name_no_host() -> None:
    locks = [name for name in tracked() if name.endswith(".lock")]
    assert locks
    for name in locks:
        assert "://" not in content(name), name
        assert not re.search(
            r"^\s*(?:--index-url|--extra-index-url|-i|--find-links)\b", content(name), re.MULTILINE
        )
        pinned = re.findall(r"^[A-Za-z0-9][\w.\[\]-]*==\S+", content(name), re.MULTILINE)
        assert content(name).count("--hash=sha256:") >= len(pinned) > 0


def test_nothing_is_put_off_in_a_comment() -> None:
    assert [name for name in tracked() if name != OWN and CHORES.search(content(name))] == []


def test_long_files_have_a_reason() -> None:
    written = [name for name in tracked() if name.startswith("oriel/") and name.endswith(".py")]
    long = {name for name in written if content(name).count("\n") > LINES_MAX}
    assert long - set(LONG) == set(), "split it, or say in LONG why not"


def test_the_rules_find_what_they_are_for() -> None:
    assert WORKING_TREES.search("see /" + "work/main/oriel")
    assert REGISTRIES.search("https://pypi.org/simple")
    assert CHORES.search("# TODO: later")
