"""Owns `logs`: lines of the channel, with whole seconds and a colour for each process type."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import click

from oriel.cli import exits, session, terminal
from oriel.cli.moments import here, typed
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below
from oriel.client.stream import follow

COLOURS = tuple(
    code.encode()
    for code in (terminal.CYAN, terminal.YELLOW, terminal.GREEN, terminal.MAGENTA, terminal.RED)
)
"""For each process type in the order in which they first appear."""

LINES_DEFAULT = 100
_SECONDS = len("2011-06-19T08:35:19")


@click.command(
    epilog=example(
        "oriel logs --tail",
        "oriel logs --ps web.1 -n 50",
        "oriel logs --since v74 --grep NameError",
        "oriel logs --since 2h --until 30m --ps web --ps worker",
    )
)
@click.option(
    "-n",
    "--num",
    "--lines",
    "lines",
    type=click.IntRange(0),
    metavar="N",
    help="How many of the last lines (100; with --since, all).",
)
@click.option(
    "-p",
    "--ps",
    "-d",
    "--dyno",
    "--process-type",
    "dynos",
    multiple=True,
    metavar="NAME",
    help="Only of a process (web.1) or a type (web, router, api); may be repeated.",
)
@click.option("-s", "--source", metavar="NAME", help="Only of a source: app or heroku.")
@click.option("-t", "--tail", is_flag=True, help="Go on with each new line.")
@click.option(
    "--since", metavar="WHEN", help="Only from then on: a time, an age (2h), a release (v74)."
)
@click.option("--until", metavar="WHEN", help="Only up to then.")
@click.option("-g", "--grep", metavar="TEXT", help="Only lines that hold this text.")
@click.option("--regex", is_flag=True, help="--grep is a regular expression.")
@click.option("--release", metavar="VN", help="Only what dynos of this release said, or of it.")
@click.option(
    "--local/--utc", "local", default=False, help="Times in this machine's zone, or UTC (default)."
)
@click.option("--raw", is_flag=True, help="Control characters as they are, also on a terminal.")
@click.option("--no-color", is_flag=True, help="No colours.")
@with_json
@with_app
def logs(
    lines: int | None,
    dynos: tuple[str, ...],
    source: str | None,
    tail: bool,
    since: str | None,
    until: str | None,
    grep: str | None,
    regex: bool,
    release: str | None,
    local: bool,
    raw: bool,
    no_color: bool,
    as_json: bool,
    app: str | None,
    remote: str | None,
) -> int:
    """Show what the app, the platform and the API said."""
    if regex and not grep:
        raise wrong("--regex says how --grep is meant; give --grep too.")
    if tail and until:
        raise wrong("A tail has no end: leave out --until, or --tail.")
    now = datetime.now(UTC)
    if lines is None and not since:
        lines = LINES_DEFAULT
    wish = {
        "tail": tail,
        **({"lines": lines} if lines is not None else {}),
        **({"dyno": ",".join(dynos)} if dynos else {}),
        **({"source": source} if source else {}),
        **({"format": "json"} if as_json else {}),
        **({"since": typed(since, now, local=local)} if since else {}),
        **({"until": typed(until, now, local=local)} if until else {}),
        **({"grep": grep} if grep else {}),
        **({"regex": True} if regex else {}),
        **({"release": f"v{release.removeprefix('v')}"} if release else {}),
        **({"raw": True} if raw and not as_json else {}),
    }
    name = session.app(app, remote)
    client = session.client()

    def open_session() -> str:
        return str(client.post(below("apps", name, "log-sessions"), wish).data["logplex_url"])

    writer = Writer(
        colour=terminal.colourful(sys.stdout) and not no_color,
        careful=sys.stdout.isatty() and not raw,
        zone=here() if local else None,
    )
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

    def __init__(
        self, *, colour: bool, careful: bool, zone: Callable[[datetime], datetime] | None = None
    ) -> None:
        """`careful`: it goes to a terminal, which no app's output may steer. `zone`: whose times,
        UTC if None."""
        self._zone = zone
        self._seen = (b"", b"")
        self._colour = colour
        self._careful = careful
        self._colours: dict[bytes, bytes] = {}

    def line(self, line: bytes) -> bytes:
        """The line as it is shown."""
        line = whole_seconds(line)
        if self._zone:
            line = self._zoned(line)
        if self._careful:
            line = tame(line, colour=self._colour)
        return self._painted(line) if self._colour else line

    def _zoned(self, line: bytes) -> bytes:
        """The line with its time in another zone; neighbours mostly have the same one."""
        end = line.find(b" ")
        stamp = line[:end]
        if stamp != self._seen[0]:
            try:
                when = datetime.fromisoformat(stamp.decode("ascii"))
                shown = self._zone(when).isoformat().encode() if self._zone else stamp
            except (ValueError, OverflowError):
                shown = stamp
            self._seen = (stamp, shown)
        return self._seen[1] + line[end:]

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
