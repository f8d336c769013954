from __future__ import annotations

import pytest

from oriel.builder import detect
from oriel.builder.plain import Plain
from oriel.builder.recipe import Machine, Tree
from oriel.faults import Invalid


def tree(**files: str) -> Tree:
    texts = {name.replace("__", "."): text.encode() for name, text in files.items()}
    return Tree(frozenset(texts), texts)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"Procfile": "web: x"}, "no build"),
        ({"requirements__txt": "", "Procfile": "web: x"}, "Python"),
        ({}, "no build"),
    ],
)
def test_detects(files: dict[str, str], name: str) -> None:
    assert detect.detect(tree(**files)).name == name


def test_a_tree_without_build_has_no_step() -> None:
    plan = Plain().plan(tree(), Machine())
    assert (plan.steps, plan.always, plan.installing) == ((), (), "")


@pytest.mark.parametrize(
    ("files", "says", "hint"),
    [
        ({}, "There is no Procfile", 'echo "web: gunicorn app:app" > Procfile'),
        ({"procfile": "web: x"}, "but a 'procfile'", "git mv procfile Procfile"),
        ({"Procfile.txt": "web: x"}, "but a 'Procfile.txt'", "git mv Procfile.txt Procfile"),
    ],
)
def test_says_what_is_missing(files: dict[str, str], says: str, hint: str) -> None:
    it = Tree(frozenset(files), {})
    with pytest.raises(Invalid) as caught:
        detect.process_types(it, Plain())
    assert says in caught.value.message
    assert hint in caught.value.hint


def test_a_procfile_that_is_a_link_is_no_procfile() -> None:
    with pytest.raises(Invalid, match="not a plain file"):
        detect.process_types(Tree(frozenset({"Procfile"}), {}), Plain())


def test_a_language_may_have_process_types_of_its_own() -> None:
    class Static(Plain):
        def process_types(self, tree: Tree) -> dict[str, str]:
            return {"web": "serve"}

    assert detect.process_types(tree(), Static()) == {"web": "serve"}
    assert detect.process_types(tree(Procfile="web: other"), Static()) == {"web": "other"}


def test_texts_are_completed_until_nothing_new_is_named() -> None:
    files = {f"r{n}.txt": f"-r r{n + 1}.txt\n".encode() for n in range(50)}
    asked: list[str] = []

    def read(name: str) -> bytes | None:
        asked.append(name)
        return files.get(name)

    first = tree(requirements__txt="-r r0.txt\n-r r0.txt\n-r gone.txt\n")
    whole = detect.completed(first, detect.detect(first), read)
    assert "r3.txt" in whole.texts
    assert len(asked) == len(set(asked)) < 20
