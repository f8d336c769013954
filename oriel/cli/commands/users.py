"""Owns accounts of an installation, as its owner handles them."""

from __future__ import annotations

from typing import Any

import click

from oriel.cli import ages, outcome, render, session, terminal
from oriel.cli.options import example, with_json
from oriel.client.address import DEFAULT, below


@click.command(epilog=example("oriel users"))
@with_json
def users(as_json: bool) -> None:
    """List everybody with an account."""
    client = session.client()
    found = client.get("/oriel/users").data
    if as_json:
        render.emit_json(found)
        return
    columns = (
        render.Column("User", 30, 30, most=60, least=12),
        render.Column("Role", 12, 12),
        render.Column("Since", 10, 10, most=25),
    )
    now = client.now
    rows = [
        (each["email"], _role(each), ages.ago(ages.parse(each["created_at"]), now, zone=False))
        for each in sorted(found, key=lambda each: str(each["email"]))
    ]
    render.emit(render.table(columns, rows, terminal.width()))


@click.command(epilog=example("oriel users:add rick@foobazco.com"))
@click.argument("email")
@with_json
def add(email: str, as_json: bool) -> None:
    """Invite somebody: make an account, and print what its new owner has to type."""
    _tell(session.client().post("/oriel/users", {"email": email}).data, as_json, "Invited")


@click.command(epilog=example("oriel users:reset rick@foobazco.com"))
@click.argument("email")
@with_json
def reset(email: str, as_json: bool) -> None:
    """Let somebody choose a new password; prints what they have to type."""
    path = below("oriel", "users", email, "actions", "reset")
    _tell(session.client().post(path, {}).data, as_json, "Reset the password of")


@click.command(epilog=example("oriel users:remove rick@foobazco.com"))
@click.argument("email")
def remove(email: str) -> None:
    """Remove somebody's account: their tokens and access end at once."""
    client = session.client()
    outcome.step(f"Removing {email}", lambda: client.delete(below("oriel", "users", email)))
    outcome.done()


def _tell(invited: dict[str, Any], as_json: bool, what: str) -> None:
    if as_json:
        render.emit_json(invited)
        return
    terminal.note(
        f"{what} {terminal.shown(str(invited['email']))}. "
        "Send them these two lines, a command and what it asks for; it works once, within 7 days:"
    )
    place = session.address()
    prefix = "" if place.origin == DEFAULT else f"ORIEL_API={place} "
    print(f"{prefix}oriel login --invitation")
    print(invited["invitation"])


def _role(user: dict[str, Any]) -> str:
    own = user.get("oriel") or {}
    if own.get("owner"):
        return "owner"
    return "user" if own.get("active", True) else "invited"
