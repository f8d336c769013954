"""Owns `ps:history`: what became of processes, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from oriel.cli import ages, render, session, terminal
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below, query

PROCESS = render.Column("Process", 10, 10, most=40, least=8)
RELEASE = render.Column("Rel", 4, 4, most=8)
CHANGE = render.Column("Change", 20, 20, most=24)
AFTER = render.Column("After", 5, 5, most=8)
CAUSE = render.Column("Cause", 20, 20, most=80, least=8)

COLOURS = {"crashed": terminal.RED, "up": terminal.GREEN}
PAGE_MAX = 1000
WIDE = 100
"""Columns of a terminal that has room for the day in each row."""


@click.command(
    epilog=example(
        "oriel ps:history",
        "oriel ps:history web.1 -n 50",
        "oriel ps:history web --since 2h",
        "oriel ps:history --since v74 --until 08:40",
    )
)
@click.argument("only", required=False, metavar="[TYPE|TYPE.N]")
@click.option(
    "-n",
    "--num",
    "most",
    type=click.IntRange(1, 10_000),
    default=20,
    metavar="N",
    help="How many of the newest (20).",
)
@click.option("--since", metavar="WHEN", help="From then on: a time, an age (2h), a release (v74).")
@click.option("--until", metavar="WHEN", help="Only up to then.")
@click.option(
    "--local/--utc", "local", default=False, help="Times in this machine's zone, or UTC (default)."
)
@with_app
@with_json
def history(
    only: str | None,
    most: int,
    since: str | None,
    until: str | None,
    local: bool,
    app: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """List what became of processes: when, from which state to which, and why; newest first."""
    asked = {"ps": only or "", "since": _typed(since, local), "until": _typed(until, local)}
    name = session.app(app, remote)
    client = session.client()
    found: list[dict[str, Any]] = []
    while len(found) < most:
        limit = min(PAGE_MAX, most - len(found))
        before = found[-1]["id"] if found else ""
        path = below("oriel", "apps", name, "dyno-events")
        page = client.get(path + query(**asked, limit=limit, before=before)).data
        found += page
        if len(page) < limit:
            break
    if as_json:
        render.emit_json(found)
        return
    if not found:
        terminal.note(f"Nothing became of any process of {name} in that time.")
        return
    width = terminal.width()
    rows = [_row(each, local) for each in found]
    time_ = render.Column("Time (local)" if local else "Time (UTC)", 19, 19)
    days = {row[0][:10] for row in rows}
    if width is not None and width < WIDE and len(days) == 1:
        # Of one day, told once: that leaves more room for the cause.
        time_ = render.Column(days.pop(), 10, 10)
        rows = [(row[0][11:], *row[1:]) for row in rows]
    lines = render.table((time_, PROCESS, RELEASE, CHANGE, AFTER, CAUSE), rows, width)
    render.emit([*lines[:2], *map(_coloured, lines[2:], found)])


def _typed(text: str | None, local: bool) -> str:
    if not text:
        return ""
    from oriel.cli.moments import typed

    return typed(text, datetime.now(UTC), local=local)


def _row(each: dict[str, Any], local: bool) -> tuple[str, ...]:
    at = ages.parse(each["at"])
    shown = ages.local(at, zone=False) if local else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    before = each["from"]
    # An entry may only give the state another reason.
    change = f"{before} -> {each['to']}" if before not in (None, each["to"]) else each["to"]
    cause = each["cause"] or ""
    if each["folded"]:
        cause = f"{cause} (and {each['folded']} crashes before)".strip()
    release = f"v{(each.get('release') or {}).get('version')}"
    return shown, each["dyno"], release, change, _lasted(each["lasted_s"]), cause


def _lasted(lasted_s: float | None) -> str:
    if lasted_s is None:
        return ""
    if lasted_s < 10:
        return f"{lasted_s:.1f}s"
    now = datetime.fromtimestamp(lasted_s, UTC)
    return ages.age(datetime.fromtimestamp(0, UTC), now)


def _coloured(line: str, each: dict[str, Any]) -> str:
    colour = COLOURS.get(each["to"])
    if not colour:
        return line
    before = "-> " if each["from"] not in (None, each["to"]) else "  "
    shown = f"{before}{each['to']}"
    return line.replace(shown, before + terminal.painted(each["to"], colour), 1)
