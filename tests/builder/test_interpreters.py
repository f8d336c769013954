from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.builder import interpreters
from oriel.builder.interpreters import Wanted, choose, satisfies, wanted
from oriel.builder.recipe import Interpreter, Tree
from oriel.faults import Invalid

OLD = Interpreter((3, 9, 18), "/usr/bin/python3.9")
MID = Interpreter((3, 11, 2), "/usr/bin/python3.11")
NEW = Interpreter((3, 12, 1), "/opt/python/bin/python3.12")
THERE = (NEW, MID, OLD)


def tree(**files: str) -> Tree:
    names = {name.replace("__", "."): text.encode() for name, text in files.items()}
    return Tree(frozenset(names), names)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("3.11\n", (3, 11)),
        ("3.11.2", (3, 11, 2)),
        ("3", (3,)),
        ("# comment\n\n3.12 # why\n3.9\n", (3, 12)),
        ("python-3.11.2", (3, 11, 2)),
        ("python-3.11.x", (3, 11)),
        ("cpython@3.11", (3, 11)),
        ("3.11.*", (3, 11)),
    ],
)
def test_reads_a_version(text: str, release: tuple[int, ...]) -> None:
    for name in (".python-version", "runtime.txt"):
        found = wanted(Tree(frozenset({name}), {name: text.encode()}))
        assert found
        assert (found.release, found.source) == (release, name)


@pytest.mark.parametrize("text", ["pypy3.10", "system", "3.11rc1", "latest", "3.11.2.4", "\x1b[2J"])
def test_refuses_what_is_no_version(text: str) -> None:
    with pytest.raises(Invalid, match="asks for") as caught:
        wanted(Tree(frozenset({"runtime.txt"}), {"runtime.txt": text.encode()}))
    assert caught.value.message.isprintable()


def test_an_empty_file_asks_for_nothing() -> None:
    assert wanted(Tree(frozenset({".python-version"}), {".python-version": b"\n# x\n"})) is None


@pytest.mark.parametrize(
    ("release", "requires", "chosen", "source"),
    [
        (None, "", NEW, ""),
        ((3, 11), "", MID, ".python-version"),
        ((3, 11, 2), "", MID, ".python-version"),
        ((3,), "", NEW, ".python-version"),
        (None, ">=3.9,<3.12", MID, "pyproject.toml"),
        (None, "~=3.9.1", OLD, "pyproject.toml"),
        ((3, 9), ">=3.11", OLD, ".python-version"),
    ],
)
def test_chooses(
    release: tuple[int, ...] | None, requires: str, chosen: Interpreter, source: str
) -> None:
    request = Wanted(release, ".python-version", "") if release else None
    assert choose(request, requires, THERE) == (chosen, source)


def test_refuses_with_the_list_of_what_is_there() -> None:
    with pytest.raises(Invalid) as caught:
        choose(Wanted((3, 11, 9), ".python-version", "3.11.9"), "", THERE)
    assert caught.value.message == (
        ".python-version asks for Python 3.11.9, but this machine has 3.9.18 (/usr/bin/python3.9), "
        "3.11.2 (/usr/bin/python3.11), 3.12.1 (/opt/python/bin/python3.12)."
    )
    assert caught.value.hint == 'Ask for one of those: echo "3.12" > .python-version'
    with pytest.raises(Invalid, match="no Python"):
        choose(None, "", ())
    with pytest.raises(Invalid, match=r'requires Python ">=4"'):
        choose(None, ">=4", THERE)


@pytest.mark.parametrize(
    ("requires", "fits"),
    [
        (">=3.11", True),
        (">=3.11.3", False),
        (">3.10", True),
        ("<3.11", False),
        ("<=3.11.2", True),
        ("==3.11.*", True),
        ("!=3.11.*", False),
        ("==3.11.2", True),
        ("!=3.11.2", False),
        ("~=3.10", True),
        ("~=3.11.0", True),
        ("~=3.12", False),
        (">=3.8, <4", True),
        (">=3.8,<4.0,", True),
    ],
)
def test_requires_python(requires: str, fits: bool) -> None:
    assert satisfies((3, 11, 2), requires) == fits


@given(st.text(max_size=30) | st.text(alphabet="<>=!~3.1*, ", max_size=20))
def test_any_specifier_is_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        satisfies((3, 11, 2), text)


def test_finds_the_pythons_of_this_machine() -> None:
    found = interpreters.find()
    assert list(found) == sorted(found, reverse=True)
    assert all(Path(each.path).is_file() for each in found)
    assert all(each.path.startswith(("/usr/", "/opt/")) for each in found)
    if Path(f"/usr/bin/python3.{sys.version_info[1]}").exists():
        assert sys.version_info[:3] in [each.version for each in found]


def test_a_python_that_no_sandbox_shows_does_not_count(tmp_path: Path) -> None:
    fake = tmp_path / "python3.11"
    fake.write_text("#!/bin/sh\necho 3.11.99 final\n")
    fake.chmod(0o755)
    assert interpreters.find((str(tmp_path),)) == ()
