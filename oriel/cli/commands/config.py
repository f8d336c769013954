"""Owns config vars: show, set, remove, import."""

from __future__ import annotations

import sys
from typing import Any

import click

from oriel.cli import outcome, render, session, shellwords, terminal
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below
from oriel.client.refusal import Refusal
from oriel.client.wire import Client

ECHO_MOST = 36
"""From this length on, a value that was just set is shown by both its ends only."""

_shell = click.option("-s", "--shell", is_flag=True, help="Print KEY=value, quoted for a shell.")


@click.command(epilog=example("oriel config", "oriel config -s > .env"))
@_shell
@with_app
@with_json
def config(shell: bool, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show the config vars of an app."""
    name = session.app(app, remote)
    values = session.client().get(_path(name)).data
    if as_json:
        render.emit_json(values)
    elif shell:
        render.emit(shellwords.lines(values))
    elif values:
        render.emit(render.assignments(values))
    else:
        terminal.note(f"{name} has no config vars.")


@click.command(epilog=example("oriel config:get DATABASE_URL"))
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@_shell
@with_app
@with_json
def get(
    keys: tuple[str, ...], shell: bool, app: str | None, remote: str | None, as_json: bool
) -> None:
    """Show the value of a config var: an empty line where it is not set."""
    name = session.app(app, remote)
    values = session.client().get(_path(name)).data
    found = {key: values[key] for key in keys if key in values}
    if as_json:
        render.emit_json(found)
    elif shell:
        render.emit(shellwords.lines(found))
    else:
        for key in keys:
            print(values.get(key, ""))
    for key in keys:
        if key not in values:
            terminal.note(f"{terminal.shown(key)} is not set.")


@click.command(epilog=example("oriel config:add FOO=baz", "oriel config:set FOO=baz BAR='a b'"))
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE...")
@with_app
@with_json
def add(pairs: tuple[str, ...], app: str | None, remote: str | None, as_json: bool) -> None:
    """Set config vars, and restart the app with them."""
    wanted = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found or not key:
            # Not the word itself: it may be a secret whose name was forgotten.
            raise wrong("Each config var is KEY=VALUE, as in oriel config:add FOO=baz")
        wanted[key] = value
    name = session.app(app, remote)
    _add(session.client(), name, wanted, as_json)


@click.command(epilog=example("heroku config -s -a old | oriel config:import -a new"))
@with_app
@with_json
def import_vars(app: str | None, remote: str | None, as_json: bool) -> None:
    """Set the config vars that come as KEY=value lines, or as JSON, on standard input."""
    if sys.stdin.isatty():
        terminal.note("Reading KEY=value lines from the terminal; Ctrl-D ends them.")
    raw = sys.stdin.buffer.read(shellwords.SIZE_MAX + 1)
    if len(raw) > shellwords.SIZE_MAX:
        raise Refusal(f"That is over {shellwords.SIZE_MAX >> 20} MB.", id="too_large")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal("The input is not UTF-8 text.", id="invalid_params") from None
    wanted = _from_json(text) if text.lstrip().startswith("{") else shellwords.parse(text)
    if not wanted:
        terminal.note("There is nothing to import.")
        return
    name = session.app(app, remote)
    _add(session.client(), name, wanted, as_json)


@click.command(epilog=example("oriel config:remove FOO", "oriel config:unset FOO BAR"))
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@with_app
@with_json
def remove(keys: tuple[str, ...], app: str | None, remote: str | None, as_json: bool) -> None:
    """Remove config vars, and restart the app without them."""
    name = session.app(app, remote)
    client = session.client()
    before = client.get(_path(name)).data
    there = [key for key in dict.fromkeys(keys) if key in before]
    for key in keys:
        if key not in before:
            terminal.note(f"{terminal.shown(key)} is not set.")
    if not there:
        raise Refusal(
            f"{name} has no such config var.", id="not_found", hint=f"See: oriel config -a {name}"
        )
    changes = dict.fromkeys(there)
    if as_json:
        render.emit_json(client.patch(_path(name), changes).data)
        return
    made = outcome.step(
        f"Removing {', '.join(there)} and restarting app",
        lambda: _change(client, name, changes, "remove", set(there)),
    )
    outcome.released(client, name, made)


def _add(client: Client, name: str, wanted: dict[str, str], as_json: bool) -> None:
    if as_json:
        render.emit_json(client.patch(_path(name), wanted).data)
        return
    before = client.get(_path(name)).data
    changed = {key for key, value in wanted.items() if before.get(key) != value}
    print("Adding config vars:")
    render.emit(render.assignments({key: _echo(value) for key, value in wanted.items()}, "  "))
    if not changed:
        # No release is made for what is so already, so there is none to tell.
        terminal.note("That is how it is already: nothing to do.")
        return
    made = outcome.step("Restarting app", lambda: _change(client, name, wanted, "add", changed))
    outcome.released(client, name, made)


def _change(
    client: Client, name: str, changes: dict[str, Any], verb: str, keys: set[str]
) -> dict[str, Any]:
    client.patch(_path(name), changes)
    return outcome.just_made(client, name, verb, keys)


def _echo(value: str) -> str:
    return value if len(value) < ECHO_MOST else f"{value[:16]}...{value[-16:]}"


def _from_json(text: str) -> dict[str, str]:
    import json

    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("The input begins like JSON and is none.", id="invalid_params") from None
    if not all(isinstance(value, str) for value in values.values()):
        raise Refusal("Every value in the JSON must be a text.", id="invalid_params")
    return dict(values)


def _path(name: str) -> str:
    return below("apps", name, "config-vars")
