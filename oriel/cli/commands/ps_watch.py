"""Owns `ps --watch`: the table again whenever something changed, and each second for the ages.

On a terminal it is redrawn in place; elsewhere a fresh table comes with each change, with --json
an object a line.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from oriel.cli import exits, render, terminal
from oriel.cli.commands import ps
from oriel.cli.feed import BACK, Feed
from oriel.client.refusal import Refusal
from oriel.client.wire import Client

REDRAW_S = 1.0
FOREVER_S = 10.0 * 365 * 86400

ENTER = "\x1b[?1049h\x1b[?25l"
LEAVE = "\x1b[?25h\x1b[?1049l"
HOME = "\x1b[H"
END_OF_LINE = "\x1b[K"
BELOW = "\x1b[J"

Seen = dict[str, Any]
News = Seen | Exception


def watch(client: Client, name: str, only: Sequence[str], *, as_json: bool, extended: bool) -> int:
    """Show the app's processes until somebody ends it."""
    news: queue.Queue[News] = queue.Queue()
    # Waiting for the server must not keep the ages from growing.
    thread = threading.Thread(target=_listen, args=(Feed(client, name), news), daemon=True)
    thread.start()
    try:
        if as_json:
            _each_change(news, _object, only)
        elif _can_redraw():
            _draw(news, name, only, extended)
        else:
            # Blank lines between the tables, and none before the first.
            gaps = itertools.chain([""], itertools.repeat("\n"))

            def fresh(seen: Seen, dynos: list[ps.Json]) -> str:
                return next(gaps) + "\n".join(_text(dynos, seen["now"], name, extended))

            _each_change(news, fresh, only)
    except KeyboardInterrupt:
        pass
    return exits.INTERRUPTED


def _can_redraw() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _listen(feed: Feed, news: queue.Queue[News]) -> None:
    try:
        while True:
            seen = feed.next(FOREVER_S, away=news.put)
            if seen is not None:
                news.put(seen)
    except Exception as problem:  # Whatever it is, the one who waits has to hear of it.
        news.put(_Over(problem))


class _Over(Exception):
    """The feed has ended, for good."""

    def __init__(self, problem: Exception) -> None:
        super().__init__()
        self.problem = problem


def _each_change(
    news: queue.Queue[News], shown: Callable[[Seen, list[ps.Json]], str], only: Sequence[str]
) -> None:
    """Print what `shown` makes of each change of those that are asked for."""
    last: list[ps.Json] | None = None
    is_away = False
    while True:
        told = news.get()
        if isinstance(told, _Over):
            raise told.problem
        if isinstance(told, Exception):
            if told is not BACK and not is_away:
                terminal.note(_away(told))
            is_away = told is not BACK
            continue
        is_away = False
        dynos = ps.chosen(only, told["dynos"])
        if dynos != last:
            print(shown(told, dynos), flush=True)
            last = dynos


def _object(seen: Seen, dynos: list[ps.Json]) -> str:
    return json.dumps(
        {"at": seen["at"], "app": seen["app"], "release": seen["release"], "dynos": dynos}
    )


def _text(dynos: list[ps.Json], now: datetime, name: str, extended: bool) -> list[str]:
    if not dynos:
        return [f"No processes on {name}."]
    return ps.table(dynos, now, extended=extended)


def _draw(news: queue.Queue[News], name: str, only: Sequence[str], extended: bool) -> None:
    """Redraw in place, on a screen of its own; the last table stays when it ends."""
    signal.signal(signal.SIGTERM, _terminated)
    screen = _Screen()
    lines: list[str] = []
    seen: Seen | None = None
    status, arrived_s = "", 0.0
    try:
        while True:
            with contextlib.suppress(queue.Empty):
                told = news.get(timeout=REDRAW_S if seen else None)
                if isinstance(told, _Over):
                    raise told.problem
                if isinstance(told, Exception):
                    status = "" if told is BACK else _away(told)
                else:
                    seen, status, arrived_s = told, "", time.monotonic()
            if seen is None:
                continue
            now = seen["now"] + timedelta(seconds=time.monotonic() - arrived_s)
            lines = _text(ps.chosen(only, seen["dynos"]), now, name, extended)
            release = f"v{seen['release']}" if seen["release"] else "no release"
            head = f"{name}, {release}, {now.astimezone():%a %b %d %H:%M:%S %Y}. Ctrl-C ends."
            screen.show([head, "", *lines, *(["", status] if status else [])])
    finally:
        screen.leave()
        render.emit(lines)


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _away(problem: Exception) -> str:
    said = problem.message if isinstance(problem, Refusal) else str(problem)
    return f"{terminal.shown(said)} Trying again; this is what was there last."


class _Screen:
    """The terminal's other screen."""

    def __init__(self) -> None:
        """Entered with the first picture."""
        self._entered = False
        self._shown = ""

    def show(self, lines: Sequence[str]) -> None:
        """Draw a picture over the last one; nothing where it is the same."""
        size = os.get_terminal_size(sys.stdout.fileno())
        room = max(2, size.lines - 1)
        fitting = list(lines[:room])
        if len(lines) > room:
            fitting[-1] = f"... and {len(lines) - room + 1} more"
        text = HOME + "".join(f"{line}{END_OF_LINE}\r\n" for line in fitting) + BELOW
        if text == self._shown:
            return
        self._shown = text
        text = text if self._entered else ENTER + text
        # Before it is: a signal may come in between, and one leave too many does no harm.
        self._entered = True
        sys.stdout.write(text)
        sys.stdout.flush()

    def leave(self) -> None:
        """Give the terminal back as it was."""
        if self._entered:
            with contextlib.suppress(OSError):
                sys.stdout.write(LEAVE)
                sys.stdout.flush()
