from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.builder import tree
from oriel.builder.tree import Patterns, Refused

MANY, LARGE = 1000, 1 << 30


def make(root: Path, *files: str, **links: str) -> bytes:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for name, target in links.items():
        (root / name).symlink_to(target)
    return os.fsencode(root)


def test_surveys_a_tree(tmp_path: Path) -> None:
    root = make(tmp_path, "Procfile", "a/b/c.py", ".git-ish", link="a/b", dangling="nowhere")
    found = tree.survey(root, MANY, LARGE)
    assert found.names == [".git-ish", "Procfile", "a", "dangling", "link"]
    assert found.files == 7
    assert found.size_bytes == len("Procfile" + "a/b/c.py" + ".git-ish")


@pytest.mark.parametrize(
    ("target", "leaves"),
    [
        ("a", False),
        ("./a/../a", False),
        ("a/../../x", True),
        ("..", True),
        ("/etc/passwd", True),
        ("/app/a", False),
        ("/app", False),
        ("/app/../etc", True),
        ("/apple", True),
        ("up/x", True),
        ("self", False),
        ("nowhere/x", False),
    ],
)
def test_knows_which_symlinks_leave(tmp_path: Path, target: str, leaves: bool) -> None:
    root = make(tmp_path, "a/file", up="a/../..", self="self", probe=target)
    assert tree.leaves(root, b"probe") == leaves


def test_a_link_in_a_directory_may_go_up_within_the_tree(tmp_path: Path) -> None:
    root = make(tmp_path, "a/b/file", "top")
    (tmp_path / "a/b/in").symlink_to("../../top")
    (tmp_path / "a/b/out").symlink_to("../../../top")
    assert not tree.leaves(root, b"a/b/in")
    assert tree.leaves(root, b"a/b/out")
    with pytest.raises(Refused, match=r"The symlink a/b/out -> \.\./\.\./\.\./top leaves the tree"):
        tree.survey(root, MANY, LARGE)


def test_refuses_what_no_slug_may_hold(tmp_path: Path) -> None:
    for name, says in ((".oriel", "own notes"), ("a\nb", "control character")):
        directory = tmp_path / str(len(says))
        directory.mkdir()
        with pytest.raises(Refused, match=says):
            tree.survey(make(directory, name), MANY, LARGE)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Refused, match="neither a file"):
        tree.survey(make(tmp_path), MANY, LARGE)


def test_refuses_too_many_and_too_large(tmp_path: Path) -> None:
    root = make(tmp_path, "a", "b", "c")
    with pytest.raises(Refused, match="more than 2 files"):
        tree.survey(root, 2, LARGE)
    with pytest.raises(Refused, match="larger than"):
        tree.survey(root, MANY, 2)
    with pytest.raises(Refused, match=r"Compiled slug size: .*M is too large \(max is 0M\)"):
        tree.digest(root, MANY, 2)
    with pytest.raises(Refused, match="more than 2 files"):
        tree.measure(root, 2, LARGE)


def test_counts_lfs_pointers_where_they_are_used(tmp_path: Path) -> None:
    root = make(tmp_path, "plain")
    pointer = (
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"
    )
    (tmp_path / "big.bin").write_text(pointer)
    assert tree.survey(root, MANY, LARGE).lfs_pointers == 0
    (tmp_path / ".gitattributes").write_text("*.bin filter=lfs diff=lfs\n")
    found = tree.survey(root, MANY, LARGE)
    assert (found.lfs_pointers, found.lfs_example) == (1, "big.bin")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.psd", "art/deep/a.psd", True),
        ("*.psd", "a.psd.txt", False),
        ("/spec", "spec", True),
        ("/spec", "lib/spec", False),
        ("spec", "lib/spec", True),
        ("docs/*.md", "docs/a.md", True),
        ("docs/*.md", "docs/sub/a.md", False),
        ("docs/**/*.md", "docs/sub/deep/a.md", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "b.txt", True),
        ("[!ab].txt", "c.txt", True),
        ("[!ab].txt", "a.txt", False),
        ("a*b*c", "aXbYbZc", True),
        ("a*b*c", "aXcYb", False),
        ("*.min.*", "x.min.js", True),
        ("!keep", "keep", False),
        ("# comment", "# comment", False),
        ("a+b", "a+b", True),
        ("/", "x", False),
        ("*", "x", False),
    ],
)
def test_slugignore(pattern: str, path: str, matches: bool) -> None:
    assert Patterns.parse(pattern).match(path.encode(), is_directory=False) == matches


def test_slugignore_takes_away_the_topmost(tmp_path: Path) -> None:
    root = make(tmp_path, "spec/a", "spec/b/c", "lib/x.log", "lib/y", "only")
    (tmp_path / ".slugignore").write_text("/spec\n*.log\nonly/\n")
    found = tree.survey(root, MANY, LARGE)
    assert found.ignored == ["spec", "lib/x.log"]
    assert found.names == [".slugignore", "lib", "only"]


@given(st.text(max_size=40), st.text(max_size=20))
def test_any_pattern_is_read(pattern: str, path: str) -> None:
    Patterns.parse(pattern).match(path.encode("utf-8", "surrogatepass"), is_directory=True)


def test_a_nasty_pattern_is_quick() -> None:
    Patterns.parse("*a" * 10 + "b").match(b"a" * 60, is_directory=False)


def test_reads_no_text_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = make(tmp_path / "app", "dir/real", Procfile="../secret", d="dir")
    os.mkfifo(tmp_path / "app" / "fifo")
    assert tree.read_text(root, b"dir/real") == b"dir/real"
    for path in (b"Procfile", b"d/real", b"fifo", b"dir", b"none", b"dir/none", b"a\0b"):
        assert tree.read_text(root, path) is None
    with pytest.raises(Refused, match="larger than"):
        tree.read_text(root, b"dir/real", 3)


def test_the_digest_is_of_names_modes_kinds_and_content(tmp_path: Path) -> None:
    def of(change: str) -> str:
        root = tmp_path / (change or "same")
        make(root, "a", "d/b", l="a")
        match change:
            case "content":
                (root / "a").write_text("other")
            case "name":
                (root / "a").rename(root / "A")
            case "mode":
                (root / "a").chmod(0o755)
            case "empty directory":
                (root / "e").mkdir()
            case "link":
                (root / "l").unlink()
                (root / "l").symlink_to("d")
            case "kind":
                (root / "l").unlink()
                (root / "l").write_text("a")
            case "time":
                os.utime(root / "a", (0, 0))
        answer = tree.digest(os.fsencode(root), MANY, LARGE)
        assert answer["size_bytes"] >= 4
        return str(answer["digest"])

    same = of("")
    assert of("time") == same
    changes = ["content", "name", "mode", "empty directory", "link", "kind"]
    assert len({same, *(of(change) for change in changes)}) == 1 + len(changes)


def test_a_name_cannot_pass_for_content(tmp_path: Path) -> None:
    make(tmp_path / "one", "a")
    make(tmp_path / "two", "a\0"[:1] + "a")
    first = tree.digest(os.fsencode(tmp_path / "one"), MANY, LARGE)
    second = tree.digest(os.fsencode(tmp_path / "two"), MANY, LARGE)
    assert first["digest"] != second["digest"]


def test_runs_as_a_script_of_its_own(tmp_path: Path) -> None:
    make(tmp_path, "a")
    for verb, expected in (("digest", "digest"), ("survey", "names"), ("measure", "files")):
        command = [sys.executable, "-I", "-S", tree.__file__, verb, str(tmp_path), "9", "99"]
        answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert expected in answer
