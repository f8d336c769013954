"""Owns `ps` and what changes which processes run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from oriel.cli import ages, outcome, render, session, terminal
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below

PROCESS = render.Column("Process", 12, 12, most=40)
STATE = render.Column("State", 18, 18, most=24, least=18)
COMMAND = render.Column("Command", 30, 30, most=36, least=8)
RELEASE = render.Column("Release", 7, 7, most=10)
REASON = render.Column("Reason", 20, 20, most=36, least=8)

COLOURS = {"crashed": terminal.RED, "up": terminal.GREEN, "starting": terminal.YELLOW}


@click.command(epilog=example("oriel ps", "watch oriel ps -a foobaz"))
@with_app
@with_json
@click.option("-x", "--extended", is_flag=True, help="Show release and reason too.")
def ps(app: str | None, remote: str | None, as_json: bool, extended: bool) -> None:
    """List the processes of an app: state, since when, command."""
    name = session.app(app, remote)
    client = session.client()
    dynos = sorted(client.get(below("apps", name, "dynos")).data, key=_place)
    if as_json:
        render.emit_json(dynos)
        return
    if not dynos:
        terminal.note(f"No processes on {name}. Start one: oriel ps:scale web=1 -a {name}")
        return
    now = client.now
    # Two releases side by side, for a while: which row is of which must be seen.
    extended = extended or len({(each.get("release") or {}).get("version") for each in dynos}) > 1
    columns, rows = (PROCESS, STATE, COMMAND), [_row(each, now) for each in dynos]
    if extended:
        columns = (PROCESS, STATE, RELEASE, REASON, COMMAND)  # type: ignore[assignment]
        rows = [(*row[:2], *_more(each), row[2]) for row, each in zip(rows, dynos, strict=True)]
    lines = render.table(columns, rows, terminal.width())
    render.emit([*lines[:2], *map(_coloured, lines[2:], dynos)])


def _row(dyno: dict[str, Any], now: datetime) -> tuple[str, ...]:
    own = dyno.get("oriel") or {}
    since = ages.parse(own.get("since") or dyno["updated_at"])
    return dyno["name"], f"{dyno['state']} for {ages.age(since, now)}", dyno["command"]


def _more(dyno: dict[str, Any]) -> tuple[str, str]:
    release = (dyno.get("release") or {}).get("version")
    reason = (dyno.get("oriel") or {}).get("reason") or ""
    return f"v{release}" if release else "", reason


def _place(dyno: dict[str, Any]) -> tuple[bool, str, int]:
    type_, _, number = str(dyno["name"]).rpartition(".")
    return type_ == "run", type_, int(number) if number.isdecimal() else 0


def _coloured(line: str, dyno: dict[str, Any]) -> str:
    state = str(dyno["state"])
    colour = COLOURS.get(state)
    if not colour:
        return line
    return line.replace(f" {state} for ", f" {terminal.painted(state, colour)} for ", 1)


@click.command(epilog=example("oriel ps:scale web=2 worker+1", "oriel ps:scale web=1:standard-2x"))
@click.argument("changes", nargs=-1, metavar="[TYPE=N|TYPE+N|TYPE-N]...")
@with_app
@with_json
def scale(changes: tuple[str, ...], app: str | None, remote: str | None, as_json: bool) -> None:
    """Run N processes of a type, or N more or fewer; without a type, show how many."""
    updates = [_change(text) for text in changes]
    name = session.app(app, remote)
    client = session.client()
    path = below("apps", name, "formation")
    if not updates:
        _show_formation(name, client.get(path).data, as_json)
        return
    if as_json:
        render.emit_json(client.patch(path, {"updates": updates}).data)
        return
    # One change, told as a line for each type; the first is there while it happens.
    types = list(dict.fromkeys(update["type"] for update in updates))
    after = outcome.step(_scaling(types[0]), lambda: client.patch(path, {"updates": updates}).data)
    quantities = {each["type"]: each["quantity"] for each in after}
    for place, type_ in enumerate(types):
        if place:
            print(f"{_scaling(type_)}...", end="")
        outcome.done(f"now running {quantities.get(type_, 0)}")


def _scaling(type_: str) -> str:
    return f"Scaling {type_} processes"


def _show_formation(name: str, formation: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        render.emit_json(formation)
        return
    scaling = [each for each in formation if each["type"] != "release"]
    if not scaling:
        terminal.note(f"No process types on {name}. Push a tree with a Procfile first.")
        return
    print(" ".join(f"{each['type']}={each['quantity']}:{each['size']}" for each in scaling))


def _change(text: str) -> dict[str, str]:
    """`web=2`, `worker+1`, `web=1:standard-2x`, `web=standard-2x` as the API wants it."""
    place = _sign_at(text)
    type_, sign, rest = text[:place], text[place : place + 1], text[place + 1 :]
    quantity, colon, size = rest.partition(":")
    only_size = sign == "=" and not colon and rest[:1].isalpha()
    if only_size:
        quantity, size = "", rest
    counts = quantity.isascii() and quantity.isdecimal() and len(quantity) <= 6
    if not type_ or not (counts or only_size) or (colon and not size):
        raise wrong(f"{terminal.shown(text)} is not TYPE=N, TYPE+N or TYPE-N, as in web=2 worker+1")
    change = {"type": type_}
    if quantity:
        change["quantity"] = quantity if sign == "=" else sign + quantity
    if size:
        change["size"] = size
    return change


def _sign_at(text: str) -> int:
    """Where the sign is: a dash is one only before a number, for a type may have some too."""
    for place, sign in enumerate(text):
        number = text[place + 1 :].partition(":")[0]
        if sign in "=+" or (sign == "-" and number.isdecimal()):
            return place
    return len(text)


@click.command(epilog=example("oriel ps:restart", "oriel ps:restart web", "oriel ps:restart web.1"))
@click.argument("process", required=False, metavar="[TYPE|TYPE.N]")
@click.option("-d", "--dyno", "dyno", metavar="TYPE.N", help="The same as TYPE.N.")
@click.option("-p", "--process-type", "--ps", "type_", metavar="TYPE", help="The same as TYPE.")
@with_app
def restart(
    process: str | None, dyno: str | None, type_: str | None, app: str | None, remote: str | None
) -> None:
    """Restart all processes of an app, those of a type, or one."""
    only = process or dyno or type_
    name = session.app(app, remote)
    client = session.client()
    text = f"Restarting {only} process" if only and "." in only else _all("Restarting", only)
    outcome.step(text, lambda: client.delete(below("apps", name, *_target(only))))
    outcome.done()


@click.command(epilog=example("oriel ps:stop web.1", "oriel ps:stop worker"))
@click.argument("process", required=False, metavar="TYPE|TYPE.N")
@click.option("-d", "--dyno", "dyno", metavar="TYPE.N", help="The same as TYPE.N.")
@click.option("-p", "--process-type", "--ps", "type_", metavar="TYPE", help="The same as TYPE.")
@with_app
def stop(
    process: str | None, dyno: str | None, type_: str | None, app: str | None, remote: str | None
) -> None:
    """Stop a process, or those of a type, until the next restart or release."""
    only = process or dyno or type_
    if not only:
        raise wrong("Say which: oriel ps:stop web.1, or oriel ps:scale web=0 to stop them for good")
    name = session.app(app, remote)
    client = session.client()
    text = f"Stopping {only} process" if "." in only else _all("Stopping", only)
    target = below("apps", name, *_target(only), "actions", "stop")
    outcome.step(text, lambda: client.post(target))
    outcome.done()


def _all(verb: str, type_: str | None) -> str:
    return f"{verb} {type_} processes" if type_ else f"{verb} processes"


def _target(only: str | None) -> tuple[str, ...]:
    if not only:
        return ("dynos",)
    return ("dynos", only) if "." in only else ("formations", only)
