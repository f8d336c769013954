"""Owns walking a pushed or built tree: what is in it, what leaves it, its digest.

Must not know Oriel: it is run as a script in a child process of its own (`python -I -S tree.py
survey|digest|measure ...`), so that a large tree never holds up control, and imports the standard
library only. A tree is an app's, hence hostile: no link is followed, nothing but regular files is
opened, and whatever is odd is a `Refused` with a sentence. Nothing writes to the tree meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

SLUGIGNORE = ".slugignore"
OWN = ".oriel"
"""Where the builder itself writes into a slug."""

NAMES_MAX = 10_000
LINKS_MAX = 40
"""How many symlinks one path may go through, as in the kernel."""
PATH_BYTES_MAX = 1024
TEXT_BYTES_MAX = 1 << 20
_LFS = b"version https://git-lfs.github.com/spec/"
_FORMAT = b"oriel-slug 1\n"


class Refused(Exception):
    """The tree cannot be taken; the message says why, to a person."""


class TooMuch(Refused):
    """Nothing is wrong with the tree but its size."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a tree; `path` is relative, with / between its parts."""

    path: bytes
    status: os.stat_result

    @property
    def kind(self) -> str:
        """`file`, `directory`, `link`, or what no slug may hold."""
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
        return kinds.get(stat.S_IFMT(self.status.st_mode), "special file")


@dataclass(slots=True)
class Survey:
    """What a pushed tree holds, before anything is built."""

    files: int = 0
    size_bytes: int = 0
    names: list[str] = field(default_factory=list)
    """What lies at the top of the tree, sorted."""
    ignored: list[str] = field(default_factory=list)
    """What `.slugignore` takes away, the topmost of each."""
    lfs_pointers: int = 0
    lfs_example: str = ""


