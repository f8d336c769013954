from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.builder.python import Python
from oriel.builder.recipe import Interpreter, Machine, Plan, Tree
from oriel.faults import Invalid

MACHINE = Machine((Interpreter((3, 11, 2), "/usr/bin/python3.11"),))
PROJECT = '[project]\nname = "x"\nversion = "1"\ndependencies = ["flask"]\n'
BUILT = PROJECT + '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'


def tree(**files: str) -> Tree:
    names = {
        {
            "requirements": "requirements.txt",
            "pyproject": "pyproject.toml",
            "lock": "uv.lock",
            "version": ".python-version",
        }.get(name, name.replace("__", ".")): text.encode()
        for name, text in files.items()
    }
    return Tree(frozenset(names), names)


def plan(machine: Machine = MACHINE, **files: str) -> Plan:
    return Python().plan(tree(**files), machine)


def commands(it: Plan) -> list[str]:
    return [" ".join(step.argv) for step in (*it.steps, *it.always)]


VENV = "/oriel/bin/uv venv --quiet --clear --no-project --python /usr/bin/python3.11 /app/.venv"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"requirements": "flask"},
            [VENV, "/oriel/bin/uv pip install --requirement requirements.txt"],
        ),
        (
            {"pyproject": PROJECT, "lock": "version = 1"},
            [VENV, "/oriel/bin/uv sync --frozen --no-default-groups --no-install-local"],
        ),
        (
            {"pyproject": BUILT, "lock": "version = 1"},
            [
                VENV,
                "/oriel/bin/uv sync --frozen --no-default-groups --no-install-local",
                "/oriel/bin/uv sync --frozen --no-default-groups",
            ],
        ),
        (
            {"pyproject": PROJECT},
            [VENV, "/oriel/bin/uv pip install --requirement pyproject.toml"],
        ),
        (
            {"pyproject": BUILT},
            [
                VENV,
                "/oriel/bin/uv pip install --requirement pyproject.toml",
                "/oriel/bin/uv pip install --no-deps --editable .",
            ],
        ),
        (
            {"requirements": "flask", "pyproject": "[tool.ruff]\nline-length = 100\n"},
            [VENV, "/oriel/bin/uv pip install --requirement requirements.txt"],
        ),
        (
            {"requirements": "flask", "poetry__lock": "", "pyproject": "[tool.poetry]\n"},
            [VENV, "/oriel/bin/uv pip install --requirement requirements.txt"],
        ),
    ],
)
def test_plans(files: dict[str, str], expected: list[str]) -> None:
    assert Python().detect(tree(**files))
    assert commands(plan(**files)) == expected


def test_says_what_it_found() -> None:
    assert plan(requirements="flask", version="3.11").lines == (
        "-----> Python app detected",
        "-----> Using Python 3.11",
        "       3.11.2 (/usr/bin/python3.11), as .python-version asks",
    )
    notes = plan(pyproject=PROJECT, lock="", requirements="flask").lines[-1]
    assert notes == "       There are a uv.lock and a requirements.txt: the lock is used."


@pytest.mark.parametrize(
    ("files", "says", "hint"),
    [
        ({"poetry__lock": "", "pyproject": "[tool.poetry]"}, "of Poetry", "poetry export"),
        ({"poetry__lock": "", "pyproject": PROJECT}, "of Poetry", "poetry export"),
        ({"Pipfile": ""}, "of Pipenv", "pipenv requirements"),
        ({"setup__py": ""}, "of setuptools", "echo ."),
        ({"lock": ""}, "no pyproject.toml", "git add"),
        ({"pyproject": "[project\n"}, "pyproject.toml: ", "Correct"),
        ({"requirements": "x", "version": "3.9"}, "machine has 3.11.2", "3.11"),
        ({"pyproject": PROJECT + 'requires-python = ">=3.13"'}, "machine has 3.11.2", ""),
    ],
)
def test_refuses(files: dict[str, str], says: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        plan(**files)
    assert says in caught.value.message
    assert hint in caught.value.hint


def test_refuses_utf16_with_a_sentence() -> None:
    content = {"requirements.txt": "flask\n".encode("utf-16")}
    with pytest.raises(Invalid, match=r"requirements.txt is not UTF-8"):
        Python().plan(Tree(frozenset(content), content), MACHINE)


@pytest.mark.parametrize(
    ("files", "detected"),
    [
        ({"requirements": ""}, True),
        ({"pyproject": PROJECT}, True),
        ({"pyproject": "[tool.ruff]\n"}, False),
        ({"package__json": "{}"}, False),
        ({"app__py": ""}, False),
        ({"Pipfile": ""}, True),
    ],
)
def test_detects(files: dict[str, str], detected: bool) -> None:
    assert Python().detect(tree(**files)) == detected


def key(machine: Machine = MACHINE, **files: str) -> str | None:
    kept = plan(machine, **files).kept
    return kept.key if kept else None


def test_the_cache_key_is_of_everything_that_decides() -> None:
    same = key(requirements="flask")
    assert same
    assert same == key(requirements="flask", app__py="changed")
    newer = Machine((Interpreter((3, 11, 3), "/usr/bin/python3.11"),))
    mirrored = Machine(MACHINE.interpreters, (("UV_INDEX_URL", "https://mirror"),))
    others = [
        key(requirements="flask "),
        key(newer, requirements="flask"),
        key(mirrored, requirements="flask"),
        key(pyproject=PROJECT),
        key(pyproject=PROJECT, lock="1"),
        key(pyproject=PROJECT, lock="2"),
        key(pyproject=BUILT, lock="2"),
    ]
    assert None not in others
    assert len({same, *others}) == 1 + len(others)


def test_what_installs_parts_of_the_tree_is_not_kept() -> None:
    sources = PROJECT + '[tool.uv.sources]\nlib = { path = "lib" }\n'
    dynamic = '[project]\nname = "x"\nversion = "1"\ndynamic = ["dependencies"]\n'
    assert key(requirements="-e .") is None
    assert key(requirements="-r missing.txt") is None
    assert key(pyproject=sources) is None
    assert key(pyproject=dynamic) is None
    assert key(pyproject=sources, lock="1") is not None


def test_included_files_are_asked_for_and_count() -> None:
    files = {"requirements.txt": b"-r req/web.txt\n"}
    first = Tree(frozenset(files), files)
    assert Python().also_reads(first) == ("req/web.txt",)
    second = Tree(first.names, {**files, "req/web.txt": b"-r base.txt\n"})
    assert set(Python().also_reads(second)) == {"req/web.txt", "req/base.txt"}
    third = {**second.texts, "req/base.txt": b"flask"}
    other = {**third, "req/base.txt": b"flask==2"}
    kept = [Python().plan(Tree(first.names, texts), MACHINE).kept for texts in (third, other)]
    assert kept[0]
    assert kept[1]
    assert kept[0].key != kept[1].key


@given(st.text(max_size=60) | st.text(alphabet='[]project="\n.toluv{} 1', max_size=50))
def test_any_pyproject_is_planned_or_refused(text: str) -> None:
    with suppress(Invalid):
        plan(pyproject=text)
    with suppress(Invalid):
        plan(pyproject="[project]\n" + text, lock="")
