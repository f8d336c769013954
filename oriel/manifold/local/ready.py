"""Owns what makes a sandbox wait, wholly made, for the word to begin its program.

Inside, the program's own shell waits at a FIFO, the gate, and goes on when a line comes. Whoever is
inside holds both ends of it, so that it waits on when control is killed. The directory says how far
it is: with `waits` in it the word was not given, and nothing may run; `begun`, its new name, is the
intent to give it, and stays; `gate` is gone once it was given. Must not know who is kept ready.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from oriel.sandbox import Sandboxes
from oriel.sandbox.confinement import MEBIBYTE

READY_FOR_BYTES = 64 * MEBIBYTE
READY_MAX = 64
"""One may be kept ready for so much of the machine's memory, and no more than so many."""

WAITS, BEGUN, GATE = "waits", "begun", "gate"

_SHELL = ("/bin/bash", "-c")
WAIT = "IFS= read -r _ && exec < /dev/null || exit\n"
"""The first line of a script, before anything of the app's; its input is then what it would have
been.
"""
_OBEYED = ("LD_", "BASH", "GCONV_", "SHELLOPTS", "PS4")
_WORD = b"\n"


def most(sandboxes: Sandboxes) -> int:
    """How many may be kept ready: none where each would be a copy of the app's files, or have a
    network program of its own, which takes more memory than many a dyno.
    """
    if sandboxes.taps is not None or not sandboxes.capabilities.overlay:
        return 0
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(READY_MAX, memory_bytes // READY_FOR_BYTES)


def allows(env: Mapping[str, str]) -> bool:
    """Whether a shell can wait in that environment without running anything of the app's: the
    dynamic linker (ld.so(8)), bash and glibc obey variables of their own.
    """
    return not any(name.startswith(_OBEYED) for name in env)


def waiting(argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command of bash's, as `command.argv` makes it, that waits at its standard input first.

    In the same shell: one that executed another would cost the crashed dyno a millisecond.
    """
    shell, script = argv[:2], argv[2]
    if shell != _SHELL:
        raise ValueError(f"{shell} cannot be made to wait")
    return (*shell, WAIT + script, *argv[3:])


def make(place: Path) -> int:
    """The gate; what is returned is both of its ends, for the one inside, and the caller's to
    close.
    """
    os.mkfifo(place / GATE, 0o600)
    # Not O_NONBLOCK: the shell is to wait. With both ends, opening does not.
    return os.open(place / GATE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def begin(place: Path) -> None:
    """Give the word; raises OSError when nothing was begun."""
    os.rename(place / WAITS, place / BEGUN)
    _give_word(place)


def finish(place: Path) -> bool:
    """After a kill: give the word where it was about to be given (a second one is read by nobody).
    Whether it was kept ready before it began.
    """
    if not (place / BEGUN).exists():
        return False
    with contextlib.suppress(FileNotFoundError):
        _give_word(place)
    return True


def waits(place: Path) -> bool:
    """Whether the word was never given."""
    return (place / WAITS).exists()


def _give_word(place: Path) -> None:
    gate = os.open(place / GATE, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(gate, _WORD)
    finally:
        os.close(gate)
    os.unlink(place / GATE)
