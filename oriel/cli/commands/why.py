"""Owns `why`: what a process was doing, what was changed before, how it ended, what to type."""

from __future__ import annotations

from typing import Any

import click

from oriel.cli import render, session, terminal
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below

LINES_MAX = 10
LABEL = 13
"""Columns before a value: `Changed:     `."""

COLOURS = {"crashed": terminal.RED, "up": terminal.GREEN, "starting": terminal.YELLOW}


@click.command(epilog=example("oriel why web.1", "oriel why worker.2 -a foobaz --json"))
@click.argument("process", metavar="TYPE.N")
@with_app
@with_json
def why(process: str, app: str | None, remote: str | None, as_json: bool) -> None:
    """Say in ten lines why a process is as it is, and what to type to undo it."""
    type_, _, number = process.rpartition(".")
    if not type_ or "/" in type_ or not number.isdecimal():
        known = process if process.isidentifier() else "web"
        raise wrong(f"{terminal.shown(process)} is not TYPE.N, as in oriel why {known}.1")
    name = session.app(app, remote)
    found = session.client().get(below("oriel", "apps", name, "dynos", process, "why")).data
    if as_json:
        render.emit_json(found)
        return
    render.emit(told(found, f" -a {name}" if app else "", terminal.width()))


def told(found: dict[str, Any], suffix: str, width: int | None) -> list[str]:
    """The answer as lines: ten at most, none longer than the terminal is wide."""
    label = "Before" if found["kind"] in ("up", "starting", "idle") else "Was"
    undo = [_typed(each, suffix, place) for place, each in enumerate(found["steps"])]
    rows = [
        (label, found["was"]),
        *_labelled("Changed", found["changed"]),
        ("Ended" if label == "Was" else "Now", found["ended"]),
        ("Also", found["also"]),
        *_labelled("Said", found["said"]),
    ]
    lines = [_line(*row, width) for row in rows if row[1]]
    # What to type is the last thing to be left out, and is never cut short.
    lines = lines[: LINES_MAX - 1 - len(undo)]
    title = render.cut(f"=== {terminal.shown(found['title'])}", width or 10_000)
    return [_coloured(title, found["state"]), *lines, *undo]


def _typed(step: dict[str, Any], suffix: str, place: int) -> str:
    label = "or:" if place else "To undo:" if step["kind"] == "undo" else "To try:"
    return f"{label:<{LABEL - 1}} {terminal.shown(step['command'])}{suffix}"


def _labelled(label: str, values: list[str]) -> list[tuple[str, str]]:
    return [(label if not place else "", value) for place, value in enumerate(values)]


def _line(label: str, value: str, width: int | None) -> str:
    shown = terminal.shown(value.expandtabs(2))
    begun = f"{label + ':' if label else '':<{LABEL - 1}} "
    return render.cut(begun + shown, width or 10_000)


def _coloured(line: str, state: str) -> str:
    colour = COLOURS.get(state)
    if not colour:
        return line
    return line.replace(f": {state} for ", f": {terminal.painted(state, colour)} for ", 1)
