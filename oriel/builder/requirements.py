"""Owns reading pip's requirement files, as far as a build's cache depends on them. Pure.

Must not judge requirements: uv does. What matters here is which other files are included and
whether something is installed from the tree itself, which no list of versions describes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from oriel.builder.recipe import inside

_INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?=[^-\s]))(\S.*)")
_LOCAL_OPTION = re.compile(r"(?:-e|--editable|-f|--find-links)(?:\s*=\s*|\s+|(?=[^-\s]))(\S.*)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ARCHIVE = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one requirement file refers to."""

    includes: tuple[str, ...] = ()
    """Other requirement files in the tree, as paths from its top."""
    local: bool = False
    """Whether something of the tree (or of no fixed content) is installed or looked through."""


def read(path: str, text: str) -> Reading:
    """What the requirement file at `path` refers to."""
    includes: list[str] = []
    local = False
    for line in _lines(text):
        if match := _INCLUDE.match(line):
            name = match[1].strip().strip("\"'")
            place = None if _URL.match(name) else inside(path, name)
            if place is None:
                local = True
            else:
                includes.append(place)
        elif match := _LOCAL_OPTION.match(line):
            local = local or not _URL.match(match[1]) or match[1].startswith("file:")
        elif not line.startswith("-"):
            local = local or _is_local(line)
    return Reading(tuple(includes), local)


def _lines(text: str) -> list[str]:
    joined = re.sub(r"\\\r?\n", "", text)
    return [line for raw in joined.splitlines() if (line := re.sub(r"(^|\s)#.*$", "", raw).strip())]


def _is_local(requirement: str) -> bool:
    """Whether a requirement names a place on disk: `.`, `./lib`, `lib @ file:...`, `a.whl`."""
    where = requirement.partition(";")[0].strip()
    if "@" in where and not where.startswith((".", "/")):
        where = where.partition("@")[2].strip()
        return where.startswith("file:") or not _URL.match(where.removeprefix("git+"))
    if _URL.match(where):
        return where.startswith("file:")
    return where.startswith((".", "/")) or "/" in where or where.split("[")[0].endswith(_ARCHIVE)
