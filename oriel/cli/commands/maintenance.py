"""Owns maintenance mode."""

from __future__ import annotations

import click

from oriel.cli import render, session
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below


@click.command(epilog=example("oriel maintenance"))
@with_app
@with_json
def maintenance(app: str | None, remote: str | None, as_json: bool) -> None:
    """Show whether maintenance mode is on."""
    name = session.app(app, remote)
    is_on = bool(session.client().get(below("apps", name)).data["maintenance"])
    if as_json:
        render.emit_json({"maintenance": is_on})
    else:
        print("on" if is_on else "off")


@click.command(epilog=example("oriel maintenance:on"))
@with_app
def on(app: str | None, remote: str | None) -> None:
    """Show visitors a maintenance page; the processes go on."""
    _switch(session.app(app, remote), True)
    print("Maintenance mode enabled.")


@click.command(epilog=example("oriel maintenance:off"))
@with_app
def off(app: str | None, remote: str | None) -> None:
    """Serve the app to its visitors again."""
    _switch(session.app(app, remote), False)
    print("Maintenance mode disabled.")


def _switch(name: str, on: bool) -> None:
    session.client().patch(below("apps", name), {"maintenance": on})
