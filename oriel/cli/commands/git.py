"""Owns the two commands between git and an API: the remote, and the token for it."""

from __future__ import annotations

import sys

import click

from oriel.cli import repository, session, terminal
from oriel.cli.options import example
from oriel.client.address import Address, below
from oriel.client.refusal import Refusal

USER = "oriel"
INPUT_MAX = 1 << 16


@click.command(epilog=example("oriel git:remote -a foobaz", "git push oriel main"))
@click.option("-a", "--app", metavar="NAME", help="Name of the app.")
@click.option("-r", "--remote", default="oriel", metavar="REMOTE", help="Its name (oriel).")
def remote(app: str | None, remote: str) -> None:
    """Make `git push oriel main` deploy an app.

    Sets the remote, and a credential helper in this repository only.
    """
    from oriel.cli.commands import apps

    if not repository.inside():
        raise Refusal(
            "There is no git repository here.", id="fault", hint="Make one first: git init"
        )
    name = session.client().get(below("apps", session.app(app, None))).data["name"]
    apps.point(name, remote)
    print(f"set git remote {remote} to {apps.git_url(name)}")


@click.command(epilog=example("oriel git:credentials get"))
@click.argument("operation")
def credentials(operation: str) -> None:
    """Tell git the token of an API that you are logged in to. Git runs this, not you."""
    if operation != "get":
        return  # To store or erase it is for login and logout.
    asked = _asked(sys.stdin.read(INPUT_MAX))
    try:
        place = Address.parse(f"{asked.get('protocol')}://{asked.get('host')}")
        token = session.token_at(place)
    except Refusal:
        return
    if token:
        print(f"username={USER}\npassword={token}")
        return
    prefix = "" if place.origin == session.address().origin else f"ORIEL_API={place} "
    terminal.complain(f"You are not logged in to {place}.", f"Log in: {prefix}oriel login")


def _asked(text: str) -> dict[str, str]:
    """What git wants credentials for: `protocol=http`, `host=127.0.0.1:5050`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, found, value in pairs if found}