def walk(root: bytes) -> Iterator[Entry]:
    """Everything below `root`, parents first, sorted by name within a directory."""
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(os.path.join(root, directory)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            below = []
            for entry in entries:
                path = os.path.join(directory, entry.name)
                status = entry.stat(follow_symlinks=False)
                yield Entry(path, status)
                if stat.S_ISDIR(status.st_mode):
                    below.append(path)
        except OSError as error:
            where = shown(directory or b".")
            raise Refused(f"{where} cannot be read: {error.strerror}.") from error
        waiting += reversed(below)


def shown(path: bytes) -> str:
    """A path as a message may print it."""
    text = path.decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 120 else text[:58] + "..." + text[-58:]


def odd_name(path: bytes) -> str:
    """Why a path of a pushed tree is refused; empty when it is not."""
    if len(path) > PATH_BYTES_MAX:
        return f"The path {shown(path)} is longer than {PATH_BYTES_MAX} bytes."
    if any(len(part) > 255 for part in path.split(b"/")):
        return f"The path {shown(path)} has a name of more than 255 bytes."
    if path.startswith(b"/") or any(part in (b"", b".", b"..") for part in path.split(b"/")):
        return f"The path {shown(path)} leaves the tree."
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return f"The path {shown(path)} is not UTF-8."
    if not text.isprintable():
        return f"The path {shown(path)} holds a control character."
    return ""


def survey(root: bytes, files_max: int, size_bytes_max: int) -> Survey:
    """Look a pushed tree over; raises Refused."""
    ignored = Patterns.read(root)
    result, skip = Survey(), b""
    uses_lfs = _mentions_lfs(root)
    for entry in walk(root):
        if skip and entry.path.startswith(skip):
            continue
        if ignored.match(entry.path, is_directory=entry.kind == "directory"):
            result.ignored.append(os.fsdecode(entry.path))
            skip = entry.path + b"/" if entry.kind == "directory" else skip
            continue
        _count(result, entry, files_max, size_bytes_max)
        _judge(root, entry)
        if uses_lfs and _is_lfs_pointer(root, entry):
            result.lfs_pointers += 1
            result.lfs_example = result.lfs_example or shown(entry.path)
        if b"/" not in entry.path and len(result.names) < NAMES_MAX:
            result.names.append(os.fsdecode(entry.path))
    return result


def _count(result: Survey, entry: Entry, files_max: int, size_bytes_max: int) -> None:
    result.files += 1
    result.size_bytes += entry.status.st_size if entry.kind == "file" else 0
    if result.files > files_max:
        raise TooMuch(f"There are more than {files_max:,} files and directories.")
    if result.size_bytes > size_bytes_max:
        raise TooMuch(f"The files are larger than {size_bytes_max >> 20} MiB unpacked.")


def _judge(root: bytes, entry: Entry) -> None:
    if why := odd_name(entry.path):
        raise Refused(why)
    if entry.path == OWN.encode():
        raise Refused(f"{OWN} is where Oriel keeps its own notes in a slug: use another name.")
    if entry.kind == "special file":
        raise Refused(f"{shown(entry.path)} is neither a file, a directory nor a symlink.")
    if entry.kind == "link" and leaves(root, entry.path):
        target = os.readlink(os.path.join(root, entry.path))
        raise Refused(f"The symlink {shown(entry.path)} -> {shown(target)} leaves the tree.")


def leaves(root: bytes, link: bytes) -> bool:
    """Whether a symlink leads out of the tree, through whatever other links it goes.

    `/app/...` is inside: that is where the tree will be. A link to nothing is inside too.
    """
    followed = 0
    at: list[bytes] = []
    ahead = link.split(b"/")[::-1]
    while ahead:
        part = ahead.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not at:
                return True
            at.pop()
            continue
        at.append(part)
        try:
            target = os.readlink(os.path.join(root, *at))
        except OSError:
            continue  # no link, or nothing at all
        followed += 1
        if followed > LINKS_MAX:
            return False  # a circle: it leads nowhere
        at.pop()
        if target.startswith(b"/"):
            if target != b"/app" and not target.startswith(b"/app/"):
                return True
            at, target = [], target[len(b"/app") :]
        ahead += target.split(b"/")[::-1]
    return False


def read_text(root: bytes, path: bytes, size_bytes_max: int = TEXT_BYTES_MAX) -> bytes | None:
    """A small regular file's content without following any link; None when there is none."""
    opened = []
    try:
        opened.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        *above, name = path.split(b"/")
        for part in above:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            opened.append(os.open(part, flags, dir_fd=opened[-1]))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened.append(os.open(name, flags, dir_fd=opened[-1]))
        status = os.fstat(opened[-1])
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size > size_bytes_max:
            raise Refused(f"{shown(path)} is larger than {size_bytes_max >> 10} KiB.")
        with os.fdopen(opened.pop(), "rb") as file:
            return file.read(size_bytes_max)
    except (OSError, ValueError):
        return None
    finally:
        for descriptor in opened:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Patterns:
    """`.slugignore`: patterns as in .gitignore, without negation."""

    rules: tuple[tuple[re.Pattern[str], bool], ...] = ()
    """(what the path must match, whether only directories do)."""

    @classmethod
    def read(cls, root: bytes) -> Patterns:
        """The patterns of a tree; none when it has no `.slugignore`."""
        content = read_text(root, SLUGIGNORE.encode())
        return cls.parse((content or b"").decode("utf-8", "replace"))

    @classmethod
    def parse(cls, text: str) -> Patterns:
        """The patterns that a text gives, one a line."""
        rules = []
        for raw in text.removeprefix("\ufeff").splitlines():
            line = raw.strip()
            if not line or line.startswith(("#", "!")):
                continue
            bare = line.rstrip("/")
            anchored = "/" in bare
            if bare.strip("/*"):
                rule = re.compile(("" if anchored else "(?:.*/)?") + _regex(bare.lstrip("/")))
                rules.append((rule, line.endswith("/")))
        return cls(tuple(rules[:1000]))

    def match(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether a path is taken away."""
        text = os.fsdecode(path)
        return any(rule.fullmatch(text) for rule, only in self.rules if is_directory or not only)


def _regex(glob: str) -> str:
    """A glob in which * and ? stay within one directory, and ** between slashes does not."""
    parts = ["(?:[^/]+/)*" if part == "**" else _part(part) + "/" for part in glob.split("/")]
    return "".join(parts).removesuffix("/")


def _part(glob: str) -> str:
    """One name's glob as a regular expression.

    What follows a * is matched at the first place where it fits and never tried again (an atomic
    group, as in `fnmatch`): else a pattern with many * would take for ever.
    """
    first, *others = re.split(r"\*+", glob)
    if not others:
        return _fixed(first)
    *middle, last = map(_fixed, others)
    return _fixed(first) + "".join(f"(?>[^/]*?{each})" for each in middle) + f"[^/]*{last}"


def _fixed(glob: str) -> str:
    words = re.findall(r"\?|\[!?\]?[^\]]*\]|.", glob, re.DOTALL)
    return "".join(_word(word) for word in words)


def _word(word: str) -> str:
    if word == "?":
        return "[^/]"
    if len(word) > 2 and word.startswith("["):
        inner, negated = word[1:-1], word[1] == "!"
        return "[" + "^" * negated + re.sub(r"([\\\[\]^&~|])", r"\\\1", inner[negated:]) + "]"
    return re.escape(word)


def _mentions_lfs(root: bytes) -> bool:
    content = read_text(root, b".gitattributes")
    return content is not None and b"filter=lfs" in content


def _is_lfs_pointer(root: bytes, entry: Entry) -> bool:
    if entry.kind != "file" or not 100 <= entry.status.st_size <= 1024:
        return False
    return (read_text(root, entry.path) or b"").startswith(_LFS)


def digest(root: bytes, files_max: int, size_bytes_max: int) -> dict[str, object]:
    """A slug's content address, its size and its count of files; raises Refused."""
    counted, entries = Survey(), list[Entry]()
    for entry in walk(root):
        _count(counted, entry, files_max, sys.maxsize)
        if entry.kind == "special file":
            raise Refused(f"The build left {shown(entry.path)}, which is no file a slug can hold.")
        entries.append(entry)
    if counted.size_bytes > size_bytes_max:
        raise TooMuch(
            f"Compiled slug size: {counted.size_bytes / 2**20:.1f}M is too large "
            f"(max is {size_bytes_max / 2**20:.0f}M)."
        )
    whole = hashlib.sha256(_FORMAT)
    for entry in sorted(entries, key=lambda entry: entry.path):
        mode = stat.S_IMODE(entry.status.st_mode) if entry.kind != "link" else 0
        whole.update(b"%s %o %d %s\0" % (entry.kind.encode(), mode, len(entry.path), entry.path))
        whole.update(_content(root, entry))
    return {
        "digest": whole.hexdigest(),
        "size_bytes": counted.size_bytes,
        "files": counted.files,
    }


def measure(root: bytes, files_max: int, size_bytes_max: int) -> dict[str, object]:
    """Size and count of a tree that is still being written to; raises Refused when over."""
    files = size_bytes = 0
    for directory, below, names in os.walk(root):
        files += len(below)
        for name in names:
            try:
                size_bytes += os.lstat(os.path.join(directory, name)).st_size
            except OSError:
                continue  # gone meanwhile
            files += 1
        if files > files_max:
            raise TooMuch(f"The build made more than {files_max:,} files.")
        if size_bytes > size_bytes_max:
            raise TooMuch(f"The build's files are larger than {size_bytes_max >> 20} MiB.")
    return {"size_bytes": size_bytes, "files": files}


def _content(root: bytes, entry: Entry) -> bytes:
    path = os.path.join(root, entry.path)
    if entry.kind == "directory":
        return hashlib.sha256().digest()
    try:
        if entry.kind == "link":
            return hashlib.sha256(os.readlink(path)).digest()
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise Refused(f"{shown(entry.path)} cannot be read: {error.strerror}.") from error


def main(arguments: list[str]) -> None:
    """`survey|digest|measure ROOT FILES_MAX SIZE_BYTES_MAX`: print the answer as JSON."""
    verb, root, files_max, size_bytes_max = arguments
    os.nice(5)
    answer: object
    try:
        if verb == "survey":
            answer = asdict(survey(os.fsencode(root), int(files_max), int(size_bytes_max)))
        else:
            work = {"digest": digest, "measure": measure}[verb]
            answer = work(os.fsencode(root), int(files_max), int(size_bytes_max))
    except Refused as refused:
        answer = {"refused": str(refused), "too_much": isinstance(refused, TooMuch)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
