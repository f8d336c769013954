"""Owns what the place that is written to can take: its width, colour, and which characters.

Results go to standard output, everything else to standard error. Must not know what is written.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

CYAN, YELLOW, GREEN, MAGENTA, RED = "36", "33", "32", "35", "31"
BOLD = "1"


def colourful(stream: TextIO) -> bool:
    """Whether colour is welcome: a terminal, and nobody said no."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def painted(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in a colour, where the stream (standard output) takes one."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colourful(stream or sys.stdout) else text


def width() -> int | None:
    """Columns of the output: COLUMNS, which `watch` sets too, or the terminal's; None if free."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and 0 < int(columns) < 10_000:
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def note(text: str) -> None:
    """A line beside the result: progress, hints."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def complain(*texts: str) -> None:
    """An error, one ` !    ` line for each line of it."""
    mark = painted(" !", RED, sys.stderr)
    sys.stdout.flush()
    for text in texts:
        for line in text.splitlines():
            print(f"{mark}    {shown(line)}", file=sys.stderr, flush=True)


def shown(text: str, keep: str = "") -> str:
    """The text without what could steer a terminal: control and formatting characters.

    A name or a description comes from somebody else; it must not move the cursor or turn the
    line around. Those of `keep` may stay.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _instead(each) for each in text)


def _instead(character: str) -> str:
    return " " if character.isspace() else "?"


def forgiving() -> None:
    """Make both streams show what their encoding lacks as an escape rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
