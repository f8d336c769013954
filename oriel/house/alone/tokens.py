"""Owns who may write into the log router's channels: tokens, and credentials for `POST /logs`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from oriel import faults
from oriel.cli.options import example, with_json
from oriel.house.alone.door import ask, with_data


@click.command(epilog=example("oriel logplex:tokens shop --data /var/lib/logs"))
@click.argument("channel", required=False)
@with_data
@with_json
def tokens(channel: str | None, data: Path, as_json: bool) -> None:
    """List the tokens of a channel, or all."""
    found = ask(data, lambda client: client.tokens(channel))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for each in found:
        click.echo(f"{each['id']}  {each['channel']}  {each['name']}")


@click.command(epilog=example("oriel logplex:tokens-add shop redis --data /var/lib/logs"))
@click.argument("channel")
@click.argument("name")
@with_data
def add_token(channel: str, name: str, data: Path) -> None:
    """Let a source write into a channel, under a name. Prints the token alone."""
    made = ask(data, lambda client: client.create_token(channel, name))
    click.echo(made["id"])


@click.command(epilog=example("oriel logplex:tokens-remove t.8d3e... --data /var/lib/logs"))
@click.argument("token")
@with_data
def remove_token(token: str, data: Path) -> None:
    """Take a token back: who has it writes no more."""
    if not ask(data, lambda client: client.revoke_token(token)):
        raise faults.NotFound("There is no such token.", resource="token")
    click.echo("Token removed.")


@click.command(epilog=example("oriel logplex:credentials --data /var/lib/logs"))
@with_data
@with_json
def credentials(data: Path, as_json: bool) -> None:
    """List the credentials for POST /logs that go by the tokens in the frames."""
    found = ask(data, lambda client: client.credentials())
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for each in found:
        click.echo(f"{each['id']}  {'any channel' if each['any_channel'] else 'no channel'}")


@click.command(epilog=example("oriel logplex:credentials-add --data /var/lib/logs"))
@with_data
@with_json
def add_credential(data: Path, as_json: bool) -> None:
    """Let a sender of POST /logs write by the frames' own tokens, into any channel.

    Prints the user and the password, as USER:PASSWORD. The password is shown only now.
    """
    made = ask(data, lambda client: client.create_credential(any_channel=True))
    if as_json:
        click.echo(json.dumps({key: made[key] for key in ("id", "password", "any_channel")}))
        return
    click.echo(f"{made['id']}:{made['password']}")


@click.command(epilog=example("oriel logplex:credentials-remove 1 --data /var/lib/logs"))
@click.argument("credential")
@with_data
def remove_credential(credential: str, data: Path) -> None:
    """Take a credential back: who has it writes no more."""
    if not ask(data, lambda client: client.revoke_credential(credential)):
        raise faults.NotFound("There is no such credential.", resource="credential")
    click.echo("Credential removed.")
