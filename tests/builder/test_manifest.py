from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.builder.limits import Limits
from oriel.builder.manifest import Manifest
from oriel.faults import Fault, Invalid, TooLarge

ID = "a" * 40


def entry(path: str | bytes, *, mode: str = "100644", kind: str = "blob", size: str = "5") -> bytes:
    name = path if isinstance(path, bytes) else path.encode()
    return f"{mode} {kind} {ID} {size:>7}\t".encode() + name + b"\0"


def judged(*records: bytes, limits: Limits | None = None, piece: int = 1 << 20) -> Manifest:
    manifest, whole = Manifest(limits or Limits()), b"".join(records)
    for start in range(0, len(whole), piece):
        manifest.feed(whole[start : start + piece])
    manifest.finish()
    return manifest


def test_counts_files_whatever_the_pieces() -> None:
    for piece in (1, 7, 1000):
        manifest = judged(entry("Procfile"), entry("a/b", size="10"), piece=piece)
        assert (manifest.files, manifest.size_bytes) == (2, 15)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (entry("lib/x", mode="160000", kind="commit", size="-"), "lib/x is a git submodule"),
        (entry("a/" * 600 + "b"), "longer than 1024 bytes"),
        (entry("x" * 300), "a name of more than 255 bytes"),
        (entry("../up"), "leaves the tree"),
        (entry("a/../../up"), "leaves the tree"),
        (entry("/etc/passwd"), "leaves the tree"),
        (entry(b"caf\xe9"), "is not UTF-8"),
        (entry("two\nlines"), "control character"),
        (entry("\x1b[2Jclear"), "control character"),
        (entry(".oriel/profile.json"), ".oriel is where Oriel keeps its own notes"),
        (b"nonsense\0", "cannot be read"),
        (b"100644 blob half", "in the middle"),
        (b"x" * 70_000, "absurdly long"),
        (b"", "has no files"),
    ],
)
def test_refuses(record: bytes, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        judged(record)
    assert says in caught.value.message
    assert caught.value.message.isprintable()


def test_refuses_too_many_and_too_large() -> None:
    with pytest.raises(TooLarge, match="more than 2 files"):
        judged(entry("a"), entry("b"), entry("c"), limits=Limits(files_max=2))
    with pytest.raises(TooLarge, match="largest so far is big with 90B"):
        judged(entry("a"), entry("big", size="90"), limits=Limits(tree_bytes_max=90))


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_any_bytes_are_counted_or_refused(pieces: list[bytes]) -> None:
    manifest = Manifest(Limits())
    with suppress(Fault):
        for piece in pieces:
            manifest.feed(piece)
        manifest.finish()
