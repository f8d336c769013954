"""Owns programs of Debian's that benchmarks stand beside, unpacked below `.setup`, not installed.

Must not know what they are used for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

SETUP = Path(__file__).parent.parent / ".setup"


def unpacked(name: str, packages: list[str], program: str) -> Path | None:
    """The directory into which `packages` are unpacked; None, and why on stderr, without them.

    `program` is the path in it that shows that all is there.
    """
    place = SETUP / f"bench-{name}"
    if (place / program).exists():
        return place
    draft = SETUP / f"bench-{name}.{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        subprocess.run(["apt-get", "-q", "download", *packages], cwd=draft, check=True, timeout=120)
        for each in sorted(draft.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(each), str(draft)], check=True, timeout=60)
        with suppress(OSError):
            draft.rename(place)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"no {name}: {error}", file=sys.stderr)
    return place if (place / program).exists() else None


def libraries(place: Path) -> dict[str, str]:
    """The environment in which a program unpacked at `place` finds its libraries."""
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, place.glob("usr/lib/*/")))}
