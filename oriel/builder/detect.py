"""Owns which language a tree is of, and which process types it has. Pure.

`LANGUAGES` is the one list of languages, asked in its order: another one is added here.
"""

from __future__ import annotations

from collections.abc import Callable

from oriel.builder import procfile
from oriel.builder.plain import Plain
from oriel.builder.python import Python
from oriel.builder.recipe import Language, Tree
from oriel.faults import Invalid

LANGUAGES: tuple[Language, ...] = (Python(), Plain())

READS = (procfile.NAME, *dict.fromkeys(name for each in LANGUAGES for name in each.reads))
"""The files at the top of a tree whose text is looked at."""

_ROUNDS_MAX = 10


def detect(tree: Tree, languages: tuple[Language, ...] = LANGUAGES) -> Language:
    """The first language that the tree is of."""
    for language in languages:
        if language.detect(tree):
            return language
    raise Invalid("No language that Oriel builds was found in the tree.")


def completed(tree: Tree, language: Language, read: Callable[[str], bytes | None]) -> Tree:
    """The tree with those texts too that the language asks for after having seen others."""
    tried = set(tree.texts)
    for _ in range(_ROUNDS_MAX):
        fresh = [name for name in language.also_reads(tree) if name not in tried]
        if not fresh:
            break
        tried.update(fresh)
        found = {name: content for name in fresh if (content := read(name)) is not None}
        tree = Tree(tree.names, {**tree.texts, **found})
    return tree


def has_procfile(tree: Tree) -> bool:
    """Whether the tree itself says what to run."""
    return procfile.NAME in tree.texts


def process_types(tree: Tree, language: Language) -> dict[str, str]:
    """What the Procfile declares, or the language's own default; raises Invalid for neither."""
    if has_procfile(tree):
        return procfile.parse(tree.texts[procfile.NAME])
    if procfile.NAME in tree.names:
        raise Invalid(f"{procfile.NAME} is not a plain file.", hint=procfile.EXAMPLE)
    if types := dict(language.process_types(tree)):
        return types
    alike = sorted(name for name in tree.names if name.lower().startswith("procfile"))
    if alike:
        raise Invalid(
            f"There is no {procfile.NAME}, but a {ascii(alike[0])}: the name must be exact.",
            hint=f"git mv {alike[0]} {procfile.NAME} && git commit -m {procfile.NAME}",
        )
    raise Invalid(
        f"There is no {procfile.NAME} in the pushed tree, so Oriel doesn't know what to run.",
        hint=f"Write one, add it to git and commit: {procfile.EXAMPLE}",
    )
