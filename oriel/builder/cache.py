"""Owns what an app's cache does, as steps: give a directory back, keep one, stay in its bounds.

Pure. The cache is the app's own directory, shown at /cache to its builds and to nobody else's.
What is in it was written by the app, so it is only ever touched inside the sandbox.
"""

from __future__ import annotations

from oriel.builder.limits import KIBIBYTE, Limits
from oriel.builder.recipe import CACHE, Kept, Step

MISS = 3
"""The status of `restore` when the key is not known."""

_RESTORE = """\
rm -rf -- "$2"
[ -d "$1" ] || exit 3
cp -a --reflink=auto -- "$1" "$2" && touch -- "$1"
"""

_KEEP = """\
mkdir -p -- "${1%/*}" && rm -rf -- "$1" "$1.new" && cp -a --reflink=auto -- "$2" "$1.new" &&
    mv -T -- "$1.new" "$1" && touch -- "$1"
"""

_TRIM = """\
over() { [ "$(du -sk /cache | cut -f1)" -gt "$1" ]; }
older() { [ -d /cache/kept ] && cd /cache/kept && ls -t | tail -n "+$1" | xargs -r rm -rf --; }
rm -rf -- /cache/kept/*.new
older "$(($2 + 1))"
over "$1" && rm -rf -- /cache/uv
over "$1" && older 2
over "$1" && older 1
exit 0
"""


def restore(kept: Kept) -> Step:
    """Give back what is kept under the key; ends with MISS when there is nothing."""
    return _step("Restoring the cache", _RESTORE, _place(kept), kept.path)


def keep(kept: Kept) -> Step:
    """Keep what was made under the key."""
    return _step("Keeping the cache", _KEEP, _place(kept), kept.path)


def trim(limits: Limits) -> Step:
    """Remove the oldest of what is too much."""
    size_kib = str(limits.cache_bytes_max // KIBIBYTE)
    return _step("Trimming the cache", _TRIM, size_kib, str(limits.environments_kept))


def _place(kept: Kept) -> str:
    return f"{CACHE}/kept/{kept.key}"


def _step(title: str, script: str, *arguments: str) -> Step:
    return Step(title, ("/bin/sh", "-c", script, "sh", *arguments))
