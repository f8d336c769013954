"""Owns `logs`: lines of the channel, with whole seconds and a colour for each process type."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import click

from oriel.cli import exits, session, terminal
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below
from oriel.client.stream import follow

COLOURS = tuple(
    code.encode()
    for code in (terminal.CYAN, terminal.YELLOW, terminal.GREEN, terminal.MAGENTA, terminal.RED)
)
"""For each process type in the order in which they first appear."""

_SECONDS = len("2011-06-19T08:35:19")


@click.command(
    epilog=example(
        "oriel logs --tail", "oriel logs --ps web.1 -n 50", "oriel logs --source heroku --ps api"
    )
)
@click.option(
    "-n",
    "--num",
    "--lines",
    "lines",
    type=click.IntRange(0),
    default=100,
    metavar="N",
    help="How many of the last lines (100).",
)
@click.option(
    "-p",
    "--ps",
    "-d",
    "--dyno",
    "--process-type",
    "dyno",
    metavar="NAME",
    help="Only of a process (web.1) or a type (web, router, api).",
)
@click.option("-s", "--source", metavar="NAME", help="Only of a source: app or heroku.")
@click.option("-t", "--tail", is_flag=True, help="Go on with each new line.")
@with_json
@with_app
def logs(
    lines: int,
    dyno: str | None,
    source: str | None,
    tail: bool,
    as_json: bool,
    app: str | None,
    remote: str | None,
) -> int:
    """Show what the app, the platform and the API said."""
    name = session.app(app, remote)
    client = session.client()
    wish = {
        "lines": lines,
        "tail": tail,
        **({"dyno": dyno} if dyno else {}),
        **({"source": source} if source else {}),
        **({"format": "json"} if as_json else {}),
    }

    def open_session() -> str:
        return str(client.post(below("apps", name, "log-sessions"), wish).data["logplex_url"])

    writer = Writer(colour=terminal.colourful(sys.stdout), careful=sys.stdout.isatty())
    try:
        for batch in follow(client, open_session, tail=tail):
            _write(batch if as_json else map(writer.line, batch))
    except KeyboardInterrupt:
        if not tail:
            raise
        # How a tail ends. No colour is left open: each line closes its own.
        return exits.INTERRUPTED
    return exits.DONE


def _write(batch: Iterable[bytes]) -> None:
    """Pass lines on as they are, whatever bytes they hold, and at once."""
    text = b"".join(line + b"\n" for line in batch)
    sys.stdout.flush()
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:
        sys.stdout.write(text.decode("utf-8", "replace"))
    else:
        raw.write(text)
    sys.stdout.flush()


class Writer:
    """Makes of a line as the API has it one as it is shown."""

    def __init__(self, *, colour: bool, careful: bool) -> None:
        """`careful`: it goes to a terminal, which no app's output may steer."""
        self._colour = colour
        self._careful = careful
        self._colours: dict[bytes, bytes] = {}

    def line(self, line: bytes) -> bytes:
        """The line as it is shown."""
        line = whole_seconds(line)
        if self._careful:
            line = tame(line, colour=self._colour)
        return self._painted(line) if self._colour else line

    def _painted(self, line: bytes) -> bytes:
        """The header, up to `]:`, in the colour of its process type."""
        space = line.find(b" ")
        end = line.find(b" ", space + 1)
        source = line[space + 1 : end]
        if space < 0 or end < 0 or not source.endswith(b"]:") or b"[" not in source:
            return line
        type_ = source[source.index(b"[") + 1 : -2].split(b".")[0]
        colour = self._colours.setdefault(type_, COLOURS[len(self._colours) % len(COLOURS)])
        return b"\x1b[%bm%b\x1b[0m%b" % (colour, line[:end], line[end:])


def whole_seconds(line: bytes) -> bytes:
    """The line without the fraction of its time: `08:35:19.123456+00:00` is `08:35:19+00:00`."""
    if line[_SECONDS : _SECONDS + 1] != b"." or line[10:11] != b"T":
        return line
    end = _SECONDS + 1
    while line[end : end + 1].isdigit():
        end += 1
    return line[:_SECONDS] + line[end:]


_STEERING = re.compile(rb"\x1b\[[0-9;:]*m|[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


def tame(line: bytes, *, colour: bool) -> bytes:
    """The line with control characters shown rather than obeyed; an app's own colours may stay."""

    def instead(found: re.Match[bytes]) -> bytes:
        text = found[0]
        if len(text) > 1 and text[:1] == b"\x1b":
            return text if colour else b""
        if len(text) > 1:
            return b"?"
        return b"^?" if text == b"\x7f" else b"^" + bytes([text[0] + 64])

    tamed = _STEERING.sub(instead, line.removesuffix(b"\r"))
    return tamed + b"\x1b[0m" if colour and b"\x1b[" in tamed else tamed
