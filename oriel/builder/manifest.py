"""Owns judging a pushed commit by its list of files, before any of them is written out.

Pure and fed in pieces: `git ls-tree -r -z -l` of a hostile repository may be endless, so the
first thing that is wrong ends it. Must not know git's programs or the file system.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from oriel.builder.limits import Limits, human_size
from oriel.builder.tree import OWN, odd_name, shown
from oriel.faults import Invalid, TooLarge

_SUBMODULE = b"160000"
_RECORD_BYTES_MAX = 64 * 1024


@dataclass(slots=True)
class Manifest:
    """The files of one commit, counted and judged as they are listed."""

    limits: Limits
    files: int = 0
    size_bytes: int = 0
    largest: tuple[int, bytes] = (0, b"")
    _rest: bytes = field(default=b"", repr=False)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the list; raises Invalid or TooLarge at the first bad file."""
        *records, self._rest = (self._rest + piece).split(b"\0")
        for record in records:
            self._take(record)
        if len(self._rest) > _RECORD_BYTES_MAX:
            raise Invalid("The commit holds a path that is absurdly long.")

    def finish(self) -> None:
        """The list is complete; raises Invalid when there was nothing, or half a record."""
        if self._rest:
            raise Invalid("The commit's list of files ends in the middle.")
        if not self.files:
            raise Invalid("The pushed commit has no files.", hint="git add your app, and commit.")

    def _take(self, record: bytes) -> None:
        head, tab, path = record.partition(b"\t")
        words = head.split()
        if not tab or len(words) != 4:
            raise Invalid("The commit's list of files cannot be read.")
        mode, _, _, size = words
        if mode == _SUBMODULE:
            raise _submodule(path)
        if why := odd_name(path):
            raise Invalid(why, hint="Rename it: git mv OLD NEW.")
        if path.split(b"/")[0] == OWN.encode():
            raise Invalid(
                f"{OWN} is where Oriel keeps its own notes in a slug.",
                hint=f"Take it out of the repository: git rm -r --cached {OWN}",
            )
        self._count(int(size) if size.isdigit() else 0, path)

    def _count(self, size_bytes: int, path: bytes) -> None:
        self.files += 1
        self.size_bytes += size_bytes
        self.largest = max(self.largest, (size_bytes, path))
        if self.files > self.limits.files_max:
            raise TooLarge(
                f"The commit has more than {self.limits.files_max:,} files.",
                hint="Leave generated files and vendored dependencies out of git (.gitignore).",
            )
        if self.size_bytes > self.limits.tree_bytes_max:
            size, largest = self.largest
            raise TooLarge(
                f"The commit's files are larger than {human_size(self.limits.tree_bytes_max)} "
                f"unpacked; the largest so far is {shown(largest)} with {human_size(size)}.",
                hint="Keep large files outside git and fetch them at run time.",
            )


def _submodule(path: bytes) -> Invalid:
    name = shown(path)
    return Invalid(
        f"{name} is a git submodule, which Oriel can't fetch.",
        hint=f"Put its files into this repository: git rm --cached {name}, remove it from "
        f".gitmodules, delete {name}/.git, then git add {name}",
    )
