"""Owns who may work on an app."""

from __future__ import annotations

import click

from oriel.cli import outcome, render, session
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below


@click.command(epilog=example("oriel access"))
@with_app
@with_json
def access(app: str | None, remote: str | None, as_json: bool) -> None:
    """List who may work on an app."""
    name = session.app(app, remote)
    found = session.client().get(below("apps", name, "collaborators")).data
    if as_json:
        render.emit_json(found)
        return
    columns = (render.Column("User", 30, 30, most=60, least=12), render.Column("Role", 12, 12))
    rows = sorted((each["user"]["email"], each.get("role") or "") for each in found)
    render.emit(render.table(columns, rows))


@click.command(epilog=example("oriel access:add rick@foobazco.com"))
@click.argument("email")
@with_app
def add(email: str, app: str | None, remote: str | None) -> None:
    """Let somebody with an account work on an app."""
    name = session.app(app, remote)
    client = session.client()
    outcome.step(
        f"Adding {email} to {name}",
        lambda: client.post(below("apps", name, "collaborators"), {"user": email}),
    )
    outcome.done()


@click.command(epilog=example("oriel access:remove rick@foobazco.com"))
@click.argument("email")
@with_app
def remove(email: str, app: str | None, remote: str | None) -> None:
    """Let somebody no longer work on an app."""
    name = session.app(app, remote)
    client = session.client()
    outcome.step(
        f"Removing {email} from {name}",
        lambda: client.delete(below("apps", name, "collaborators", email)),
    )
    outcome.done()
