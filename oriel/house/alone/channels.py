"""Owns the log router's channels: which there are, what they keep, whether they are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from oriel import faults
from oriel.cli import render
from oriel.cli.commands.logs_policy import (
    damage_line,
    seconds_of,
    shown_age,
    shown_size,
    size_of,
)
from oriel.cli.options import example, with_json
from oriel.house.alone.door import ask, counted, known, with_data
from oriel.logplex.client import Logplex


@click.command(epilog=example("oriel logplex:channels --data /var/lib/logs"))
@with_data
@with_json
def channels(data: Path, as_json: bool) -> None:
    """List the log channels."""
    found = ask(data, lambda client: client.channels())
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for each in found:
        click.echo(f"{each['name']}  ({counted(each['tokens'], 'token')})")


@click.command(epilog=example("oriel logplex:create shop --data /var/lib/logs"))
@click.argument("channel")
@with_data
def create(channel: str, data: Path) -> None:
    """Make a log channel."""
    made = ask(data, lambda client: client.create_channel(channel))
    click.echo(f"Channel {channel} {'created' if made else 'is there already'}.")


@click.command(epilog=example("oriel logplex:destroy shop --data /var/lib/logs --confirm shop"))
@click.argument("channel")
@click.option("-c", "--confirm", metavar="CHANNEL", help="The channel's name once more.")
@with_data
def destroy(channel: str, confirm: str | None, data: Path) -> None:
    """Remove a log channel, with its tokens and all that was said in it."""
    if confirm != channel:
        raise faults.ConfirmationNeeded(
            f"All that was said in {channel} would be gone.",
            hint=f"To remove it: oriel logplex:destroy {channel} --confirm {channel}",
        )
    ask(data, lambda client: client.forget(channel))
    click.echo(f"Channel {channel} removed.")


@click.command(
    epilog=example("oriel logplex:keep shop --size 5GB --age 90d --data /var/lib/logs"),
)
@click.argument("channel")
@click.option("--size", metavar="SIZE", help="Keep at most this much, such as 500MB or 2GB.")
@click.option("--age", metavar="AGE", help="Keep at most this long, such as 12h, 30d or 8w.")
@click.option("--rate", metavar="SIZE", help="Bytes a second that senders over TCP may bring.")
@with_data
@with_json
def keep(
    channel: str, size: str | None, age: str | None, rate: str | None, data: Path, as_json: bool
) -> None:
    """Show or set how much of a channel is kept, and how long."""
    wish: dict[str, object] = {}
    if size:
        wish["max_bytes"] = size_of(size, "--size")
    if age:
        wish["max_age_s"] = seconds_of(age, "--age")
    if rate:
        wish["rate_bytes"] = size_of(rate, "--rate")

    async def asked(client: Logplex) -> dict[str, Any]:
        await known(client, channel)
        return await client.policy(channel, wish)

    found = ask(data, asked)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    policy = found["policy"]
    rows = (
        ("Keeps at most", shown_size(policy["max_bytes"])),
        ("For at most", shown_age(policy["max_age_s"])),
        ("Rate", f"{shown_size(policy['rate_bytes'])} a second"),
        ("Kept now", shown_size(found["bytes"])),
    )
    render.emit(render.fields(rows))


@click.command(epilog=example("oriel logplex:check shop --data /var/lib/logs"))
@click.argument("channel")
@with_data
@with_json
def check(channel: str, data: Path, as_json: bool) -> int:
    """Check that a channel on disk is as it was written; 1 where it is not."""

    async def asked(client: Logplex) -> dict[str, Any]:
        await known(client, channel)
        return await client.check(channel)

    found = ask(data, asked)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found["damage"]:
        click.echo(f"Nothing is damaged in {counted(found['segments'], 'finished segment')}.")
    else:
        render.emit(damage_line(each) for each in found["damage"])
    return 1 if found["damage"] else 0
