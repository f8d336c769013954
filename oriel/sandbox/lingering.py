"""Owns holding on to a sandbox's mounts and network for a moment after its end.

Taking them down takes the kernel some milliseconds: of the mounts in the last breath of its pid 1,
which is waited for, of the network beside, in the way of whatever is to follow. Must not know what
ended, or what follows.
"""

from __future__ import annotations

import contextlib
import os

LINGER_S = 0.25
"""How long what it had is left in peace."""


def spaces_of(pid: int | None) -> list[int]:
    """Descriptors that hold the namespaces of a process; fewer where that is not allowed."""
    held: list[int] = []
    for kind in ("mnt", "net") if pid is not None else ():
        with contextlib.suppress(OSError):
            held.append(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
    return held


def let_go(held: list[int]) -> None:
    """The kernel takes down what nobody else holds; blocks for that."""
    for each in held:
        os.close(each)
