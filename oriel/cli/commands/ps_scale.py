"""Owns what changes which processes run, and how big they are: scale, type, restart, stop."""

from __future__ import annotations

from typing import Any

import click

from oriel.cli import outcome, render, session, terminal
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below
from oriel.client.wire import Client

TYPE = render.Column("Type", 12, 12, most=40)
SIZE = render.Column("Size", 14, 14, most=20)
RUN = render.Column("Run", 4, 4, most=8)
MEMORY = render.Column("Memory", 10, 10, most=12)
COMMAND = render.Column("Command", 30, 30, most=36, least=8)


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
        _no_types(name)
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


@click.command(
    epilog=example("oriel ps:type", "oriel ps:type web=standard-2x", "oriel ps:type basic")
)
@click.argument("changes", nargs=-1, metavar="[TYPE=SIZE|SIZE]...")
@with_app
@with_json
def type_(changes: tuple[str, ...], app: str | None, remote: str | None, as_json: bool) -> None:
    """Give the processes of a type, or of all, another size; alone, show which they have."""
    wanted = [_sizing(text) for text in changes]
    if len(wanted) > 1 and any(not type_ for type_, _ in wanted):
        raise wrong("A size for all types stands alone: oriel ps:type basic")
    name = session.app(app, remote)
    client = session.client()
    path = below("apps", name, "formation")
    if wanted and not wanted[0][0]:
        every = [each["type"] for each in client.get(path).data if each["type"] != "release"]
        wanted = [(each, wanted[0][1]) for each in every]
        if not wanted:
            _no_types(name)
            return
    if not wanted:
        _show_sizes(name, client, as_json)
        return
    updates = [{"type": type_, "size": size} for type_, size in wanted]
    if as_json:
        render.emit_json(client.patch(path, {"updates": updates}).data)
        return
    said = ", ".join(f"{each} to {size.lower()}" for each, size in wanted)
    after = outcome.step(f"Sizing {said}", lambda: client.patch(path, {"updates": updates}).data)
    run = sum(each["quantity"] for each in after if each["type"] in dict(wanted))
    outcome.done("restarting its processes" if run else "")


def _sizing(text: str) -> tuple[str, str]:
    """`web=standard-2x`, or `basic` for all types."""
    type_, sign, size = text.rpartition("=")
    if not size or (sign and not type_) or size.isdecimal():
        raise wrong(f"{terminal.shown(text)} is not TYPE=SIZE or SIZE, as in web=standard-2x")
    return type_, size


def _show_sizes(name: str, client: Client, as_json: bool) -> None:
    formation = client.get(below("apps", name, "formation")).data
    if as_json:
        render.emit_json(formation)
        return
    sizes = client.get("/dyno-sizes").data
    memory = {each["name"]: _memory(each["memory"]) for each in sizes}
    scaling = [each for each in formation if each["type"] != "release"]
    if scaling:
        rows = [
            (
                each["type"],
                each["size"],
                str(each["quantity"]),
                memory.get(each["size"], ""),
                each["command"],
            )
            for each in scaling
        ]
        columns = (TYPE, SIZE, RUN, MEMORY, COMMAND)
        render.emit(render.table(columns, rows, terminal.width()))
    else:
        _no_types(name)
    listed = ", ".join(f"{each} {memory[each]}" for each in memory)
    terminal.note(f"Sizes: {listed}")


def _memory(gigabytes: float) -> str:
    return f"{gigabytes:g} GB" if gigabytes >= 1 else f"{gigabytes * 1024:.0f} MB"


def _no_types(name: str) -> None:
    terminal.note(f"No process types on {name}. Push a tree with a Procfile first.")


@click.command(epilog=example("oriel ps:restart", "oriel ps:restart web", "oriel ps:restart web.1"))
@click.argument("process", required=False, metavar="[TYPE|TYPE.N]")
@click.option("-d", "--dyno", "dyno", metavar="TYPE.N", help="The same as TYPE.N.")
@click.option("-p", "--process-type", "--ps", "type_", metavar="TYPE", help="The same as TYPE.")
@with_app
@with_json
def restart(
    process: str | None,
    dyno: str | None,
    type_: str | None,
    app: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """Restart all processes of an app, those of a type, or one."""
    only = process or dyno or type_
    name = session.app(app, remote)
    client = session.client()
    target = below("apps", name, *_target(only))
    if as_json:
        render.emit_json(client.delete(target).data)
        return
    text = f"Restarting {only} process" if only and "." in only else _all("Restarting", only)
    told = outcome.step(text, lambda: client.delete(target).data)
    outcome.done(_these(told, only))


@click.command(epilog=example("oriel ps:stop web.1", "oriel ps:stop worker"))
@click.argument("process", required=False, metavar="TYPE|TYPE.N")
@click.option("-d", "--dyno", "dyno", metavar="TYPE.N", help="The same as TYPE.N.")
@click.option("-p", "--process-type", "--ps", "type_", metavar="TYPE", help="The same as TYPE.")
@with_app
@with_json
def stop(
    process: str | None,
    dyno: str | None,
    type_: str | None,
    app: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """Stop a process, or those of a type, until the next restart or release."""
    only = process or dyno or type_
    if not only:
        raise wrong("Say which: oriel ps:stop web.1, or oriel ps:scale web=0 to stop them for good")
    name = session.app(app, remote)
    client = session.client()
    target = below("apps", name, *_target(only), "actions", "stop")
    if as_json:
        render.emit_json(client.post(target).data)
        return
    text = f"Stopping {only} process" if "." in only else _all("Stopping", only)
    told = outcome.step(text, lambda: client.post(target).data)
    outcome.done(_these(told, only))
    suffix = f" -a {name}" if app else ""
    terminal.note(f"       To start it again: oriel ps:restart {only}{suffix}")


def _these(told: Any, only: str | None) -> str:
    """Which they were, where that is not what was typed."""
    names = (told.get("oriel") or {}).get("dynos") or [] if isinstance(told, dict) else []
    return "" if not names or names == [only] else ", ".join(names)


def _all(verb: str, type_: str | None) -> str:
    return f"{verb} {type_} processes" if type_ else f"{verb} processes"


def _target(only: str | None) -> tuple[str, ...]:
    if not only:
        return ("dynos",)
    return ("dynos", only) if "." in only else ("formations", only)
