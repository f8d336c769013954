"""Owns the values between a language and the builder: what is seen, what is to be done.

A language is told what lies in the tree and on the machine, and answers with a plan of steps to
run in the sandbox. It runs nothing itself, so every plan is a golden text in the tests. Another
language, or a Heroku buildpack, is one more `Language`; nothing else changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from oriel.faults import Invalid

APP = "/app"
"""Where the tree is in the sandbox, at build time as at run time."""
CACHE = "/cache"
"""The app's own cache; no other app's builds see it."""
SCRATCH = "/scratch"
"""Room on disk for one build's temporary files."""
UV = "/oriel/bin/uv"


@dataclass(frozen=True, slots=True)
class Tree:
    """A pushed tree, as far as languages look into it."""

    names: frozenset[str]
    """What lies at its top."""
    texts: Mapping[str, bytes] = field(default_factory=dict)
    """The content of those files that some language reads, by path."""

    def text(self, name: str) -> str | None:
        """A file's text; None when it is not there. Raises Invalid when it is no text."""
        content = self.texts.get(name)
        if content is None:
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Invalid(
                f"{name} is not UTF-8 text.",
                hint=f"Save it as UTF-8 (PowerShell's > writes UTF-16): git add {name}, commit.",
            ) from None


@dataclass(frozen=True, slots=True, order=True)
class Interpreter:
    """A Python that a sandbox can see."""

    version: tuple[int, int, int]
    path: str

    @property
    def full(self) -> str:
        """3.11.2"""
        return ".".join(map(str, self.version))

    @property
    def short(self) -> str:
        """3.11"""
        return ".".join(map(str, self.version[:2]))


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine offers to builds."""

    interpreters: tuple[Interpreter, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    """Config vars and installation settings that steer the tools (UV_..., PIP_...)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One program to run in the sandbox, in /app."""

    title: str
    """What it does, for a failure's sentence: `Installing dependencies`."""
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A directory that the steps make and that the cache may give back, under a key."""

    key: str
    path: str
    because: str
    """Why the steps can be left out when the key is known: `requirements.txt is unchanged`."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Defaults of the environment at run time; an app's config vars win over them."""

    path: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """As it is kept in `.oriel/profile.json`."""
        return {"path": list(self.path), "env": dict(self.env)}


@dataclass(frozen=True, slots=True)
class Plan:
    """How one tree becomes a slug."""

    language: str
    """As the slug's record names it: `Python 3.11`."""
    lines: tuple[str, ...]
    """What the transcript says first; headings begin with `-----> `."""
    installing: str = ""
    """The heading over the steps."""
    steps: tuple[Step, ...] = ()
    kept: Kept | None = None
    """What `steps` make, if the cache may keep it."""
    always: tuple[Step, ...] = ()
    """Steps after those, which run whether or not the cache had what `steps` make."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Of the build, over the app's config vars."""
    profile: Profile = Profile()


class Language(Protocol):
    """One way to build a tree."""

    @property
    def name(self) -> str:
        """As the transcript names it."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """The files at the top of a tree whose text `plan` wants."""
        ...

    def also_reads(self, tree: Tree) -> tuple[str, ...]:
        """More files, named by those; asked again until it names none that is new."""
        ...

    def detect(self, tree: Tree) -> bool:
        """Whether the tree is of this language."""
        ...

    def plan(self, tree: Tree, machine: Machine) -> Plan:
        """What to do; raises Invalid with what is missing or not supported."""
        ...

    def process_types(self, tree: Tree) -> Mapping[str, str]:
        """The process types of a tree without a Procfile, where that is obvious."""
        ...


def inside(base: str, path: str) -> str | None:
    """`path`, as a file in the directory of `base` names it; None when it leaves the tree."""
    if not path or path.startswith(("/", "~")) or "\0" in path:
        return None
    parts: list[str] = base.split("/")[:-1]
    for part in re.split("/+", path):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or None
