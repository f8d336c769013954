"""Owns how an app's web processes show that they are up."""

from __future__ import annotations

from typing import Any

import click

from oriel.cli import outcome, render, session
from oriel.cli.commands.logs_policy import seconds_of, shown_age
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below


@click.command(epilog=example("oriel checks"))
@with_app
@with_json
def checks(app: str | None, remote: str | None, as_json: bool) -> None:
    """Show when a web process counts as up, and how long it may take."""
    name = session.app(app, remote)
    found = session.client().get(_path(name)).data
    if as_json:
        render.emit_json(found)
    else:
        _show(found)


@click.command(
    "set",
    epilog=example("oriel checks:set --path /health", "oriel checks:set --boot-timeout 90s"),
)
@click.option("--path", metavar="PATH", help="What it must answer with 2xx or 3xx, as /health.")
@click.option("--boot-timeout", metavar="AGE", help="How long it may take, 5s to 10m; else R10.")
@with_app
@with_json
def set_(
    path: str | None, boot_timeout: str | None, app: str | None, remote: str | None, as_json: bool
) -> None:
    """Say when a web process counts as up, and how long it may take.

    It counts for web processes that start from now on.
    """
    wish: dict[str, Any] = {}
    if path is not None:
        wish["path"] = path
    if boot_timeout is not None:
        wish["boot_timeout_s"] = seconds_of(boot_timeout, "--boot-timeout")
    if not wish:
        raise wrong("Say what to ask for, as in: oriel checks:set --path /health")
    name = session.app(app, remote)
    client = session.client()
    if as_json:
        render.emit_json(client.patch(_path(name), wish).data)
        return
    made = outcome.step(f"Setting check of {name}", lambda: client.patch(_path(name), wish).data)
    outcome.done()
    _show(made)


@click.command(epilog=example("oriel checks:unset"))
@with_app
def unset(app: str | None, remote: str | None) -> None:
    """Count a web process as up when its port accepts, within 60 seconds."""
    name = session.app(app, remote)
    client = session.client()
    outcome.step(f"Unsetting check of {name}", lambda: client.delete(_path(name)))
    outcome.done()


def _show(check: dict[str, Any]) -> None:
    up = f"GET {check['path']} is answered with 2xx or 3xx" if check["path"] else "its port accepts"
    boot = shown_age(check["boot_timeout_s"])
    render.emit(render.fields((("Up when", up), ("Boot timeout", boot))))


def _path(name: str) -> str:
    return below("oriel", "apps", name, "check")
