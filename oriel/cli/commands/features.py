"""Owns what an app can switch on."""

from __future__ import annotations

from typing import Any

import click

from oriel.cli import outcome, render, session
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below

FEATURE = render.Column("Feature", 14, 14, most=30)
STATE = render.Column("State", 5, 5)
DESCRIPTION = render.Column("What it does", 40, 40, most=160, least=20)


@click.command(epilog=example("oriel features"))
@with_app
@with_json
def features(app: str | None, remote: str | None, as_json: bool) -> None:
    """List what an app can switch on, and whether it has."""
    name = session.app(app, remote)
    found = session.client().get(below("apps", name, "features")).data
    if as_json:
        render.emit_json(found)
        return
    rows = [(each["name"], _state(each), each["description"]) for each in found]
    render.emit(render.table((FEATURE, STATE, DESCRIPTION), rows))


@click.command(epilog=example("oriel features:info preboot"))
@click.argument("feature")
@with_app
@with_json
def info(feature: str, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show one feature of an app."""
    name = session.app(app, remote)
    found = session.client().get(below("apps", name, "features", feature)).data
    if as_json:
        render.emit_json(found)
        return
    print(f"=== {found['name']}")
    render.emit(render.fields((("Description", found["description"]), ("State", _state(found)))))


@click.command(epilog=example("oriel features:enable preboot"))
@click.argument("feature")
@with_app
def enable(feature: str, app: str | None, remote: str | None) -> None:
    """Switch a feature of an app on."""
    _switch("Enabling", feature, session.app(app, remote), True)


@click.command(epilog=example("oriel features:disable preboot"))
@click.argument("feature")
@with_app
def disable(feature: str, app: str | None, remote: str | None) -> None:
    """Switch a feature of an app off."""
    _switch("Disabling", feature, session.app(app, remote), False)


def _switch(word: str, feature: str, name: str, enabled: bool) -> None:
    client = session.client()
    path = below("apps", name, "features", feature)
    outcome.step(f"{word} {feature} for {name}", lambda: client.patch(path, {"enabled": enabled}))
    outcome.done()


def _state(feature: dict[str, Any]) -> str:
    return "on" if feature["enabled"] else "off"
