"""Owns `ps`: what runs, or ran, as a table; a card of one process."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from oriel.cli import ages, exits, render, session, terminal
from oriel.cli import table as commands
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below, query
from oriel.client.refusal import Refusal

TYPE_CHECKING = False  # As in typing, without importing it.
if TYPE_CHECKING:
    from oriel.client.wire import Client

PROCESS = render.Column("Process", 12, 12, most=40)
STATE = render.Column("State", 18, 18, most=24, least=18)
COMMAND = render.Column("Command", 30, 30, most=36, least=8)
WIDE_COMMAND = render.Column("Command", 36, 30, most=36, least=8)
"""The same where something stands behind it: its rule stays as it is."""
RELEASE = render.Column("Release", 7, 7, most=10)
REASON = render.Column("Reason", 20, 20, most=36, least=8)
BEHIND = render.Column("", 1, 0, most=200, least=8)
"""Why a process crashed, without a title: the three columns are as they always were."""

WIDE = 100
"""Columns of a terminal that has room for reasons."""

COLOURS = {"crashed": terminal.RED, "up": terminal.GREEN, "starting": terminal.YELLOW}
ONCE = ("run", "release")

Json = dict[str, Any]


@click.command(
    epilog=example(
        "oriel ps",
        "oriel ps web.1",
        "oriel ps --at 08:35",
        "oriel ps --watch",
        "watch oriel ps -a foobaz",
    )
)
@click.argument("only", nargs=-1, metavar="[TYPE|TYPE.N]...")
@click.option("--at", "at", metavar="WHEN", help="As it was: a time, an age (2h), a release (v74).")
@click.option("-w", "--watch", "watching", is_flag=True, help="Redraw on every change.")
@click.option("-x", "--extended", is_flag=True, help="Show release and reason too.")
@click.option(
    "--local/--utc",
    "local",
    default=False,
    help="--at is in this machine's zone, or in UTC (default).",
)
@with_app
@with_json
def ps(
    only: tuple[str, ...],
    at: str | None,
    watching: bool,
    extended: bool,
    local: bool,
    app: str | None,
    remote: str | None,
    as_json: bool,
) -> int:
    """List the processes of an app: state, since when, command.

    TYPE.N shows all that is known of one: restarts, how it ended last, what it takes, its last
    lines.
    """
    if watching and at:
        raise wrong("--watch shows what is now: leave out --at.")
    if only and commands.find(f"ps:{only[0]}"):
        raise wrong(f"{only[0]} is a command, not a process type: oriel ps:{only[0]}")
    name = session.app(app, remote)
    client = session.client()
    if watching:
        from oriel.cli.commands import ps_watch

        return ps_watch.watch(client, name, only, as_json=as_json, extended=extended)
    if at:
        dynos, now = _past(client, name, at, local=local)
    else:
        # What each takes is looked at only where it is shown.
        asked = query(usage="true" if as_json else "")
        dynos = client.get(below("apps", name, "dynos") + asked).data
        now = client.now
    if not at:
        _check_types(name, only, dynos)
    dynos = chosen(only, dynos)
    cards = {} if at else _cards(client, name, only)
    if as_json:
        render.emit_json([cards.get(each["name"], each) for each in dynos])
        return exits.DONE
    if at:
        terminal.note(f"As of {now.isoformat(timespec='seconds')}")
    if not dynos:
        terminal.note(_nothing(name, at))
        return exits.DONE
    render.emit(table(dynos, now, extended=extended))
    for card in cards.values():
        render.emit(["", *_card(card, now)])
    return exits.DONE


def table(dynos: Sequence[Json], now: datetime, *, extended: bool = False) -> list[str]:
    """The table of `ps`, as wide as the terminal."""
    width = terminal.width()
    rows: list[tuple[str, ...]] = [_row(each, now) for each in dynos]
    columns: tuple[render.Column, ...] = (PROCESS, STATE, COMMAND)
    if extended:
        columns = (PROCESS, STATE, RELEASE, REASON, COMMAND)
        rows = [(*row[:2], *_more(each), row[2]) for row, each in zip(rows, dynos, strict=True)]
    else:
        reasons = [_crashed(each, now) for each in dynos]
        if two_releases(dynos):
            columns = (PROCESS, STATE, RELEASE, COMMAND)
            rows = [
                (*row[:2], _more(each)[0], row[2]) for row, each in zip(rows, dynos, strict=True)
            ]
        if width is not None and width >= WIDE and any(reasons):
            columns = (*columns[:-1], WIDE_COMMAND, BEHIND)
            whole = [(*row, reason) for row, reason in zip(rows, reasons, strict=True)]
            shown = render.table(columns, whole, width)[2:]
            # Where it has to be cut, rather the reason alone.
            reasons = [
                reason if reason in line else _more(each)[1]
                for reason, line, each in zip(reasons, shown, dynos, strict=True)
            ]
            rows = [(*row, reason) for row, reason in zip(rows, reasons, strict=True)]
    lines = render.table(columns, rows, width)
    return [*lines[:2], *map(_coloured, lines[2:], dynos)]


def two_releases(dynos: Sequence[Json]) -> bool:
    """Whether processes of two releases run side by side; one-offs do not count."""
    running = [each for each in dynos if each["type"] not in ONCE and each["state"] != "down"]
    return len({(each.get("release") or {}).get("version") for each in running}) > 1


def place(dyno: Json) -> tuple[bool, str, int, int]:
    """Where a process stands in the table: by type and number, one-offs last."""
    type_, _, number = str(dyno["name"]).rpartition(".")
    release = (dyno.get("release") or {}).get("version") or 0
    return type_ == "run", type_, int(number) if number.isdecimal() else 0, release


def chosen(only: Sequence[str], dynos: Sequence[Json]) -> list[Json]:
    """Those of the types and names that are asked for, in order; all where none is."""
    wanted = [each for each in dynos if not only or {each["name"], each["type"]} & set(only)]
    return sorted(wanted, key=place)


def _check_types(name: str, only: Sequence[str], dynos: Sequence[Json]) -> None:
    for each in only:
        if "." in each or chosen([each], dynos):
            continue
        names = ", ".join(one["name"] for one in chosen((), dynos)) or "nothing"
        raise Refusal(
            f"{name} has no {terminal.shown(each)} process now; what there is: {names}.",
            id="not_found",
            hint=f"See what there could be: oriel ps:scale -a {name}",
        )


def _past(client: Client, name: str, at: str, *, local: bool) -> tuple[list[Json], datetime]:
    from oriel.cli.moments import typed

    when = typed(at, datetime.now(UTC), local=local)
    answer = client.get(below("apps", name, "dynos") + query(at=when))
    return answer.data, ages.parse(answer.headers.get("Oriel-At", ""))


def _cards(client: Client, name: str, only: Sequence[str]) -> dict[str, Json]:
    names = [each for each in dict.fromkeys(only) if "." in each]
    found = [client.get(below("oriel", "apps", name, "dynos", each)).data for each in names]
    return {each["name"]: each for each in found}


def _nothing(name: str, at: str | None) -> str:
    if at:
        return f"Nothing ran on {name} then."
    return f"No processes on {name}. Start one: oriel ps:scale web=1 -a {name}"


def _row(dyno: Json, now: datetime) -> tuple[str, ...]:
    return dyno["name"], f"{dyno['state']} for {ages.age(_since(dyno), now)}", dyno["command"]


def _since(dyno: Json) -> datetime:
    return ages.parse((dyno.get("oriel") or {}).get("since") or dyno["updated_at"])


def _more(dyno: Json) -> tuple[str, str]:
    release = (dyno.get("release") or {}).get("version")
    reason = (dyno.get("oriel") or {}).get("reason") or ""
    return f"v{release}" if release else "", reason


def _crashed(dyno: Json, now: datetime) -> str:
    if dyno["state"] != "crashed":
        return ""
    return "; ".join(filter(None, (_more(dyno)[1], _tries(dyno, now))))


def _tries(dyno: Json, now: datetime) -> str:
    """How often one has crashed in a row, and when it is tried again: nothing where it is not."""
    own = dyno.get("oriel") or {}
    told = []
    if (own.get("crashes") or 0) > 1:
        told.append(f"{own['crashes']} crashes in a row")
    if own.get("next_try_at"):
        told.append(f"next try in {ages.age(now, ages.parse(own['next_try_at']))}")
    return ", ".join(told)


def _coloured(line: str, dyno: Json) -> str:
    state = str(dyno["state"])
    colour = COLOURS.get(state)
    if not colour:
        return line
    return line.replace(f" {state} for ", f" {terminal.painted(state, colour)} for ", 1)


# --- the card


def _card(dyno: Json, now: datetime) -> list[str]:
    own = dyno.get("oriel") or {}
    release, reason = _more(dyno)
    count = own.get("restarts_last_hour") or 0
    facts = [
        ("State", f"{dyno['state']} for {ages.age(_since(dyno), now)}"),
        ("Since", ages.local(_since(dyno))),
        ("Reason", reason),
        ("Tries", _tries(dyno, now) if dyno["state"] == "crashed" else ""),
        ("Release", release),
        ("Restarts", f"{count} in the last hour"),
        ("Last exit", _last_exit(own.get("last_exit"), now)),
        *_usage(own.get("usage")),
        ("Size", dyno.get("size") or ""),
        ("Port", str(own.get("port") or "")),
        ("Instance", own.get("instance") or ""),
        ("Command", dyno["command"]),
    ]
    fields = render.fields((label, value) for label, value in facts if value)
    return [f"=== {terminal.shown(dyno['name'])}", *fields, *_lines(own.get("lines"))]


def _last_exit(ending: Json | None, now: datetime) -> str:
    if not ending:
        return ""
    version = (ending.get("release") or {}).get("version")
    reason = ending["reason"] or ending["state"]
    return f"{reason}, {ages.age(ages.parse(ending['at']), now)} ago (v{version})"


def _usage(usage: Json | None) -> list[tuple[str, str]]:
    if not usage:
        return []
    facts = [("Memory", _memory(usage["memory_bytes"], usage.get("memory_quota_bytes")))]
    if usage.get("cpu") is not None:
        facts.append(("CPU", f"{100 * usage['cpu']:.0f} % of a core"))
    facts.append(("Processes", str(usage["processes"])))
    return facts


def _memory(taken: int, quota: int | None) -> str:
    if not quota:
        return _megabytes(taken)
    over = ", over its quota (R14)" if taken > quota else ""
    return f"{_megabytes(taken)} of {_megabytes(quota)} ({100 * taken // quota} %{over})"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MB"


def _lines(lines: list[Json] | None) -> list[str]:
    if lines is None:
        return ["Last lines:  the log cannot be read now"]
    if not lines:
        return ["Last lines:  none"]
    import sys

    from oriel.cli.commands.logs import Writer

    writer = Writer(colour=terminal.colourful(sys.stdout), careful=True)
    raw = [
        f"{each['time']} {each['source']}[{each['ps']}]: {each['text']}".encode() for each in lines
    ]
    return ["Last lines:", *(writer.line(each).decode("utf-8", "replace") for each in raw)]
