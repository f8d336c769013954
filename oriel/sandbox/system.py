"""Owns which parts of the machine every sandbox may read. Must not know who runs in it.

A `System` is a value, so that rendering stays pure; `look` reads it off the machine once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_ROOTS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ssl/ct_log_list.cnf",
    "terminfo",
    "timezone",
    "xml",
)
"""Of /etc only what programs need to run: nobody's configuration, no keys, no user list."""

_LIVE = ("hosts", "resolv.conf")
"""Files that are changed in place while dynos run: those show the change."""

COPIED_BYTES_MAX = 16 * 1024
"""Larger files are bound, not copied: each copy takes memory."""

_ETC_PATTERNS = ("ImageMagick-*", "java-*", "perl", "python3*")


@dataclass(frozen=True, slots=True)
class System:
    """The machine's own part of a sandbox, read-only."""

    shown: tuple[str, ...]
    """Directories, and files, that are bound."""
    copied: tuple[str, ...]
    """Small files. bubblewrap reads the whole table of mounts anew for each one that it binds, and
    16 such are a third of its time.
    """
    links: tuple[tuple[str, str], ...]
    """(target of the link, where it is): /bin on a machine whose programs are in /usr/bin."""


def look(root: Path = Path("/")) -> System:
    """What there is on this machine."""
    shown = ["/usr"]
    links = []
    for name in _ROOTS:
        place = root / name
        if place.is_symlink():
            links.append((os.readlink(place), f"/{name}"))
        elif place.is_dir():
            shown.append(f"/{name}")
    if (root / "opt").is_dir():
        shown.append("/opt")
    etc = [name for name in _ETC if (root / "etc" / name).exists()]
    for pattern in _ETC_PATTERNS:
        etc += sorted(place.name for place in (root / "etc").glob(pattern))
    copied = [name for name in etc if name not in _LIVE and _is_small_file(root / "etc" / name)]
    bound = [name for name in etc if name not in copied]
    return System(
        shown=(*shown, *(f"/etc/{name}" for name in bound)),
        copied=tuple(f"/etc/{name}" for name in copied),
        links=tuple(links),
    )


def _is_small_file(place: Path) -> bool:
    return place.is_file() and place.stat().st_size <= COPIED_BYTES_MAX
